"""Values of masks -> the numbers 1..C of a task's classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.config.task import Task
from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw

_VALUES = 2**16


def class_numbers(mask: NDArray[Any], task: Task) -> NDArray[np.uint8]:
    """A mask of any shape with 0 for background and what is ignored, and 1..C for the classes.

    Raises:
        CaseRefusedError: it holds a value that the task does not name.
    """
    whole = np.asarray(mask)
    if whole.dtype.kind == "f":
        whole = np.rint(whole)
        if not np.array_equal(whole, mask):
            raise CaseRefusedError(Flaw.UNKNOWN_VALUE)
    if whole.size and not (whole.min() >= 0 and whole.max() < _VALUES):
        raise CaseRefusedError(Flaw.UNKNOWN_VALUE)
    table = np.full(_VALUES, 255, np.uint8)
    table[[0, *task.ignore]] = 0
    for number, values in enumerate(task.classes.values(), 1):
        table[list(values)] = number
    numbers = table[whole.astype(np.uint16)]
    if (numbers == 255).any():
        raise CaseRefusedError(Flaw.UNKNOWN_VALUE)
    return numbers
