"""A checkpoint is a folder with one safetensors file and one JSON file; nothing in it is pickled.

It does not depend on the number of workers: weights, optimiser moments and centres are whole, and the
position is (epoch, step). Random numbers need no state, since every draw is a function of the position.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mricore.config.overrides import validated
from mricore.config.schema import Recipe
from mricore.errors import UserError
from mricore.model.weights import load_strictly
from mricore.objective.dinov2 import Centers
from mricore.objective.health import Monitor
from mricore.objective.shards import shared_like, whole
from mricore.revision import code_revision
from mricore.training.methods import method_of
from mricore.training.state import Trained, TrainState, load_whole

TENSORS = "tensors.safetensors"
STATE = "state.json"
FORMAT = 2
Row = dict[str, float]
"""Metrics of one step: "step", "loss/...", "gauge/...", "schedule/...", "time/...", "progress/..."."""
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says of itself."""

    step: int
    steps_per_epoch: int
    manifest_digest: str
    recipe: Recipe

    @property
    def epoch(self) -> int:
        """The epoch that the next step belongs to."""
        return self.step // self.steps_per_epoch


@dataclass(frozen=True)
class Snapshot:
    """A state between two steps, whole and in host memory; later steps do not change it."""

    tensors: dict[str, Tensor]
    step: int
    roll_backs: int
    health: dict[str, Any]


def snapshot(state: TrainState, rank: int = 0) -> Snapshot | None:
    """Copy what a checkpoint holds; the worker of rank 0 gets it, the others None.

    All workers must call it together, as they may share the tensors.
    """
    copies: dict[str, Tensor] = {}
    for name, tensor in _tensors(state).items():
        gathered = whole(tensor)  # one after the other, so that a device holds one whole tensor at most
        if rank == 0:
            copies[name] = gathered.to("cpu", copy=True).contiguous()
    if rank:
        return None
    return Snapshot(copies, state.step, state.roll_backs, deepcopy(state.monitor.state()))


def write_checkpoint(
    folder: Path, snapshot: Snapshot, info: CheckpointInfo, rows: Sequence[Row] = ()
) -> None:
    """Write a snapshot into an existing empty folder (Ray Train makes the upload atomic).

    ``rows`` are the metrics that are reported with this checkpoint, see ``rows_of``.
    """
    save_file(snapshot.tensors, folder / TENSORS)
    document = {
        "format": FORMAT,
        "step": snapshot.step,
        "roll_backs": snapshot.roll_backs,
        "health": snapshot.health,
        "epoch": info.epoch,
        "steps_per_epoch": info.steps_per_epoch,
        "manifest_digest": info.manifest_digest,
        "recipe": info.recipe.model_dump(mode="json"),
        "code_revision": code_revision(),
        "rows": list(rows),
        "sha256": _sha256(folder / TENSORS),
    }
    (folder / STATE).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


def save_checkpoint(folder: Path, state: TrainState, info: CheckpointInfo, rows: Sequence[Row] = ()) -> None:
    """``snapshot`` and ``write_checkpoint`` in one, for a process that shares nothing."""
    if (taken := snapshot(state)) is not None:
        write_checkpoint(folder, taken, info, rows)


def rows_of(state: bytes) -> list[Row]:
    """Metrics reported with a checkpoint, from the content of its ``state.json``; none if that is damaged."""
    try:
        rows: list[Row] = json.loads(state)["rows"]
    except (ValueError, KeyError, TypeError):
        return []
    return rows


def epochs_of(state: bytes) -> int:
    """Whole epochs behind a checkpoint, from the content of its ``state.json``; 0 if that is damaged."""
    try:
        return int(json.loads(state)["epoch"])
    except (ValueError, KeyError, TypeError):
        return 0


def read_info(folder: Path) -> CheckpointInfo:
    """Read the small half of a checkpoint.

    Raises:
        UserError: it is missing, damaged or of another format.
    """
    document = _document(folder)
    return CheckpointInfo(
        step=document["step"],
        steps_per_epoch=document["steps_per_epoch"],
        manifest_digest=document["manifest_digest"],
        recipe=validated(document["recipe"]),
    )


def load_checkpoint(folder: Path, state: TrainState) -> CheckpointInfo:
    """Load a checkpoint into a freshly built state; every tensor must have its place.

    Raises:
        UserError: the checkpoint is truncated, damaged, or belongs to another model.
    """
    document = _document(folder)
    tensors = _read_tensors(folder, document["sha256"])
    for part, module in _networks(state).items():
        try:
            load_whole(module, _taken(tensors, part))
        except RuntimeError:
            raise UserError(
                f"checkpoint {folder.name} is of another model", "use the recipe it was made with"
            ) from None
    _load_moments(state, tensors)
    if state.centers is not None:
        centers = _taken(tensors, "centers")
        device = state.centers.image.device
        state.centers = Centers(centers["image"].to(device), centers["patch"].to(device))
    if tensors:
        raise UserError(f"checkpoint {folder.name} has unknown tensors", "use the version it was made with")
    state.step, state.roll_backs = document["step"], document["roll_backs"]
    state.monitor = Monitor.restored(state.monitor.settings, document["health"])
    return read_info(folder)


def read_shipped(folder: Path) -> tuple[CheckpointInfo, Trained]:
    """The network of a checkpoint that users get: the teacher, or the student where there is none.

    Raises:
        UserError: the checkpoint is damaged.
    """
    info = read_info(folder)
    tensors = _read_tensors(folder, _document(folder)["sha256"])
    return info, _shipped(tensors, info.recipe)


def shipped(snapshot: Snapshot, recipe: Recipe) -> Trained:
    """What ``read_shipped`` would give of a checkpoint with this snapshot."""
    return _shipped(dict(snapshot.tensors), recipe)


def _shipped(tensors: dict[str, Tensor], recipe: Recipe) -> Trained:
    method = method_of(recipe)
    network = cast(Trained, method.network(torch.Generator()))
    load_strictly(network, _taken(tensors, "teacher" if method.has_teacher else "student"))
    return network.eval()


def _networks(state: TrainState) -> dict[str, Trained]:
    networks = {"student": state.student}
    return networks if state.teacher is None else {**networks, "teacher": state.teacher}


def _tensors(state: TrainState) -> dict[str, Tensor]:
    tensors = {
        f"{part}/{name}": tensor
        for part, network in _networks(state).items()
        for name, tensor in network.state_dict().items()
    }
    for name, parameter in state.student.named_parameters():
        moments: dict[str, Tensor] = state.optimizer.state.get(parameter, {})
        tensors |= {f"optimizer/{kind}/{name}": moments[kind] for kind in moments}
    if state.centers is not None:
        tensors |= {"centers/image": state.centers.image, "centers/patch": state.centers.patch}
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _load_moments(state: TrainState, tensors: dict[str, Tensor]) -> None:
    by_kind = {kind: _taken(tensors, f"optimizer/{kind}") for kind in MOMENTS}
    for name, parameter in state.student.named_parameters():
        found = {kind: moments.pop(name) for kind, moments in by_kind.items() if name in moments}
        if found:
            state.optimizer.state[parameter] = {
                kind: shared_like(tensor, parameter if tensor.ndim else tensor).to(parameter.device)
                for kind, tensor in found.items()
            }
    if any(by_kind.values()):
        raise UserError(
            "the checkpoint holds optimiser state of another model", "use the recipe it was made with"
        )


def _taken(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """Remove and return the tensors under a prefix."""
    names = [name for name in tensors if name.startswith(f"{part}/")]
    return {name.removeprefix(f"{part}/"): tensors.pop(name) for name in names}


def _document(folder: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads((folder / STATE).read_text())
    except (OSError, ValueError):
        raise UserError(f"checkpoint {folder.name} is damaged", _REMEDY) from None
    if document.get("format") != FORMAT:
        raise UserError(f"checkpoint {folder.name} has another format", "use the version it was made with")
    return document


def _read_tensors(folder: Path, sha256: str) -> dict[str, Tensor]:
    try:
        if _sha256(folder / TENSORS) != sha256:
            raise UserError(f"checkpoint {folder.name} is damaged (digest)", _REMEDY)
        return load_file(folder / TENSORS)
    except (OSError, SafetensorError):
        raise UserError(f"checkpoint {folder.name} is damaged", _REMEDY) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_REMEDY = "train again with --fresh"
