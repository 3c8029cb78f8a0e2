"""Files around an export: the SAM file that completes it, and the target."""

from __future__ import annotations

from pathlib import Path

from mricore.errors import UserError
from mricore.model.weights.exports import DECODER, NECK, Base, Export, Format
from mricore.model.weights.files import read_tensors, write_pth


def read_base(path: Path) -> Base:
    """A whole SAM file, for what our encoder has not.

    Raises:
        UserError: it is unreadable, or has no encoder with neck, no prompt encoder or no mask decoder.
    """
    tensors = read_tensors(path)
    missing = [
        part for part in (f"{NECK}0.weight", *DECODER) if not any(name.startswith(part) for name in tensors)
    ]
    if missing:
        raise UserError(
            f"{path} is no whole SAM file: it has no {missing[0].rstrip('.')}", "give sam_vit_b_01ec64.pth"
        )
    return tensors


def require_free(path: Path, format_: Format) -> None:
    """Refuse a target before anything is loaded.

    Raises:
        UserError: the name does not suit the format, something lies there, or the folder is missing.
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


def write_export(path: Path, export: Export) -> None:
    """Write the file, whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        write_pth(path, export.content)
    except (OSError, RuntimeError) as error:  # torch raises the latter where a file cannot be opened
        raise UserError(f"{path} cannot be written: {error}", "choose another folder") from None
