"""Multi-crop for MR slices, in batch and on the device of the slices.

The order follows how an MR image comes about: the contrast of tissues (brightness, contrast, gamma: another
protocol), the sensitivity of the coil that multiplies it (bias field), the resolution of the acquisition
(blur), and the noise of the receiver, which is white and therefore comes last. It is DINOv2's order, jitter
before blur, with the coil and the receiver in their places. What differs from DINOv2 on purpose:
docs/decisions/0006-views.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mricore.augment.collate import uncrowded
from mricore.augment.draws import Indices, ViewParameters, pixel_boxes
from mricore.augment.foreground import choose_boxes
from mricore.augment.geometry import blur, cut
from mricore.augment.intensity import log_bias_field, log_jitter, places_in_slice, rician
from mricore.augment.transfer import to_device
from mricore.config.schema import Augment

PORTION = 2**22
"""Pixels that a CPU works on at once between two steps, so that they stay in its cache."""

Change = Callable[[Tensor, Indices, Tensor], Tensor]
"""Some crops, and their numbers on the host and on the device -> the crops changed."""


class _Portion(NamedTuple):
    """Some slices, and where each view of them is cut."""

    images: Tensor  # (B, H, W), padded
    sizes: Tensor  # (B, 2), true sizes
    boxes: Tensor  # (B, V, 4), in whole pixels
    candidates: Indices  # (B, V, C, 4), from which the boxes were chosen; on the host
    drawn: ViewParameters


def make_views(
    images: Tensor,
    sizes: Indices,
    parameters: ViewParameters,
    settings: Augment,
    global_size: int,
    local_size: int,
    levels: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Cut g global and L local crops per slice, on the device of ``images`` and without waiting for it.

    Args:
        images: Slices (B, 1, H, W), padded to a common size: floats in [0, 1], or integers with ``levels``.
        sizes: True rows and columns (B, 2), on the host.
        parameters: The draws for these slices.
        settings: Of these, only ``foreground_share`` is read here.
        global_size: Side of global crops in pixels.
        local_size: Side of local crops in pixels.
        levels: Which integer becomes 0, and how far above it the one that becomes 1 lies (B, 2), float32, on
            the device of ``images``; what is beyond is cut off.

    Returns:
        Global crops (g * B, 1, G, G) and local crops (L * B, 1, S, S) in [0, 1], crop by crop: the first B
        are the first crop of each slice.
    """
    split, count = parameters.globals_, len(sizes)
    more = parameters.choices.flips.shape[1] - split
    globals_ = torch.empty(split, count, global_size, global_size, device=images.device)
    locals_ = torch.empty(more, count, local_size, local_size, device=images.device)
    lines = split * global_size + more * local_size
    for rows in _portions(sizes, count if images.is_cuda else PORTION // (lines * images.shape[3])):
        portion = _portion(images[:, 0], sizes, levels, parameters, rows, settings.foreground_share)
        for crops, views in ((globals_, slice(None, split)), (locals_, slice(split, None))):
            if len(crops):
                made = _crops(portion, views, crops.shape[-1])
                crops.index_copy_(1, to_device(rows, images.device), made.transpose(0, 1))
    return globals_.flatten(0, 1)[:, None], locals_.flatten(0, 1)[:, None]


def normalized(images: Tensor, levels: Tensor) -> Tensor:
    """Integers (B, H, W) as float32 in [0, 1], with ``levels`` (B, 2) as ``make_views`` takes them.

    The arithmetic of ``imaging.intensity.scaled``, so that training and evaluation see the same numbers.
    """
    zeros, spans = levels[:, :, None, None].unbind(1)
    return images.float().sub_(zeros).div_(spans).clamp_(0, 1)


def _portions(sizes: Indices, slices: int) -> list[Indices]:
    """Numbers of some ``slices`` that are worked on together: of like width, so that little is padding."""
    order = np.argsort(sizes[:, 1], kind="stable")
    return np.array_split(order, -(-len(order) // max(slices, 1)))


def _portion(
    images: Tensor,
    sizes: Indices,
    levels: Tensor | None,
    parameters: ViewParameters,
    rows: Indices,
    foreground: float,
) -> _Portion:
    """The slices ``rows`` without padding that none of them needs, and their boxes."""
    device, sizes, drawn = images.device, sizes[rows], parameters.take(rows)
    height, width = sizes.max(0).tolist()
    index = to_device(rows, device)
    images = _chosen(images[:, :height, : uncrowded(width)], index)
    if levels is not None:
        images = normalized(images, levels[index])
    extent, candidates = to_device(sizes, device).float(), pixel_boxes(drawn.choices.boxes, sizes)
    boxes = choose_boxes(images, extent, to_device(candidates, device).float(), foreground)
    return _Portion(images, extent, boxes, candidates, drawn)


def _chosen(images: Tensor, index: Tensor) -> Tensor:
    """``images[index]``; CUDA cannot choose among unsigned 16 bits, so they pass as signed ones meanwhile."""
    if images.dtype is not torch.uint16:
        return images[index]
    return images.view(torch.int16)[index].view(torch.uint16)


def _crops(portion: _Portion, views: slice, size: int) -> Tensor:
    """Some views of each slice, (B, V, size, size); why in this order: see the top of this file."""
    images, sizes, boxes, candidates, drawn = portion
    device, shape = images.device, boxes[:, views].shape[:2]
    boxes, chosen = boxes[:, views].flatten(0, 1), drawn.crops(views)
    owners = torch.arange(shape[0], device=device).repeat_interleave(shape[1])

    def bias(logs: Tensor, rows: Indices, index: Tensor) -> Tensor:
        places = places_in_slice(boxes[index], sizes[owners[index]], size)
        return logs.add_(log_bias_field(to_device(chosen.bias[rows], device), *places))

    def smear(crops: Tensor, rows: Indices, _: Tensor) -> Tensor:
        return blur(crops, to_device(chosen.blur[rows], device), float(chosen.blur.max())).clamp_(max=1)

    def noise(crops: Tensor, rows: Indices, _: Tensor) -> Tensor:
        sigmas, keys = to_device(chosen.noise[rows], device), to_device(chosen.keys[rows], device)
        return rician(crops, sigmas, keys).clamp_(max=1)

    longest = int(candidates[:, views, :, 2:].max())
    crops = cut(images, owners, boxes, to_device(chosen.flips, device), size, longest)
    factors = (chosen.brightness, chosen.contrast, chosen.gamma)
    logs = log_jitter(crops, *(to_device(values, device) for values in factors))
    crops = _where(np.abs(chosen.bias).sum((1, 2)) > 0, bias, logs).exp_().clamp_(max=1)
    crops = _where(chosen.blur > 0, smear, crops)
    crops = _where(chosen.noise > 0, noise, crops)
    return crops.unflatten(0, shape)


def _where(chosen: NDArray[np.bool_], change: Change, crops: Tensor) -> Tensor:
    """Change some of ``crops``, in place; which ones is known on the host, so that nobody waits."""
    rows = np.flatnonzero(chosen)
    if not rows.size:
        return crops
    index = to_device(rows, crops.device)
    return crops.index_copy_(0, index, change(crops[index], rows, index))
