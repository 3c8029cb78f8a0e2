"""Gauges of health: a collapse shows here before it shows in the loss.

They are measured when a report is due, after the step, and never between: the spectrum behind ``rank`` is
taken on the host, which waits for the device. All results are scalars on the device of the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mricore.objective.communication import Communicator
from mricore.objective.passes import centered_softmax

FEWEST = 8
"""Slices of the global batch below which a spectrum or a mean answer tells nothing."""


@torch.no_grad()
def gauges(
    student_logits: Tensor,
    student_tokens: Tensor,
    teacher_logits: Tensor,
    center: Tensor | None,
    temperature: float,
    counts: Sequence[int],
    communicator: Communicator,
) -> dict[str, Tensor]:
    """Scalars of the global batch, the same on every worker, of DINOv2.

    Logits (2b, K) and tokens (2b, dim) are of this worker's global crops, first crops before second ones.
    ``center`` (K,) is what the targets of this step were centred by, ``counts`` the slices of each worker.

    - ``teacher_entropy``: mean entropy of the teacher's answers, 0 (certain) to 1 (uniform).
    - ``prototype_use``: effective share of prototypes in the mean answer, 1/K (collapse) to 1.
    - ``information``: how much an answer tells of its crop, in nats: the entropy of the mean answer less the
      mean entropy. 0 if all crops get the same answer, be it one prototype or all; at most ln(crops). Left
      out for fewer than ``FEWEST`` slices.
    - ``agreement``: share of crops for which student and teacher prefer the same prototype.
    - and those of ``token_gauges``, of the student; a neighbour is another slice, not the other crop.
    """
    answers = centered_softmax(teacher_logits, temperature, center)
    prototypes = answers.shape[1]
    same = (student_logits.argmax(-1) == teacher_logits.argmax(-1)).float()
    own = torch.cat([answers.sum(0), _entropy(answers).sum()[None], same.sum()[None]])
    means = communicator.sum(own) / (2 * sum(counts))
    each, together = means[-2], _entropy(means[:-2])
    found = {
        "teacher_entropy": each / math.log(prototypes),
        "prototype_use": torch.exp(together) / prototypes,
        "agreement": means[-1],
        **token_gauges(student_tokens.chunk(2), counts, communicator),
    }
    return found | ({"information": together - each} if sum(counts) >= FEWEST else {})


@torch.no_grad()
def token_gauges(
    crops: Sequence[Tensor], counts: Sequence[int], communicator: Communicator
) -> dict[str, Tensor]:
    """Scalars of the global batch's image tokens, from this worker's tokens (b, dim) of each crop.

    - ``rank``: RankMe (arXiv 2210.02885), the effective rank of the tokens.
    - ``nearest_distance``: mean distance of a token of the first crop to the nearest of another slice, on
      the unit sphere.

    None for fewer than ``FEWEST`` slices.
    """
    if sum(counts) < FEWEST:
        return {}
    # a spectrum of NaN is an error in LAPACK; that the loss diverged is for the loop to tell
    tokens = [torch.nan_to_num(communicator.gather_rows(one.float(), counts)) for one in crops]
    return {"rank": effective_rank(torch.cat(tokens)), "nearest_distance": _nearest_distance(tokens[0])}


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
    unit = F.normalize(tokens, dim=-1)
    distances = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    return distances.min(1).values.mean()
