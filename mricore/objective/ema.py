"""The teacher's moving average."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student, for every parameter, in place."""
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1.0 - momentum)
