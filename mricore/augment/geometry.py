"""Crop, antialiased resize, flip and blur: linear and separable, so two sparse matrix products each.

A matrix is kept as its taps: each line of the result is a weighted sum of a few lines of the image, which
costs some fifty times less arithmetic than the dense product and works for ragged sizes in one batch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

BLUR_REACH = 3
"""A blur is cut at so many of its standard deviations, beyond which 0.3% of its weight lies; the kernel of 9
pixels that DINOv2 uses ends at two for its widest blur."""


class Taps(NamedTuple):
    """Line i of result n is the sum over t of ``weights[n, i, t]`` x line ``lines[n, i, t]`` of a table."""

    lines: Tensor  # (N, size, T), int64
    weights: Tensor  # (N, size, T)

    def behind(self, begins: Tensor) -> Taps:
        """The same where the image of result n begins at line ``begins[n]`` (N,) of the table."""
        return Taps(self.lines + begins[:, None, None], self.weights)


def resize_taps(start: Tensor, length: Tensor, size: int, longest: int) -> Taps:
    """Cut [start, start + length) and resize it to ``size`` lines; no length exceeds ``longest``.

    Equal to cutting whole pixels and ``interpolate(mode="bilinear", antialias=True)``: a triangle filter
    whose half-width is the scale where the crop shrinks, and one pixel where it grows. The shape of ``start``
    and ``length`` (whole numbers) is that of the result before (size, T).
    """
    reach = math.ceil(2 * max(longest / size, 1))
    start, length = start[..., None, None], length[..., None, None]
    scale = length / size
    support = scale.clamp(min=1)
    lines = torch.arange(size, device=start.device, dtype=start.dtype)[:, None]
    centers = (lines + 0.5) * scale  # from the start of the crop, where numbers are small and exact
    first = (centers - support + 0.5).floor()
    pixels = first + torch.arange(reach, device=start.device, dtype=start.dtype)
    inside = torch.minimum(pixels.clamp(min=0), length - 1)
    weights = (1 - (pixels + 0.5 - centers).abs() / support).clamp(min=0) * (pixels == inside)
    return Taps((start + inside).long(), weights / weights.sum(-1, keepdim=True))


def blur_taps(sigmas: Tensor, size: int, largest: float) -> Taps:
    """Gaussian blur of ``size`` lines with ``sigmas`` (N,) in (0, ``largest``]; edges are renormalised."""
    reach = math.ceil(BLUR_REACH * largest)
    offsets = torch.arange(-reach, reach + 1, device=sigmas.device)
    lines = torch.arange(size, device=sigmas.device)[:, None] + offsets
    inside = lines.clamp(0, size - 1)
    kernel = torch.exp(-0.5 * (offsets / sigmas[:, None]).square())
    kernel = kernel * (offsets.abs() <= (BLUR_REACH * sigmas[:, None]).ceil())
    weights = kernel[:, None] * (lines == inside)
    return Taps(inside.expand(len(sigmas), -1, -1), weights / weights.sum(-1, keepdim=True))


def flip_taps(taps: Taps, flips: Tensor) -> Taps:
    """The lines in reverse order where ``flips`` (N,)."""
    return Taps(*(torch.where(flips[:, None, None], part.flip(1), part) for part in taps))


def cut(images: Tensor, owners: Tensor, boxes: Tensor, flips: Tensor, size: int, longest: int) -> Tensor:
    """Crop, resize and flip: N crops (N, size, size) from images (B, H, W).

    Args:
        images: Slices.
        owners: From which slice each crop is cut (N,).
        boxes: Top, left, height, width in whole pixels (N, 4), in the type of ``images``.
        flips: Left-right (N,).
        size: Side of the crops.
        longest: The longest side of a box, known on the host, from which the number of taps follows.
    """
    starts, lengths = boxes.T.split(2)
    rows, columns = (Taps(*axis) for axis in zip(*resize_taps(starts, lengths, size, longest), strict=True))
    return _combine(images.flatten(0, 1), rows.behind(owners * images.shape[1]), flip_taps(columns, flips))


def blur(crops: Tensor, sigmas: Tensor, largest: float) -> Tensor:
    """Gaussian blur of crops (N, S, S) with ``sigmas`` (N,) > 0 in pixels, none above ``largest``."""
    taps = blur_taps(sigmas, crops.shape[1], largest)
    begins = torch.arange(len(crops), device=crops.device) * crops.shape[1]
    return _combine(crops.reshape(-1, crops.shape[2]), taps.behind(begins), taps)


def _combine(table: Tensor, rows: Taps, columns: Taps) -> Tensor:
    """Row taps down the images that fill ``table`` (L, W), then column taps across: (N, size, size)."""
    half = _sums(table, rows)
    begins = torch.arange(len(half), device=half.device) * half.shape[2]
    return _sums(half.transpose(1, 2).flatten(0, 1), columns.behind(begins)).transpose(1, 2)


def _sums(table: Tensor, taps: Taps) -> Tensor:
    """Weighted sums of lines of ``table`` (L, W): (N, size, W).

    An embedding bag is the sparse product that torch has on every device.
    """
    lines, weights = (part.flatten(0, 1) for part in taps)
    sums = F.embedding_bag(lines, table, per_sample_weights=weights, mode="sum")
    return sums.unflatten(0, taps.lines.shape[:2])
