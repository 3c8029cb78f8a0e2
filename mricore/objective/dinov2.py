"""The objective of DINOv2 (arXiv 2304.07193, section 4): DINO + iBOT + KoLeo, as pure functions."""

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
from mricore.objective.passes import BLOCKWISE, Passes
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
class Targets:
    """Distributions over prototypes for image tokens (2b, K) and masked patches (M, K); rows sum to 1."""

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


@torch.no_grad()
def dinov2_targets(
    image_logits: Tensor,
    patch_logits: Tensor,
    centers: Centers,
    settings: Objective,
    temperature: float,
    communicator: Communicator,
    passes: Passes = BLOCKWISE,
) -> tuple[Targets, Centers]:
    """What the teacher's logits (2b, K) and (M, K) ask of the student, and the centres for the next step.

    They are of this worker's whole share of the global batch, in any order of rows. Never in half precision,
    whatever autocast says.
    """
    with torch.autocast(image_logits.device.type, enabled=False):
        if settings.centering == "none":
            found = [plain_targets(logits, temperature, passes) for logits in (image_logits, patch_logits)]
            return Targets(*found), centers
        if settings.centering == "sinkhorn":
            found = [
                sinkhorn_targets(logits, temperature, communicator, passes)
                for logits in (image_logits, patch_logits)
            ]
            return Targets(*found), centers
        momentum = settings.center_momentum
        following = Centers(
            updated_center(centers.image, image_logits, momentum, communicator),
            updated_center(centers.patch, patch_logits, momentum, communicator),
        )
        targets = Targets(
            centered_targets(image_logits, centers.image, temperature, passes),
            centered_targets(patch_logits, centers.patch, temperature, passes),
        )
        return targets, following


def dinov2_losses(
    student: Projections,
    targets: Targets,
    masked: MaskedPatches,
    settings: Objective,
    counts: Sequence[int],
    slices: int,
    communicator: Communicator,
    passes: Passes = BLOCKWISE,
) -> Losses:
    """Losses of one part of a step; never in half precision, whatever autocast says.

    ``targets`` and ``masked`` belong to the same slices of this worker as ``student``. ``counts`` are the
    slices of each worker in this part, ``slices`` all of the global batch. KoLeo looks for neighbours in this
    part alone; all other terms do not depend on how the batch is cut into parts.
    """
    with torch.autocast(student.image_logits.device.type, enabled=False):
        temperature = settings.student_temperature
        dino_global, dino_local = dino_shares(
            student.image_logits, student.local_logits, targets.image, temperature, slices, passes
        )
        ibot = ibot_share(student.patch_logits, targets.patch, masked.weights, temperature, slices, passes)
        crops = student.image_tokens.chunk(2)
        koleo = torch.stack([koleo_share(crop, counts, slices, communicator) for crop in crops]).sum()
        total = settings.dino_weight * (dino_global + dino_local)
        total = total + settings.ibot_weight * ibot + settings.koleo_weight * koleo
    return Losses(total, dino_global, dino_local, ibot, koleo)
