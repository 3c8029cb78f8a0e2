"""The checkpoints of a run on its storage: which count, and which are whole.

A checkpoint counts when Ray Train's controller has taken it: then it is in the controller's list, and so have
been the metrics before it. It is whole if its digest is right. What a kill left beside that is removed.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pyarrow import fs
from ray.train import Checkpoint

from mricore.data.storage import remove_folder
from mricore.errors import UserError
from mricore.training.checkpoint import STATE, TENSORS

logger = logging.getLogger(__name__)
PREFIX = "checkpoint_"
LIST = "checkpoint_manager_snapshot.json"
"""Where Ray Train keeps its list."""
WITHOUT_LIST = "without_list"
"""A file that stands where the list was removed, until Ray Train has written another."""


def new_name() -> str:
    """A name that no checkpoint has; names are in order of time, in summer and winter."""
    return f"{PREFIX}{datetime.now(UTC):%Y-%m-%d_%H-%M-%S.%f}"


@dataclass(frozen=True)
class Stored:
    """The folder of a run."""

    file_system: fs.FileSystem
    path: str

    def mended(self) -> list[str]:
        """Make an interrupted run ready to go on; the names of its checkpoints, the newest first.

        Ray Train cannot begin with a list that was cut short or that names what is gone: such a list is
        removed, and what the folder holds counts instead, until there is another.

        Raises:
            UserError: there are checkpoints, and none of them is whole.
        """
        there, listed = self._folders(), self._listed()
        names = sorted(there.intersection(listed) if listed else there, reverse=True)
        if listed is None:
            names = []
        elif not listed or not listed <= there:
            self._remove_list()
        else:
            self._remove(WITHOUT_LIST)
        self._require_whole(names, listed is not None)
        for name in there.difference(names):
            remove_folder(self.file_system, f"{self.path}/{name}")
        return names

    def _remove_list(self) -> None:
        """That there was one is remembered first: without a list nothing would count."""
        with self.file_system.open_output_stream(f"{self.path}/{WITHOUT_LIST}"):
            pass
        self._remove(LIST)

    def _remove(self, name: str) -> None:
        if self._is_file(name):
            self.file_system.delete_file(f"{self.path}/{name}")

    def _is_file(self, name: str) -> bool:
        return bool(self.file_system.get_file_info(f"{self.path}/{name}").type == fs.FileType.File)

    @contextmanager
    def opened(self, name: str) -> Iterator[Path]:
        """The files of a checkpoint on this machine; of a remote one a copy for the time of the body."""
        with Checkpoint(f"{self.path}/{name}", self.file_system).as_directory() as folder:
            yield Path(folder)

    def _require_whole(self, names: Sequence[str], are_some: bool) -> None:
        damaged = []
        for name in names:
            with self.opened(name) as folder:
                if is_whole(folder):
                    break
            damaged.append(name)
        else:
            if are_some:
                raise no_whole_one(self.path)
        for one in damaged:
            logger.warning("checkpoint %s is damaged: the run goes on from %s", one, name)

    def _folders(self) -> set[str]:
        found = self.file_system.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        folders = (entry.base_name for entry in found if entry.type == fs.FileType.Directory)
        return {name for name in folders if name.startswith(PREFIX)}

    def _listed(self) -> set[str] | None:
        """Names in Ray Train's list; None if there never was one, no names if it cannot be read."""
        try:
            with self.file_system.open_input_stream(f"{self.path}/{LIST}") as stream:
                results = json.loads(stream.read())["checkpoint_results"]
            return {result["checkpoint_dir_name"] for result in results}
        except FileNotFoundError:
            return set() if self._is_file(WITHOUT_LIST) else None
        except (ValueError, KeyError, TypeError):
            return set()


def is_whole(folder: Path) -> bool:
    """Whether the tensors of a checkpoint are those that its small file was written for."""
    try:
        wanted = json.loads((folder / STATE).read_text())["sha256"]
        with (folder / TENSORS).open("rb") as stream:
            return bool(hashlib.file_digest(stream, "sha256").hexdigest() == wanted)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def no_whole_one(path: str) -> UserError:
    """What to say where every checkpoint is damaged."""
    return UserError(f"no checkpoint in {path} is whole", "remove that folder, or train again with --fresh")
