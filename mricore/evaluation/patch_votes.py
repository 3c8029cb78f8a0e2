"""Weighted k-NN on patch features: what the nearest patches of a bank vote for (DINO's, arXiv 2104.14294)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

MOST_COSINES = 2**24
"""That are held at once, 64 MiB; queries wait their turn."""


@dataclass(frozen=True)
class PatchBank:
    """Unit features (n, C) of patches and their shares of the classes (n, K), which stay on a device."""

    unit: Tensor
    shares: Tensor
    neighbours: int
    temperature: float

    @classmethod
    def of(
        cls,
        features: NDArray[np.float32],
        shares: NDArray[np.float64],
        neighbours: int,
        temperature: float,
        device: str = "cpu",
    ) -> PatchBank:
        """Of features (n, C) and shares (n, K); all of them are neighbours where there are too few."""
        unit = F.normalize(torch.tensor(features, device=device), dim=1)
        return cls(unit, torch.tensor(shares, device=device), min(neighbours, len(features)), temperature)

    def votes(self, queries: NDArray[np.float32]) -> NDArray[np.float64]:
        """Shares (..., K) that the nearest patches vote for, for queries (..., C).

        Patches are compared by cosine; votes weigh exp(cosine / temperature) and sum to 1. Of equally near
        ones any may be the last that counts.
        """
        flat = np.ascontiguousarray(queries.reshape(-1, queries.shape[-1]))
        parts = F.normalize(torch.tensor(flat, device=self.unit.device), dim=1).split(
            max(1, MOST_COSINES // len(self.unit))
        )
        found = torch.cat([self._voted(part) for part in parts])
        return found.cpu().numpy().reshape(*queries.shape[:-1], self.shares.shape[1])

    def _voted(self, unit: Tensor) -> Tensor:
        cosines, nearest = (unit @ self.unit.T).topk(self.neighbours, dim=1)
        weights = (cosines.double() / self.temperature).softmax(1)
        return torch.einsum("qk,qkc->qc", weights, self.shares[nearest])
