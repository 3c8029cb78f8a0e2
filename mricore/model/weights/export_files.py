"""Files around an export: the SAM file that completes it, and the target."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from mricore.errors import UserError
from mricore.model.weights.exports import DECODER, NECK, Base, Export, Format
from mricore.model.weights.files import read_content, write_pth

_SAM_FILE = "give one of SAM's own, e.g. sam_vit_b_01ec64.pth (docs/weights.md tells where to get it)"


def read_base(path: Path) -> Base:
    """A whole SAM file, for what our encoder has not.

    Raises:
        UserError: it is unreadable, or has no encoder with neck, no prompt encoder or no mask decoder.
    """
    content = read_content(path)
    parts = (f"{NECK}0.weight", *DECODER)
    missing = [part for part in parts if not any(name.startswith(part) for name in content)]
    if missing:
        what = "no SAM file" if len(missing) == len(parts) else "no whole SAM file"
        raise UserError(f"{path} is {what}: it has no {missing[0].rstrip('.')}", _SAM_FILE)
    others = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if others:
        raise UserError(f"{path} is no plain SAM file: {others[0]} is no tensor", _SAM_FILE)
    return content


def require_free(path: Path, format_: Format) -> None:
    """Refuse a target before anything is loaded.

    Raises:
        UserError: the name does not suit the format, something lies there, or the folder is missing or
            cannot be written.
    """
    if path.suffix != ".pth":
        raise UserError(f"{path} is no name for this format", "choose a name that ends in .pth")
    if format_ == "mri_foundation" and "sam_vit" in path.name:
        raise UserError(
            f"mri_foundation takes a file with sam_vit in its name for another format: {path.name}",
            "choose a name without sam_vit",
        )
    if path.exists():
        raise UserError(f"{path} exists", "remove it, or choose another name")
    if not path.parent.is_dir():
        raise UserError(f"there is no folder {path.parent}", "make it, or choose another")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"the folder {path.parent} cannot be written", "choose another folder")


def write_export(path: Path, export: Export) -> None:
    """Write the file, whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        write_pth(path, export.content)
    except (OSError, RuntimeError) as error:  # torch may hide the former in the latter
        reason = getattr(error, "strerror", None) or "the write broke off"
        raise UserError(f"{path} cannot be written: {reason}", "choose another folder") from None
