"""The random choices of views, for a whole global batch at once and on the host alone.

Every number is drawn whatever the settings: a probability, a range or a strength only changes what is made
of it, and the numbers of further candidates come last. So switching one thing off leaves the others as they
are, and two runs that differ in one setting differ in nothing else. (The number of views is no such setting.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mricore.config.schema import Augment

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
DEGREE = 3
"""Of the polynomial that is the logarithm of a bias field, in both directions together."""


class Choices(NamedTuple):
    """Random choices for crops; each array begins with the same shape, written (...) here."""

    boxes: Floats
    """Top, left, height, width of C candidates (..., C, 4), as fractions of the slice."""
    flips: NDArray[np.bool_]
    """Left-right (...)."""
    brightness: Floats
    """Factors (...); 1: none."""
    contrast: Floats
    """Factors (...); 1: none."""
    gamma: Floats
    """Exponents (...); 1: none."""
    bias: Floats
    """Coefficients of Legendre polynomials down and across the slice (..., 4, 4); 0: none. Their absolute
    values sum to the largest possible logarithm of the field."""
    blur: Floats
    """Standard deviations in pixels of the crop (...); 0: none."""
    noise: Floats
    """Standard deviations in fractions of the slice's range (...); 0: none."""
    keys: NDArray[np.int32]
    """32 bits from which the noise of each pixel follows (...)."""


@dataclass(frozen=True)
class ViewParameters:
    """Choices (B, V, ...) for V views of B slices, of which the first ``globals_`` are global crops."""

    globals_: int
    choices: Choices

    def take(self, rows: Indices) -> ViewParameters:
        """Of some slices of the batch."""
        return ViewParameters(self.globals_, Choices._make(values[rows] for values in self.choices))

    def crops(self, views: slice) -> Choices:
        """Of some views of all slices, as one list of crops (N, ...), slice by slice."""
        chosen = (values[:, views] for values in self.choices)
        return Choices._make(values.reshape(-1, *values.shape[2:]) for values in chosen)


def draw_views(rng: np.random.Generator, count: int, settings: Augment, globals_: int = 2) -> ViewParameters:
    """Draw ``globals_`` global crops and the local crops of a whole global batch of ``count`` slices."""
    shape = (count, globals_ + settings.local_crops)
    is_global = np.arange(shape[1]) < globals_
    flip, jitter, brightness, contrast, gamma = rng.random((5, *shape))
    biased, blur, width, noisy, sigma, key = rng.random((6, *shape))
    coefficients = rng.uniform(-1, 1, (*shape, DEGREE + 1, DEGREE + 1))
    area_and_aspect = rng.random((2, *shape))
    places = rng.random((settings.foreground_candidates, 2, *shape))
    jittered = jitter < settings.jitter_probability
    kind = np.where(is_global, np.minimum(np.arange(shape[1]), 1), 2)  # first global, other globals, locals
    blurred = blur < np.array(settings.blur_probability)[kind]
    largest = -np.log1p(-settings.gamma)
    choices = Choices(
        boxes=_boxes(area_and_aspect, places, is_global, settings),
        flips=flip < settings.flip_probability,
        brightness=_where(jittered, 1 + settings.brightness * (2 * brightness - 1), 1),
        contrast=_where(jittered, 1 + settings.contrast * (2 * contrast - 1), 1),
        gamma=_where(jittered, np.exp(largest * (2 * gamma - 1)), 1),
        bias=_bias(biased < settings.bias_probability, coefficients, settings.bias_strength),
        blur=_where(blurred, _between(settings.blur_sigma, width)),
        noise=_where(noisy < settings.noise_probability, _between(settings.noise_sigma, sigma)),
        keys=(key * 2**32).astype(np.uint32).view(np.int32),
    )
    return ViewParameters(globals_, choices)


def pixel_boxes(boxes: Floats, sizes: Indices) -> Indices:
    """Fractions (B, ..., 4) of slices of ``sizes`` (B, 2) to whole pixels inside them, at least one long.

    Choosing among boxes and cutting them out both start from these.
    """
    extent = sizes.reshape(len(sizes), *(1,) * (boxes.ndim - 2), 2)
    lengths = np.maximum(np.rint(boxes[..., 2:] * extent), 1)
    starts = np.minimum(np.rint(boxes[..., :2] * extent), extent - lengths)
    return np.concatenate([starts, lengths], -1).astype(np.int64)


def _boxes(
    shape: NDArray[np.float64], places: NDArray[np.float64], is_global: NDArray[np.bool_], settings: Augment
) -> Floats:
    """Boxes with uniform area and log-uniform aspect, as fractions, so that one draw fits any slice.

    The aspect is relative to the slice's own; a side that would be longer than the slice is cut, and the
    other side keeps its length. Candidates differ in place alone: to look for foreground must not change
    how large crops are.
    """
    scales = np.where(is_global, *np.array([settings.global_scale, settings.local_scale])[:, :, None])
    area = _between((scales[0], scales[1]), shape[0])
    aspect = np.exp(_between((np.log(settings.ratio[0]), np.log(settings.ratio[1])), shape[1]))
    lengths = np.minimum(np.stack([np.sqrt(area / aspect), np.sqrt(area * aspect)], -1), 1)
    starts = np.moveaxis(places, (0, 1), (2, 3)) * (1 - lengths[:, :, None])
    return np.concatenate([starts, np.broadcast_to(lengths[:, :, None], starts.shape)], -1, dtype=np.float32)


def _bias(biased: NDArray[np.bool_], coefficients: NDArray[np.float64], strength: float) -> Floats:
    """Coefficients of total degree 1..3 whose absolute values sum to ``strength``.

    Legendre polynomials stay within [-1, 1], so the logarithm of the field stays within the strength.
    """
    order = np.add.outer(np.arange(DEGREE + 1), np.arange(DEGREE + 1))
    coefficients = coefficients * ((order > 0) & (order <= DEGREE))
    total = np.abs(coefficients).sum((-2, -1), keepdims=True)
    return (coefficients * (strength * biased[..., None, None] / total)).astype(np.float32)


def _between(bounds: tuple[Any, Any], share: NDArray[np.float64]) -> NDArray[np.float64]:
    return bounds[0] + (bounds[1] - bounds[0]) * share


def _where(chosen: NDArray[np.bool_], values: NDArray[np.float64], otherwise: float = 0) -> Floats:
    return np.where(chosen, values, otherwise).astype(np.float32)
