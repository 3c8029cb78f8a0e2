"""Why a case of a task was left out; docs/tasks.md explains them one by one."""

from __future__ import annotations

from enum import StrEnum


class Flaw(StrEnum):
    """The reason against a case."""

    MASK_MISSING = "mask_missing"
    NOT_IN_TABLE = "not_in_table"
    UNREADABLE_IMAGE = "unreadable_image"
    UNREADABLE_MASK = "unreadable_mask"
    NOT_A_VOLUME = "not_a_volume"
    NOT_GRAYSCALE = "not_grayscale"
    TOO_LARGE = "too_large"
    NOT_FINITE = "not_finite"
    SLICE_AXIS_UNCLEAR = "slice_axis_unclear"
    OTHER_SHAPE = "other_shape"
    OTHER_GEOMETRY = "other_geometry"
    UNEVEN_SLICES = "uneven_slices"
    SAME_POSITION = "same_position"
    UNKNOWN_VALUE = "unknown_value"
    OVERLAP = "overlap"
    NO_LABELLED_SLICE = "no_labelled_slice"
    REPEATED = "repeated"


class CaseRefusedError(Exception):
    """A case cannot be used; carries the reason and nothing of the files."""

    def __init__(self, flaw: Flaw) -> None:
        self.flaw = flaw
        super().__init__(flaw)
