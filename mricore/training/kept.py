"""Checkpoints at the ends of epochs that were asked for, kept for good beside the last and the best ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from mricore.data.storage import remove_folder
from mricore.training.checkpoint import STATE, TENSORS


def kept_name(epoch: int) -> str:
    """Folder of the checkpoint after so many epochs, inside the run's."""
    return f"epoch_{epoch:05d}"


@dataclass(frozen=True)
class KeptEpochs:
    """The folder of a run."""

    file_system: fs.FileSystem
    path: str

    def keep(self, files: Path, epoch: int) -> None:
        """Copy a checkpoint; what is there of that epoch, e.g. from before a crash, is replaced.

        The small file is written last: without it the copy is not whole.
        """
        folder = self._folder(epoch)
        remove_folder(self.file_system, folder)
        self.file_system.create_dir(folder)
        for name in (TENSORS, STATE):
            fs.copy_files(str(files / name), f"{folder}/{name}", destination_filesystem=self.file_system)

    def has(self, epoch: int) -> bool:
        """Whether that epoch's checkpoint was copied to the end."""
        (found,) = self.file_system.get_file_info([f"{self._folder(epoch)}/{STATE}"])
        return bool(found.type == fs.FileType.File)

    def _folder(self, epoch: int) -> str:
        return f"{self.path}/{kept_name(epoch)}"
