"""Find the run that the same command began earlier, or begin one."""

from __future__ import annotations

from mricore.config.schema import Recipe
from mricore.data.manifest import Manifest
from mricore.data.storage import Place
from mricore.revision import code_revision
from mricore.training import launch
from mricore.training.launch import RunRecord
from mricore.training.place import Home
from mricore.training.telemetry import Tracked, log_kept_rows, log_text, reopen_run, start_run
from mricore.workflows.summary import flat


def open_run(
    recipe: Recipe, where: Home, runs: Place, manifest: Manifest, *, fresh: bool
) -> tuple[RunRecord, Tracked]:
    """The latest run of this recipe on this dataset; a new one if there is none or ``fresh`` asks for it.

    Raises:
        UserError: the tracking server does not answer, or does not know the earlier run.
    """
    attempt, record = 0, launch.read_record(runs, launch.run_name(recipe, manifest))
    while following := launch.read_record(runs, launch.run_name(recipe, manifest, attempt + 1)):
        attempt, record = attempt + 1, following
    if fresh and record:
        attempt, record = attempt + 1, None
    if record:
        tracked = reopen_run(where, record.mlflow_run_id, not record.finished)
        log_kept_rows(tracked, Place(runs.joined(record.name)))
        if not record.finished:
            print(f"continuing the interrupted run {record.name}")
        return record, tracked
    name = launch.run_name(recipe, manifest, attempt)
    tags = {"manifest_digest": manifest.digest, "mricore.run": name, "code_revision": code_revision()}
    tracked = start_run(where, recipe.tracking.experiment, name, flat(recipe), tags)
    log_text(tracked, recipe.model_dump_json(indent=1), "recipe.json")
    record = RunRecord(name, tracked.run_id)
    launch.write_record(runs, record)
    return record, tracked
