"""Tensors under a module's own names, loaded strictly."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from mricore.errors import UserError
from mricore.model.weights.report import LoadReport


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor]) -> LoadReport:
    """Load tensors into a module whose names they have, all of them into all of it.

    Raises:
        UserError: a tensor is missing, of another shape, or unexplained; the message names the first.
    """
    wanted = module.state_dict()
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += misfits(tensors, wanted)
    if problems:
        raise refusal("the weights do not fit", problems, "use the settings that the weights were made with")
    module.load_state_dict(dict(tensors))
    return LoadReport(tuple(tensors))


def misfits(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Tensors that have no place, or one of another shape."""
    problems = [f"{name} is unknown" for name in tensors if name not in wanted]
    return problems + [
        f"{name} has shape {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in tensors.items()
        if name in wanted and tensor.shape != wanted[name].shape
    ]


def refusal(what: str, problems: list[str], remedy: str) -> UserError:
    """One line that names the first problem and counts the others."""
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return UserError(f"{what}: {problems[0]}{more}", remedy)
