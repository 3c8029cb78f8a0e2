"""Which patients teach and which judge, and which few slices an encoder is adapted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mricore.evaluation.tasks.volume import SliceKey

Part = Literal["pool", "development", "test"]


@dataclass(frozen=True)
class Split:
    """Patients of a task, each in one part.

    ``pool``: training and validation slices are drawn from them. ``development``: choices of pretraining are
    judged on them (paper section 4.2.2). ``test``: looked at for what is published, and for nothing else.
    """

    pool: tuple[str, ...]
    development: tuple[str, ...]
    test: tuple[str, ...]

    def patients(self, part: Part) -> tuple[str, ...]:
        """The patients of a part."""
        return {"pool": self.pool, "development": self.development, "test": self.test}[part]


@dataclass(frozen=True)
class Draw:
    """Some training and validation slices of patients that are all different (paper section 2.1)."""

    number: int
    training: tuple[SliceKey, ...]
    validation: tuple[SliceKey, ...]
