"""How workers go through their shares of a global batch in parts; known to all from the counts alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor


def number_of_parts(counts: Sequence[int], wanted: int) -> int:
    """As many as wanted, unless some would have no slice of any worker; ``counts`` are slices per worker."""
    return min(wanted, max(counts))


def part_counts(counts: Sequence[int], parts: int) -> list[tuple[int, ...]]:
    """For each part the slices of each worker; as even as integers allow, and 0 for some if they are few."""
    return list(zip(*(_evenly(count, parts) for count in counts), strict=True))


def part_rows(count: int, parts: int) -> list[slice]:
    """Which of a worker's ``count`` rows are in each part."""
    return [slice(*ends) for ends in pairwise(accumulate(_evenly(count, parts), initial=0))]


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Rows of all parts; one part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def joined_crops(parts: Sequence[Tensor]) -> Tensor:
    """The same for rows that are first crops and then second crops (2b, ...): so they are again."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat([part.chunk(2)[crop] for crop in (0, 1) for part in parts])


def _evenly(count: int, parts: int) -> list[int]:
    return [(count + parts - 1 - part) // parts for part in range(parts)]
