"""KoLeo: spread the image tokens over the sphere (arXiv 1806.03198, used by DINOv2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mricore.objective.communication import Communicator

EPS = 1e-8
DUPLICATE = 1.0 - 1e-6
"""Cosine above which two tokens count as the same image: constant crops must not push each other apart."""


def koleo_share(tokens: Tensor, counts: Sequence[int], communicator: Communicator) -> Tensor:
    """This worker's share of -mean(log distance to the nearest neighbour) in the global batch.

    ``tokens`` (b, dim) are one global crop of this worker's slices, ``counts`` the b of each worker.
    Computed in float32; exact duplicates are no neighbours; a token without any neighbour adds nothing.
    """
    own = F.normalize(tokens.float(), dim=-1, eps=EPS)
    everyone = communicator.gather_rows(own, counts)
    start = sum(counts[: communicator.rank])
    with torch.no_grad():
        cosines = own @ everyone.T
        places = torch.arange(own.shape[0], device=own.device)
        cosines[places, places + start] = -2.0
        cosines.masked_fill_(cosines > DUPLICATE, -2.0)
        nearest_cosine, nearest = cosines.max(dim=1)
    distances = F.pairwise_distance(own, everyone[nearest], eps=EPS)
    logs = torch.where(nearest_cosine > -1.5, torch.log(distances + EPS), torch.zeros_like(distances))
    return -logs.sum() / sum(counts)
