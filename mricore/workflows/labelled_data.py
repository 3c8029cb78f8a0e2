"""Where a labelled task's images and masks lie; those of the phantoms are made on first use."""

from __future__ import annotations

from pathlib import Path

from mricore.data.progress import Progress
from mricore.errors import UserError
from mricore.imaging.phantoms.labelled import LabelledSpec, write_labelled
from mricore.training.place import home

PHANTOMS = "phantoms"
"""The task that needs no data of the user."""
FOLDER = "phantom-task"


def task_folder(task: str, given: str | None) -> Path:
    """The folder with the data of ``task``, a name (perhaps with ``:CLASS``) or a file.

    Phantoms are generated where ``given`` says, or below the working folder's ``outputs``, unless that
    folder exists.

    Raises:
        UserError: no folder is given, or phantoms cannot be written.
    """
    if task.partition(":")[0] == PHANTOMS:
        return _phantoms(Path(given).expanduser() if given else _default())
    if not given:
        raise UserError(f"no data for task {task}", "add --data ROOT, or write TASK=ROOT")
    return Path(given)


def _default() -> Path:
    outputs = home(None).outputs
    return Path(outputs.uri) / FOLDER


def _phantoms(folder: Path) -> Path:
    if folder.exists():
        return folder
    spec = LabelledSpec()
    progress = Progress("generating", spec.patients, "labelled phantom patients")
    try:
        write_labelled(folder, spec, lambda done, total: progress.update(done))
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written ({type(error).__name__})", "give another folder"
        ) from None
    return folder
