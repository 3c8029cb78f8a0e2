"""Weights into a network, with an account of every tensor on both sides."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.weights.architecture import require_same_architecture
from mricore.model.weights.conversion import converted, may_be_missing
from mricore.model.weights.report import LoadReport, Note
from mricore.model.weights.strict import misfits, refusal
from mricore.model.weights.tensors import Weights

_FINAL_NORM = "token.norm."
_PARTS = ("mask_token", "patch_head.", "head.", "decoder.", "token.")
"""What a network may have beside the encoder and the final norm: each part is taken whole or not at all."""


def load_into(network: nn.Module, weights: Weights, settings: Model) -> LoadReport:
    """Load weights into a ``Network``, a ``MaeNetwork`` or an ``Embedder`` of ``settings``.

    Encoder and final norm must fit. Other parts are dropped by name where the network has none of this
    shape, and kept as initialised where the weights have none.

    Raises:
        UserError: the weights belong to other settings or hold NaN or infinity, or a tensor has no place or
            no source.
    """
    require_same_architecture(weights, settings)
    _require_finite(weights)
    fitting = converted(weights, settings)
    wanted = network.state_dict()
    given, strangers = _without_other_parts(fitting.tensors, wanted)
    kept = tuple(name for name in wanted if name not in given)
    problems = [f"{name} is missing" for name in kept if not _may_be_kept(name, weights, settings)]
    problems += misfits(given, wanted)
    if problems:
        raise refusal(
            f"{weights.source} does not fit", problems, "use the layout and the settings of the file"
        )
    network.load_state_dict({**wanted, **given})
    reshaped = tuple(note for note in fitting.reshaped if note.name in given)
    changed = {note.name for note in reshaped}
    return LoadReport(
        loaded=tuple(name for name in given if name not in changed),
        dropped=(*fitting.dropped, *strangers),
        reshaped=reshaped,
        folded=fitting.folded,
        kept=kept,
        source=f"{weights.source}: {weights.digest}" if weights.digest else weights.source,
    )


def _require_finite(weights: Weights) -> None:
    ruined = next((name for name, tensor in weights.tensors.items() if not tensor.isfinite().all()), None)
    if ruined:
        remedy = (
            "use another version or checkpoint" if weights.layout == "mricore" else "fetch the file again"
        )
        raise UserError(f"{weights.source} holds NaN or infinity, first in {ruined}", remedy)


def _without_other_parts(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[Note]]:
    """Tensors but for those of parts that the network has not, or has in another shape."""
    given, dropped = dict(tensors), []
    for part in _PARTS:
        ours = {name for name in wanted if part_of(name) == part}
        theirs = {name for name in tensors if part_of(name) == part}
        if reason := _mismatch(tensors, wanted, theirs, ours):
            dropped += [Note(name, reason) for name in sorted(theirs)]
            given = {name: tensor for name, tensor in given.items() if name not in theirs}
    return given, dropped


def _mismatch(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], theirs: set[str], ours: set[str]
) -> str:
    """Why a part of the weights cannot be that of the network; empty if it can, or there is none."""
    if theirs and not ours:
        return "the network has no such part"
    if theirs and theirs != ours:
        return "the network's part is built otherwise"
    other = sorted(name for name in theirs if tensors[name].shape != wanted[name].shape)
    if other:
        shapes = f"{tuple(tensors[other[0]].shape)}, not {tuple(wanted[other[0]].shape)}"
        return f"the network's part has other sizes ({other[0]} is {shapes})"
    return ""


def part_of(name: str) -> str:
    """The optional part that a tensor belongs to; empty for the encoder and the final norm."""
    if name.startswith(_FINAL_NORM):
        return ""
    return next((part for part in _PARTS if name.startswith(part)), "")


def _may_be_kept(name: str, weights: Weights, settings: Model) -> bool:
    if name.startswith(_FINAL_NORM):
        return weights.layout == "sam"  # the only one without a final norm
    return bool(part_of(name)) or may_be_missing(name, weights, settings)
