"""Weight files on disk: read without running pickled code, written whole or not at all."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mricore.errors import UserError

_DAMAGES = (
    *(OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError, struct.error),
    *(ValueError, LookupError, TypeError, AttributeError, AssertionError, MemoryError, OverflowError),
)
"""What the readers raise for a damaged file, depending on where the damage lies."""


def require_file(path: Path) -> None:
    """Refuse what cannot be opened as a file.

    Raises:
        UserError: nothing is there, or a folder.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder", "give a weight file")
    if not path.is_file():
        raise UserError(f"no weight file at {path}", "check the path")


def read_content(path: Path) -> dict[str, Any]:
    """The dictionary in a .safetensors file or in a file of torch.save; no pickled code runs.

    Raises:
        UserError: the file is missing, damaged, or holds code or no dictionary.
    """
    require_file(path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with warnings.catch_warnings(action="ignore"):  # of pickle protocols that torch expects less
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGES:
        raise UserError(
            f"{path} is not a readable weight file: damaged, or more than tensors and plain values",
            "fetch the file again, or save its state dictionary alone; pickled code is never run",
        ) from None
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{path} holds no dictionary of tensors", "give a state dictionary")
    return dict(content)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file, or of a .pth that holds a flat dictionary; no pickled code runs.

    Raises:
        UserError: the file is missing, damaged, or holds anything but tensors.
    """
    content = read_content(path)
    if not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} does not hold a flat dictionary of tensors", "give a state dictionary")
    return content


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file that appears whole or not at all."""
    _write_whole(path, lambda temporary: save_file(_own(tensors), temporary, dict(metadata)))


def write_pth(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors, also nested in dictionaries, for ``torch.load``; whole or not at all."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as stream:  # opened here, since torch's own error tells no plain reason
            torch.save(_own(content), stream)

    _write_whole(path, write)


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _own(content: Mapping[str, Any]) -> dict[str, Any]:
    """Copies on the CPU that share no memory, since a file stores whole storages."""
    return {
        name: value.detach().cpu().contiguous().clone() if isinstance(value, Tensor) else _own(value)
        for name, value in content.items()
    }
