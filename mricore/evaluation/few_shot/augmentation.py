"""Colour jitter, histogram equalisation, random resized crops and rotation, for a batch of slices.

The numbers are drawn for each slice from a generator of its own, all of them whatever the settings; what is
made of them are functions of tensors. The order is the published one: intensities, normalisation, then space,
so that what a rotation brings in from outside is the mean grey of ImageNet.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mricore.config.few_shot import FewShot

ATTEMPTS = 10
"""Boxes drawn until one fits, as torchvision's RandomResizedCrop does; else the whole slice."""
LEVELS = 256


class Choices(NamedTuple):
    """Random choices for N slices, each float32 (N, ...) on the host."""

    brightness: Tensor
    contrast: Tensor
    """Factors; 1: none."""
    brightness_first: Tensor
    equalize: Tensor
    """Bool."""
    boxes: Tensor
    """Centre (x, y) and half size (x, y) of a crop, where the slice reaches from -1 to 1: (N, 4)."""
    angles: Tensor
    """Radians."""


def draw(generators: Iterable[np.random.Generator], settings: FewShot) -> Choices:
    """The choices of one slice from each generator."""
    rows = [_draw_one(rng, settings) for rng in generators]
    return Choices(*(torch.from_numpy(np.stack(values)) for values in zip(*rows, strict=True)))


def with_other_intensities(images: Tensor, choices: Choices) -> Tensor:
    """Equalised, then brighter and with more contrast (or less), in either order: (N, 1, S, S) in [0, 1]."""
    chosen = choices.equalize.to(images.device)[:, None, None, None]
    if choices.equalize.any():
        images = torch.where(chosen, torch.stack([equalized(image) for image in images]), images)
    brightness, contrast = (
        values.to(images.device)[:, None, None, None] for values in (choices.brightness, choices.contrast)
    )
    first = choices.brightness_first.to(images.device)[:, None, None, None]
    bright_then_contrast = _contrast(_brightness(images, brightness), contrast)
    contrast_then_bright = _brightness(_contrast(images, contrast), brightness)
    return torch.where(first, bright_then_contrast, contrast_then_bright)


def cropped(images: Tensor, masks: Tensor, choices: Choices, nearest: bool) -> tuple[Tensor, Tensor]:
    """Crops of normalised images (N, 3, S, S) and masks (N, S, S) resized to the same size, then rotated.

    Images are sampled bilinearly unless ``nearest``; masks to the nearest pixel; what lies outside is 0.
    """
    places, inside = sampling_places(choices, images.shape[-1], images.device)
    mode = "nearest" if nearest else "bilinear"
    padding = "border"  # crops lie inside the slice; beyond its outermost pixel's centre that pixel goes on
    moved = F.grid_sample(images, places, mode, padding, align_corners=False) * inside[:, None]
    labels = F.grid_sample(masks[:, None].float(), places, "nearest", padding, align_corners=False)[:, 0]
    return moved, (labels * inside).to(masks.dtype)


def sampling_places(choices: Choices, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where in its slice each pixel of a crop lies (N, S, S, 2), and whether it is in the crop (N, S, S)."""
    angles, boxes = choices.angles.to(device), choices.boxes.to(device)
    cosine, sine = angles.cos(), angles.sin()
    rotation = torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)
    steps = (torch.arange(size, dtype=torch.float32, device=device) + 0.5) / size * 2 - 1
    pixels = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    turned = torch.einsum("nij,rcj->nrci", rotation, pixels)
    inside = (turned.abs() <= 1).all(-1)
    centers, halves = boxes[:, None, None, :2], boxes[:, None, None, 2:]
    return centers + halves * turned, inside


def equalized(image: Tensor) -> Tensor:
    """An image of values in [0, 1], as 256 grey values whose histogram is flattened as Pillow does it."""
    grey = (image * (LEVELS - 1)).round().long()
    counts = torch.bincount(grey.flatten(), minlength=LEVELS)
    brightest = int(grey.max())
    step = (counts.sum() - counts[brightest]) // (LEVELS - 1)
    if step == 0:
        return image
    below = counts.cumsum(0) - counts
    table = ((below + step // 2) // step).clamp(max=LEVELS - 1)
    return table[grey].to(image.dtype) / (LEVELS - 1)


def _brightness(images: Tensor, factors: Tensor) -> Tensor:
    return (images * factors).clamp(0, 1)


def _contrast(images: Tensor, factors: Tensor) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + factors * (images - mean)).clamp(0, 1)


def _draw_one(rng: np.random.Generator, settings: FewShot) -> tuple[ArrayLike, ...]:
    equalize, first = rng.random(2)
    brightness, contrast, angle = rng.uniform(-1, 1, 3)
    return (
        np.float32(1 + settings.brightness * brightness),
        np.float32(1 + settings.contrast * contrast),
        np.bool_(first < 0.5),
        np.bool_(equalize < settings.equalize),
        _box(rng, settings),
        np.float32(np.deg2rad(settings.rotation) * angle),
    )


def _box(rng: np.random.Generator, settings: FewShot) -> NDArray[np.float32]:
    """Uniform area, log-uniform ratio of width to height; drawn again until it fits."""
    low, high = (math.log(ratio) for ratio in settings.crop_ratio)
    areas = rng.uniform(*settings.crop_area, ATTEMPTS)
    ratios = np.exp(rng.uniform(low, high, ATTEMPTS))
    for area, ratio in zip(areas, ratios, strict=True):
        sides = np.array([np.sqrt(area * ratio), np.sqrt(area / ratio)])
        if (sides <= 1).all():
            return np.concatenate([rng.uniform(-1, 1, 2) * (1 - sides), sides]).astype(np.float32)
    return np.array([0, 0, 1, 1], np.float32)
