"""Arrays as PNG pictures in data URIs, for embedding in a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TINT = (0.84, 0.37, 0.0)
"""Colour of masked patches."""
TINT_STRENGTH = 0.75


def picture(array: NDArray[np.floating], side: int) -> str:
    """A slice (h, w) or a colour picture (h, w, 3) in [0, 1] as a data URI, about ``side`` pixels high.

    Small grids are enlarged in whole steps without smoothing, so that patches stay patches; large slices
    are reduced to at most twice ``side``, which is sharp on screens of high density.
    """
    bytes_ = np.rint(np.clip(array, 0, 1) * 255).astype(np.uint8)
    factor = max(1, round(side / bytes_.shape[0]))
    image = Image.fromarray(bytes_)
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    if image.height > 2 * side:
        image = image.resize(
            (max(1, round(image.width * 2 * side / image.height)), 2 * side), Image.Resampling.LANCZOS
        )
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()


def with_mask(crop: NDArray[np.floating], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """A crop (S, S) as colours (S, S, 3) with its masked patches (g, g) tinted."""
    patch = crop.shape[0] // mask.shape[0]
    hidden = np.kron(mask, np.ones((patch, patch)))[..., None]
    return crop[..., None] * (1 - TINT_STRENGTH * hidden) + np.array(TINT) * TINT_STRENGTH * hidden
