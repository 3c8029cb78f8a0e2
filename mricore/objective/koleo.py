"""KoLeo: spread the image tokens over the sphere (arXiv 1806.03198, used by DINOv2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mricore.objective.communication import Communicator
from mricore.objective.passes import wide

EPS = 1e-8
DUPLICATE = 1.0 - 1e-6
"""Cosine above which two tokens count as the same image: constant crops must not push each other apart."""
NOBODY = -2.0
"""Below any cosine: no neighbour."""


def koleo_share(
    tokens: Tensor, counts: Sequence[int], global_rows: int, communicator: Communicator
) -> Tensor:
    """This worker's share of -mean(log distance to the nearest neighbour) in the global batch.

    ``tokens`` (b, dim) are one global crop of this worker's slices, ``counts`` the b of each worker; these
    are the candidates. ``global_rows`` are the slices of the global batch, more than those if a step goes
    through it in parts.
    Computed in float32 whatever the type of the tokens; exact duplicates are no neighbours; a token without
    any neighbour adds nothing.
    """
    own = F.normalize(tokens.to(wide(tokens.dtype)), dim=-1, eps=EPS)
    everyone = communicator.gather_rows(own, counts)
    with torch.no_grad():
        # in float64, as cosines in TF32 would not tell duplicates from neighbours
        cosines = own.double() @ everyone.double().T
        cosines.diagonal(sum(counts[: communicator.rank])).fill_(NOBODY)
        cosines.masked_fill_(cosines > DUPLICATE, NOBODY)
        nearest_cosine, nearest = cosines.max(dim=1)
    distances = F.pairwise_distance(own, everyone[nearest], eps=EPS)
    logs = torch.where(nearest_cosine > NOBODY, torch.log(distances + EPS), torch.zeros_like(distances))
    return -logs.sum() / global_rows
