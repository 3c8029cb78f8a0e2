"""The checkpoints that were judged best, kept beside the last ones, which Ray Train keeps."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pyarrow import fs

from mricore.config.schema import Train
from mricore.data.storage import Place, remove_folder
from mricore.training.stored import PREFIX

SCORE = "validation/mean"
"""k-NN accuracy, the mean of all tasks."""
SEGMENTATION = "validation/segmentation"
"""Dice of a patch probe on ``train.validate_task``."""
LIST = "best.json"
BEST = "best_"


@dataclass(frozen=True)
class Kept:
    """A folder of the run, its score, and the metric and labelled task (its digest) that it is a score of."""

    name: str
    score: float
    metric: str = SCORE
    task: str = ""


def deciding(train: Train) -> str:
    """The metric that chooses the best checkpoints: segmentation where there is a task for it, else k-NN."""
    return SEGMENTATION if train.validate_task else SCORE


@dataclass(frozen=True)
class Best:
    """At most ``count`` copies of checkpoints; the list of them is written when they are whole.

    Scores of another metric or task, from before a run went on with other settings, do not count.
    """

    run: Place
    count: int
    metric: str = SCORE
    task: str = ""

    @classmethod
    def of(cls, run: Place, train: Train) -> Self:
        """Those of a run with such settings."""
        return cls(run, train.keep_best, deciding(train), train.validate_digest)

    def kept(self) -> list[Kept]:
        """The best first; of equal ones the earlier."""
        if not self.run.exists(LIST):
            return []
        kept = [Kept(**entry) for entry in json.loads(self.run.read_bytes(LIST))]
        return [one for one in kept if (one.metric, one.task) == (self.metric, self.task)]

    def offer(self, files: Path, name: str, score: float) -> None:
        """Keep a copy of a checkpoint that is among the best, and remove the one that no longer is."""
        new = Kept(name.replace(PREFIX, BEST), score, self.metric, self.task)
        after = sorted([*self.kept(), new], key=lambda one: -one.score)[: self.count]
        if new not in after:
            return
        system, path = self.run.arrow(new.name)
        system.create_dir(path)
        fs.copy_files(str(files), path, destination_filesystem=system, use_threads=False)
        self.run.write_bytes(LIST, json.dumps([asdict(one) for one in after], indent=1).encode())
        for folder in self._folders():
            if folder.base_name not in {one.name for one in after}:  # no longer the best, or left by a kill
                remove_folder(system, folder.path)

    def _folders(self) -> list[fs.FileInfo]:
        system, path = self.run.arrow("")
        found = system.get_file_info(fs.FileSelector(path))
        return [one for one in found if one.type == fs.FileType.Directory and one.base_name.startswith(BEST)]
