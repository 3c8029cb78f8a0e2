"""Folders of PNG slices, 8 or 16 bits, with a mask for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw
from mricore.imaging.quiet import quiet

_GREY = ("1", "L", "I;16", "I;16B", "I", "F")
_COLOURS = ("RGB", "RGBA", "LA")


def read_volume(
    images: Sequence[tuple[str, Path]], masks: Sequence[Path]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Image and mask (slices, rows, columns) in the order given.

    Raises:
        CaseRefusedError: one of them cannot be used, or they do not fit each other.
    """
    if len({_plain(number) for number, _ in images}) < len(images):
        raise CaseRefusedError(Flaw.SAME_POSITION)
    if len(masks) != len(images):
        raise CaseRefusedError(Flaw.MASK_MISSING)
    image = stacked([read_png(path, Flaw.UNREADABLE_IMAGE) for _, path in images])
    mask = stacked([read_png(path, Flaw.UNREADABLE_MASK, is_mask=True) for path in masks])
    if image.shape != mask.shape:
        raise CaseRefusedError(Flaw.OTHER_SHAPE)
    return image, mask


def read_png(path: Path, damaged: Flaw, is_mask: bool = False) -> NDArray[Any]:
    """One slice (rows, columns) of integers; colours only if they are grey, a mask's palette as its indices.

    Raises:
        CaseRefusedError: it is damaged (``damaged``) or shows colours.
    """
    try:
        with quiet(), Image.open(path) as file:
            file.load()
            mode, pixels = file.mode, np.asarray(file)
    except Exception:  # noqa: BLE001 - decoders raise almost anything on damaged bytes
        raise CaseRefusedError(damaged) from None
    if mode in _GREY or (mode == "P" and is_mask):
        return pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    if mode not in _COLOURS:
        raise CaseRefusedError(Flaw.NOT_GRAYSCALE)
    grey = pixels[..., 0]
    if mode != "LA" and not (pixels[..., 1:3] == grey[..., None]).all():
        raise CaseRefusedError(Flaw.NOT_GRAYSCALE)
    return grey


def stacked(slices: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Slices of one shape as a volume.

    Raises:
        CaseRefusedError: shapes differ.
    """
    if len({one.shape for one in slices}) > 1:
        raise CaseRefusedError(Flaw.OTHER_SHAPE)
    return np.stack(slices)


def _plain(number: str) -> str:
    """01 is 1."""
    return number.lstrip("0") if number.isdigit() else number
