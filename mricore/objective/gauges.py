"""Gauges of health: a collapse shows here before it shows in the loss."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mricore.model.network import Projections


@torch.no_grad()
def gauges(student: Projections, teacher: Projections, temperature: float) -> dict[str, Tensor]:
    """Scalars of this worker's part of a batch.

    - ``teacher_entropy``: mean entropy of the teacher's answers, 0 (certain) to 1 (uniform).
    - ``prototype_use``: effective share of prototypes in the mean answer, 1/K (collapse) to 1.
    - ``rank``: RankMe (arXiv 2210.02885), the effective rank of the image tokens.
    - ``nearest_distance``: mean distance of a token to its nearest neighbour on the unit sphere.
    - ``agreement``: share of crops for which student and teacher prefer the same prototype.
    """
    answers = torch.softmax(teacher.image_logits.float() / temperature, dim=-1)
    prototypes = answers.shape[1]
    # a singular value of NaN is an error in LAPACK; that the loss diverged is for the loop to tell
    tokens = torch.nan_to_num(student.image_tokens.float())
    own, other = student.image_logits.argmax(-1), teacher.image_logits.argmax(-1)
    return {
        "teacher_entropy": _entropy(answers).mean() / math.log(prototypes),
        "prototype_use": torch.exp(_entropy(answers.mean(0))) / prototypes,
        "rank": effective_rank(tokens),
        "nearest_distance": _nearest_distance(tokens.chunk(2)[0]),
        "agreement": (own == other).float().mean(),
    }


def effective_rank(features: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values of (n, C) features; at most min(n, C)."""
    shares = torch.linalg.svdvals(features)
    shares = shares / shares.sum().clamp(min=1e-12)
    return torch.exp(_entropy(shares))


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(-1)


def _nearest_distance(tokens: Tensor) -> Tensor:
    """Zero for a single token."""
    unit = F.normalize(tokens, dim=-1)
    if unit.shape[0] < 2:
        return unit.new_zeros(())
    distances = torch.cdist(unit, unit)
    distances.fill_diagonal_(torch.inf)
    return distances.min(1).values.mean()
