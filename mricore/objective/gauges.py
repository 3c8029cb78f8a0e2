"""Gauges of health: a collapse shows here before it shows in the loss.

They are measured when a report is due, after the step, and never between: the spectrum behind ``rank`` is
taken on the host, which waits for the device. All results are scalars on the device of the tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mricore.model.network import Projections
from mricore.objective.passes import centered_softmax


@torch.no_grad()
def gauges(student: Projections, teacher: Projections, temperature: float) -> dict[str, Tensor]:
    """Scalars of this worker's part of a batch, of DINOv2.

    - ``teacher_entropy``: mean entropy of the teacher's answers, 0 (certain) to 1 (uniform).
    - ``prototype_use``: effective share of prototypes in the mean answer, 1/K (collapse) to 1.
    - ``information``: how much an answer tells of its crop, in nats: the entropy of the mean answer less the
      mean entropy. 0 if all crops get the same answer, be it one prototype or all; at most ln(crops).
    - ``agreement``: share of crops for which student and teacher prefer the same prototype.
    - and those of ``token_gauges``, of the student; a neighbour is another slice, not the other crop.
    """
    answers = centered_softmax(teacher.image_logits, temperature)
    prototypes = answers.shape[1]
    each, together = _entropy(answers).mean(), _entropy(answers.mean(0))
    own, other = student.image_logits.argmax(-1), teacher.image_logits.argmax(-1)
    return {
        "teacher_entropy": each / math.log(prototypes),
        "prototype_use": torch.exp(together) / prototypes,
        "information": together - each,
        "agreement": (own == other).float().mean(),
        **token_gauges(student.image_tokens, crops=2),
    }


@torch.no_grad()
def token_gauges(tokens: Tensor, crops: int = 1) -> dict[str, Tensor]:
    """Scalars of the image tokens (crops * b, dim) of this worker's slices, one crop after the other.

    - ``rank``: RankMe (arXiv 2210.02885), the effective rank of the tokens.
    - ``nearest_distance``: mean distance of a token of the first crop to the nearest of another slice, on
      the unit sphere.
    """
    # a spectrum of NaN is an error in LAPACK; that the loss diverged is for the loop to tell
    tokens = torch.nan_to_num(tokens.float())
    return {"rank": effective_rank(tokens), "nearest_distance": _nearest_distance(tokens.chunk(crops)[0])}


def effective_rank(features: Tensor) -> Tensor:
    """exp of the entropy of the normalised singular values of (n, C) features; at most min(n, C).

    The singular values are the roots of the eigenvalues of the smaller Gram matrix, in float64 on the host.
    """
    n, channels = features.shape
    wide = features.double()
    gram = wide @ wide.T if n < channels else wide.T @ wide
    singular = torch.linalg.eigvalsh(gram.cpu()).clamp(min=0).sqrt()
    shares = singular / singular.sum().clamp(min=1e-12)
    return torch.exp(_entropy(shares)).float().to(features.device)


def _entropy(probabilities: Tensor) -> Tensor:
    return torch.special.entr(probabilities).sum(-1)


def _nearest_distance(tokens: Tensor) -> Tensor:
    """Zero for a single token."""
    unit = F.normalize(tokens, dim=-1)
    if unit.shape[0] < 2:
        return unit.new_zeros(())
    distances = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    return distances.min(1).values.mean()
