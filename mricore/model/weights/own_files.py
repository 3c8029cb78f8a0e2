"""Our own folders: a saved encoder, and a checkpoint of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from mricore.config.overrides import checked, validated
from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.weights.files import read_tensors
from mricore.model.weights.known import digests_of
from mricore.model.weights.report import Note

EMBEDDER = ("embedder.json", "embedder.safetensors")
CHECKPOINT = ("state.json", "tensors.safetensors")
_SHIPPED = ("teacher/", "student/")
"""The network that users get is the teacher, or the student of a method without one."""


class OwnFile(NamedTuple):
    """Tensors under our names, the settings stored beside them, and the file that held the tensors."""

    tensors: dict[str, Tensor]
    settings: Model
    dropped: tuple[Note, ...]
    path: Path


def is_own(folder: Path) -> bool:
    """Whether a folder looks as if mricore wrote it."""
    return any((folder / document).is_file() for document, _ in (EMBEDDER, CHECKPOINT))


def read_own(folder: Path) -> OwnFile:
    """Read a folder that mricore wrote.

    Raises:
        UserError: it is no such folder, or damaged.
    """
    if folder.is_file():
        raise UserError(
            f"{folder} is a file; layout mricore wants a folder",
            "choose the file's layout (the released MRI-CORE has mri_core)",
        )
    if (folder / EMBEDDER[0]).is_file():
        document = _document(folder / EMBEDDER[0])
        path = folder / EMBEDDER[1]
        return OwnFile(read_tensors(path), checked(Model, _entry(document, "model", folder)), (), path)
    if (folder / CHECKPOINT[0]).is_file():
        return _read_checkpoint(folder)
    raise UserError(
        f"{folder} holds no weights of mricore",
        f"give a folder that contains {EMBEDDER[0]} (an encoder) or {CHECKPOINT[0]} (a checkpoint of a run)",
    )


def _read_checkpoint(folder: Path) -> OwnFile:
    document = _document(folder / CHECKPOINT[0])
    path = folder / CHECKPOINT[1]
    if digests_of(path, {"sha256"})["sha256"] != _entry(document, "sha256", folder):
        raise UserError(f"checkpoint {folder} is damaged (digest)", "use another checkpoint of the run")
    content = read_tensors(path)
    part = next((part for part in _SHIPPED if any(name.startswith(part) for name in content)), "")
    if not part:
        raise UserError(f"checkpoint {folder} holds no network", "use another checkpoint of the run")
    tensors = {name.removeprefix(part): tensor for name, tensor in content.items() if name.startswith(part)}
    dropped = tuple(
        Note(name, f"only the {part[:-1]} is used") for name in content if not name.startswith(part)
    )
    return OwnFile(tensors, validated(_entry(document, "recipe", folder)).model, dropped, path)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise UserError(f"{path} is damaged", "use another copy of the folder")
    return document


def _entry(document: dict[str, Any], name: str, folder: Path) -> Any:
    if name not in document:
        raise UserError(f"{folder} has another format: no {name}", "use the version that wrote it")
    return document[name]
