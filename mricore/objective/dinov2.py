"""The objective of DINOv2 (arXiv 2304.07193, section 4): DINO + iBOT + KoLeo, as one pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mricore.config.schema import Objective
from mricore.model.masked import MaskedPatches
from mricore.model.network import Projections
from mricore.objective.communication import Communicator
from mricore.objective.dino import dino_shares
from mricore.objective.ibot import ibot_share
from mricore.objective.koleo import koleo_share
from mricore.objective.targets import (
    centered_targets,
    plain_targets,
    sinkhorn_targets,
    updated_center,
)


@dataclass(frozen=True)
class Centers:
    """Moving averages of teacher logits, (K,) each; used by centering only."""

    image: Tensor
    patch: Tensor


@dataclass(frozen=True)
class Losses:
    """This worker's shares, scalars; their sum over workers is the loss of the global batch.

    Terms are unweighted; ``total`` is weighted and the only one with a gradient.
    """

    total: Tensor
    dino_global: Tensor
    dino_local: Tensor
    ibot: Tensor
    koleo: Tensor


def dinov2_losses(
    student: Projections,
    teacher: Projections,
    masked: MaskedPatches,
    centers: Centers,
    settings: Objective,
    teacher_temperature: float,
    counts: Sequence[int],
    communicator: Communicator,
) -> tuple[Losses, Centers]:
    """Losses of one step, and the centres for the next; never in half precision, whatever autocast says.

    ``masked`` are the masked patches of this worker, ``counts`` the slices of each worker in this global
    batch.
    """
    with torch.autocast(student.image_logits.device.type, enabled=False):
        image_targets, patch_targets, following = _targets(
            teacher, centers, settings, teacher_temperature, communicator
        )
        temperature, slices = settings.student_temperature, sum(counts)
        dino_global, dino_local = dino_shares(
            student.image_logits, student.local_logits, image_targets, temperature, slices
        )
        ibot = ibot_share(student.patch_logits, patch_targets, masked.weights, temperature, slices)
        crops = student.image_tokens.chunk(2)
        koleo = torch.stack([koleo_share(crop, counts, communicator) for crop in crops]).sum()
        total = settings.dino_weight * (dino_global + dino_local)
        total = total + settings.ibot_weight * ibot + settings.koleo_weight * koleo
    return Losses(total, dino_global, dino_local, ibot, koleo), following


@torch.no_grad()
def _targets(
    teacher: Projections,
    centers: Centers,
    settings: Objective,
    temperature: float,
    communicator: Communicator,
) -> tuple[Tensor, Tensor, Centers]:
    """Targets of image tokens (2b, K) and masked patches (M, K), and the next centres."""
    image, patch = teacher.image_logits, teacher.patch_logits
    if settings.centering == "none":
        return plain_targets(image, temperature), plain_targets(patch, temperature), centers
    if settings.centering == "sinkhorn":
        return (
            sinkhorn_targets(image, temperature, communicator),
            sinkhorn_targets(patch, temperature, communicator),
            centers,
        )
    momentum = settings.center_momentum
    following = Centers(
        updated_center(centers.image, image, momentum, communicator),
        updated_center(centers.patch, patch, momentum, communicator),
    )
    return (
        centered_targets(image, centers.image, temperature),
        centered_targets(patch, centers.patch, temperature),
        following,
    )
