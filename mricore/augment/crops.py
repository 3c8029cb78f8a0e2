"""Multi-crop for MR slices: geometry and blur as two matrix products, then intensity.

Crop, antialiased resize, flip and Gaussian blur are linear and separable, so each view is
R X C^T with a row matrix R and a column matrix C per slice; this works for ragged sizes in one batch, on
any device. Brightness and contrast come after the blur although DINOv2 has them before: as the blur's kernel
sums to one, they commute up to clamping. What differs from DINOv2 on purpose: docs/decisions/0006-views.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mricore.config.schema import Augment

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ViewParameters:
    """Random choices for V = 2 + local_crops views of B slices; the first two views are global.

    ``boxes`` (B, V, 4) are top, left, height, width as fractions of the slice; ``flips`` (B, V) are
    left-right; ``brightness``, ``contrast``, ``gamma`` (B, V) are factors (1: none); ``sigmas`` (B, V)
    are blur widths in pixels of the view (0: none).
    """

    boxes: Floats
    flips: NDArray[np.bool_]
    brightness: Floats
    contrast: Floats
    gamma: Floats
    sigmas: Floats

    def take(self, rows: NDArray[np.int64]) -> ViewParameters:
        """The choices of some slices of the batch."""
        return ViewParameters(*(getattr(self, field.name)[rows] for field in fields(self)))


def draw_views(rng: np.random.Generator, count: int, settings: Augment) -> ViewParameters:
    """Draw the views of a whole global batch of ``count`` slices."""
    views = 2 + settings.local_crops
    shape = (count, views)
    is_global = np.arange(views) < 2
    jittered = rng.random(shape) < settings.jitter_probability
    blur_probability = np.full(views, settings.blur_probability[2])
    blur_probability[:2] = settings.blur_probability[:2]
    blurred = rng.random(shape) < blur_probability
    gamma_range = -np.log(1 - settings.gamma)
    return ViewParameters(
        boxes=_draw_boxes(rng, shape, is_global, settings),
        flips=rng.random(shape) < settings.flip_probability,
        brightness=_factors(jittered, rng.uniform(1 - settings.brightness, 1 + settings.brightness, shape)),
        contrast=_factors(jittered, rng.uniform(1 - settings.contrast, 1 + settings.contrast, shape)),
        gamma=_factors(jittered, np.exp(rng.uniform(-gamma_range, gamma_range, shape))),
        sigmas=np.where(blurred, rng.uniform(*settings.blur_sigma, shape), 0.0).astype(np.float32),
    )


def make_views(
    images: Tensor, sizes: Tensor, parameters: ViewParameters, settings: Augment
) -> tuple[Tensor, Tensor]:
    """Cut global crops (2B, 1, G, G) and local crops (L * B, 1, S, S), crop by crop.

    ``images`` (B, 1, H, W) in [0, 1] are zero-padded to a common size; ``sizes`` (B, 2) are the true ones.
    """
    views = [
        _view(
            images[:, 0], sizes, parameters, index, settings.global_size if index < 2 else settings.local_size
        )
        for index in range(2 + settings.local_crops)
    ]
    globals_ = torch.cat(views[:2])[:, None]
    if not settings.local_crops:
        return globals_, globals_.new_empty(0, 1, settings.local_size, settings.local_size)
    return globals_, torch.cat(views[2:])[:, None]


def resize_weights(start: Tensor, length: Tensor, available: int, size: int) -> Tensor:
    """Weights (B, size, available) that crop [start, start + length) and resize it to ``size``.

    Equal to cutting whole pixels and ``interpolate(mode="bilinear", antialias=True)``: a triangle filter
    whose half-width is the scale where the crop shrinks, and one pixel where it grows.
    """
    scale = length / size
    support = scale.clamp(min=1.0)
    outputs = torch.arange(size, device=start.device, dtype=start.dtype)
    centers = start[:, None] + (outputs + 0.5) * scale[:, None]
    pixels = torch.arange(available, device=start.device, dtype=start.dtype) + 0.5
    distance = (pixels - centers[..., None]).abs() / support[:, None, None]
    inside = (pixels > start[:, None]) & (pixels < (start + length)[:, None])
    weights = (1 - distance).clamp(min=0) * inside[:, None]
    return weights / weights.sum(-1, keepdim=True)


def blur_weights(sigmas: Tensor, size: int) -> Tensor:
    """Gaussian blur of a line of ``size`` pixels as a matrix (B, size, size), edges renormalised.

    Sigma 0 gives the identity.
    """
    pixels = torch.arange(size, device=sigmas.device, dtype=sigmas.dtype)
    distance = (pixels[:, None] - pixels[None, :]).square()
    # an exponent below -1e4 is exactly zero off the diagonal, also for sigma 0
    width = sigmas.clamp(min=1e-3)[:, None, None]
    kernel = torch.exp(-0.5 * distance / width.square())
    return kernel / kernel.sum(-1, keepdim=True)


def _view(images: Tensor, sizes: Tensor, parameters: ViewParameters, index: int, size: int) -> Tensor:
    """One view of every slice, (B, size, size)."""
    device = images.device
    top, left, height, width = _pixel_boxes(sizes, torch.from_numpy(parameters.boxes[:, index]).to(device))
    blur = blur_weights(torch.from_numpy(parameters.sigmas[:, index]).to(device), size)
    rows = blur @ resize_weights(top, height, images.shape[1], size)
    columns = blur @ resize_weights(left, width, images.shape[2], size)
    flips = torch.from_numpy(parameters.flips[:, index]).to(device)
    columns = torch.where(flips[:, None, None], columns.flip(1), columns)
    view = rows @ images @ columns.transpose(1, 2)
    return _intensity(view, parameters, index)


def _pixel_boxes(sizes: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Fractions to whole pixels: top, left, height, width as floats (B,), at least one pixel long."""
    extent = sizes.to(boxes.dtype)
    lengths = (boxes[:, 2:] * extent).round().clamp(min=1)
    starts = torch.minimum((boxes[:, :2] * extent).round(), extent - lengths)
    return starts[:, 0], starts[:, 1], lengths[:, 0], lengths[:, 1]


def _intensity(view: Tensor, parameters: ViewParameters, index: int) -> Tensor:
    """Brightness and contrast about the mean (clamped), then gamma; stays in [0, 1]."""

    def column(values: Floats) -> Tensor:
        return torch.from_numpy(values[:, index]).to(view.device)[:, None, None]

    view = view * column(parameters.brightness)
    mean = view.mean((1, 2), keepdim=True)
    view = ((view - mean) * column(parameters.contrast) + mean).clamp(0, 1)
    return view ** column(parameters.gamma)


def _draw_boxes(
    rng: np.random.Generator, shape: tuple[int, int], is_global: NDArray[np.bool_], settings: Augment
) -> Floats:
    """Boxes with uniform area and log-uniform aspect, as fractions, so one draw fits any slice shape.

    The aspect is relative to the slice's own; a side that would be longer than the slice is cut, and the
    other side keeps its length.
    """
    low = np.where(is_global, settings.global_scale[0], settings.local_scale[0])
    high = np.where(is_global, settings.global_scale[1], settings.local_scale[1])
    area = rng.uniform(low, high, shape)
    aspect = np.exp(rng.uniform(np.log(settings.ratio[0]), np.log(settings.ratio[1]), shape))
    height = np.minimum(np.sqrt(area / aspect), 1.0)
    width = np.minimum(np.sqrt(area * aspect), 1.0)
    top = rng.random(shape) * (1 - height)
    left = rng.random(shape) * (1 - width)
    return np.stack([top, left, height, width], axis=-1).astype(np.float32)


def _factors(where: NDArray[np.bool_], values: NDArray[np.float64]) -> Floats:
    return np.where(where, values, 1.0).astype(np.float32)
