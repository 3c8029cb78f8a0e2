"""Which of the candidate boxes of a crop shows enough of the body."""

from __future__ import annotations

import torch
from torch import Tensor


def choose_boxes(images: Tensor, sizes: Tensor, boxes: Tensor, wanted: float) -> Tensor:
    """The first candidate with at least ``wanted`` of foreground, or else the one with most of it.

    Foreground is what is brighter than half of the slice's mean over its true extent. An empty slice has
    none, and takes the first candidate.

    Args:
        images: (B, H, W), zero-padded.
        sizes: True rows and columns (B, 2).
        boxes: Top, left, height, width in whole pixels (B, V, C, 4), in the type of ``images``.
        wanted: Share of a box's pixels.

    Returns:
        The chosen boxes (B, V, 4).
    """
    if boxes.shape[2] == 1:
        return boxes[:, :, 0]
    shares = foreground_shares(images, sizes, boxes.flatten(1, 2)).view(boxes.shape[:3])
    best = torch.where(shares >= wanted, 2, shares).argmax(2)  # of equals, the first
    return boxes.gather(2, best[:, :, None, None].expand(-1, -1, 1, 4))[:, :, 0]


def foreground_shares(images: Tensor, sizes: Tensor, boxes: Tensor) -> Tensor:
    """Share of foreground in boxes (B, K, 4) in whole pixels: (B, K).

    All boxes of a slice are counted by one matrix product, in exact integers (below 2^24).
    """
    whole = torch.cat([torch.zeros_like(sizes), sizes], 1).to(boxes.dtype)[:, None]
    mean = _sums(images, whole) / whole[..., 2:].prod(-1)
    foreground = torch.gt(images, 0.5 * mean[..., None], out=torch.empty_like(images))
    return _sums(foreground, boxes) / boxes[..., 2:].prod(-1)


def _sums(images: Tensor, boxes: Tensor) -> Tensor:
    """Sum of the pixels in each box: (B, H, W), (B, K, 4) -> (B, K)."""
    top, left, height, width = boxes.unbind(-1)
    rows, columns = _inside(top, height, images.shape[1]), _inside(left, width, images.shape[2])
    return ((rows.to(images.dtype) @ images) * columns).sum(-1)


def _inside(start: Tensor, length: Tensor, available: int) -> Tensor:
    """Which of the pixels of a line lie in [start, start + length): (B, K, available)."""
    pixels = torch.arange(available, device=start.device, dtype=start.dtype)
    return (pixels >= start[..., None]) & (pixels < (start + length)[..., None])
