"""Which part of an acquisition an image is: magnitude or phase, water or fat, in phase or opposed."""

from __future__ import annotations

from collections.abc import Sequence

_WORDS = frozenset(
    {"M", "P", "R", "I", "PHASE", "MAGNITUDE", "REAL", "IMAGINARY"}
    | {"W", "F", "WATER", "FAT", "IP", "OP", "IN", "OUT", "OPP", "INPHASE", "OUTPHASE"}
)


def component(image_type: Sequence[str]) -> str:
    """The component words of ImageType, also inside values such as M_FFE or IN_PHASE; empty if none."""
    found = " ".join(image_type[2:]).replace("_", " ").split()
    return " ".join(word for word in found if word in _WORDS)
