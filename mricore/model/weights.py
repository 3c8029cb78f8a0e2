"""Weight files, loaded strictly: every tensor is loaded, renamed or dropped by name, or it is an error."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mricore.errors import UserError


@dataclass(frozen=True)
class LoadReport:
    """What became of each tensor of a file."""

    loaded: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        return f"weights: {len(self.loaded)} tensors loaded, {len(self.dropped)} dropped by name"


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file, or of a .pth that holds a flat dictionary; no pickled code runs.

    Raises:
        UserError: the file is missing, damaged, or holds anything but tensors.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError):
        raise UserError(
            f"{path} is not a readable weight file", "check the path, or fetch the file again"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} does not hold a flat dictionary of tensors", "give a state dictionary")
    return content


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file that appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    contiguous = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(contiguous, temporary, dict(metadata))
    temporary.replace(path)


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], *, strip: str = "", drop: Sequence[str] = ()
) -> LoadReport:
    """Load tensors into a module.

    ``strip`` is a prefix that all names of the module carry in the file; names that begin with an entry
    of ``drop`` are left out on purpose.

    Raises:
        UserError: a tensor is missing, of another shape, or unexplained; the message names the first.
    """
    dropped = tuple(name for name in tensors if any(name.startswith(prefix) for prefix in drop))
    given = {name.removeprefix(strip): tensor for name, tensor in tensors.items() if name not in dropped}
    wanted = module.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in given]
    problems += [f"{name} is unknown" for name in given if name not in wanted]
    problems += [
        f"{name} has shape {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in given.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise UserError(
            f"the weights do not fit: {problems[0]}{more}", "use the settings that the weights were made with"
        )
    module.load_state_dict(given)
    return LoadReport(tuple(given), dropped)


def load_sam(encoder: nn.Module, path: Path) -> LoadReport:
    """Load the image encoder of a SAM checkpoint (``sam_vit_*.pth``); its decoder parts are dropped.

    Raises:
        UserError: the file does not fit the encoder exactly.
    """
    drop = ("prompt_encoder.", "mask_decoder.")
    return load_strictly(encoder, read_tensors(path), strip="image_encoder.", drop=drop)
