"""Slices with what was predicted on them, as PNG pictures of at most 256 colours (paper Figs. 2d, 4c, B1)."""

from __future__ import annotations

import base64
import colorsys
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mricore.evaluation.pictures import Layer, Shown
from mricore.report.drawing import BLUE, GREEN, ORANGE, PINK

CORRECT, FALSE_POSITIVE, FALSE_NEGATIVE, WRONG_CLASS = 1, 2, 3, 4
"""What a pixel is told to be; 0 is background that was seen as such."""
COLOURS = {
    CORRECT: ("correct", GREEN),
    FALSE_POSITIVE: ("false positive", ORANGE),
    FALSE_NEGATIVE: ("false negative", BLUE),
    WRONG_CLASS: ("another class", PINK),
}
"""The paper's green, red and blue in shades that colour-blind readers can tell apart."""
STRENGTH = 0.6
LEVELS = 51
"""Shades of grey of the slice: with five kinds of pixels 255 colours, which a palette holds."""
CLUSTER_STRENGTH = 0.65
SHADES = 7
"""Shades of grey below clusters: with 32 clusters and the outline 225 colours."""
MOST_CLUSTERS = 32
WHITE = (255, 255, 255)


def outcome(truth: Layer, prediction: Layer) -> Layer:
    """For each pixel of two maps of one shape: 0, CORRECT, FALSE_POSITIVE, FALSE_NEGATIVE or WRONG_CLASS."""
    kinds = np.zeros(truth.shape, np.uint8)
    kinds[(prediction > 0) & (truth == 0)] = FALSE_POSITIVE
    kinds[(prediction == 0) & (truth > 0)] = FALSE_NEGATIVE
    both = (prediction > 0) & (truth > 0)
    kinds[both] = np.where(prediction[both] == truth[both], CORRECT, WRONG_CLASS)
    return kinds


def kinds_in(shown: Shown, layer: str) -> set[int]:
    """Which kinds of pixels a picture has, for its legend."""
    return set(np.unique(outcome(_truth(shown), shown.layers[layer])).tolist()) - {0}


def slice_picture(shown: Shown) -> str:
    """The slice in grey as a data URI."""
    grey = np.rint(shown.image / 255 * (LEVELS - 1)).astype(np.uint8)
    return _png(grey, [_grey(level, LEVELS) for level in range(LEVELS)])


def overlay_picture(shown: Shown, layer: str) -> str:
    """The slice with each labelled or predicted pixel in the colour of its outcome, as a data URI.

    Raises:
        ValueError: the picture has no truth.
    """
    grey = np.rint(shown.image / 255 * (LEVELS - 1)).astype(np.uint8)
    palette = [
        _mixed(_grey(level, LEVELS), _rgb(COLOURS[kind][1]) if kind else None, STRENGTH)
        for kind in range(len(COLOURS) + 1)
        for level in range(LEVELS)
    ]
    return _png(outcome(_truth(shown), shown.layers[layer]) * LEVELS + grey, palette)


def cluster_picture(shown: Shown, layer: str) -> str:
    """The slice tinted by cluster, the labelled structures outlined in white, as a data URI.

    Clusters have no order: they are numbered by where they first occur, so that colours follow the picture
    from above and not the draw of the algorithm. From the 33rd on colours repeat.
    """
    grey = np.rint(shown.image / 255 * (SHADES - 1)).astype(np.uint8)
    numbers = first_seen(shown.layers[layer]) % MOST_CLUSTERS
    count = int(numbers.max()) + 1
    palette = [
        _mixed(_grey(level, SHADES), cluster_colour(number), CLUSTER_STRENGTH)
        for number in range(count)
        for level in range(SHADES)
    ]
    indices = (numbers * SHADES + grey).astype(np.uint8)
    if shown.truth is not None:
        indices[outline(shown.truth)] = len(palette)
    return _png(indices, [*palette, WHITE])


def pixels_of(picture: str) -> Layer:
    """The pixels (rows, columns, 3) of a picture made here."""
    content = base64.b64decode(picture.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def first_seen(clusters: Layer) -> NDArray[np.int64]:
    """Clusters (rows, columns) numbered anew from 0 on in the order of their first pixels."""
    _, firsts, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(firsts))[inverse].reshape(clusters.shape).astype(np.int64)


def outline(truth: Layer) -> NDArray[np.bool_]:
    """Pixels of a label that touch another label or the background at one of their four sides."""
    padded = np.pad(truth, 1, mode="edge")
    here = padded[1:-1, 1:-1]
    sides = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return (here > 0) & np.any([side != here for side in sides], axis=0)


def cluster_colour(number: int) -> tuple[int, int, int]:
    """Hues in steps of the golden ratio, so that neighbours in number are far apart in colour."""
    hue = (0.58 + number * 0.618034) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, (0.75, 0.5)[number % 2], (0.95, 0.8)[number // 2 % 2])
    return round(255 * red), round(255 * green), round(255 * blue)


def _truth(shown: Shown) -> Layer:
    if shown.truth is None:
        raise ValueError("an overlay needs the truth")
    return shown.truth


def _grey(level: int, levels: int) -> tuple[int, int, int]:
    value = round(255 * level / (levels - 1))
    return value, value, value


def _mixed(
    base: tuple[int, int, int], tint: tuple[int, int, int] | None, strength: float
) -> tuple[int, int, int]:
    if tint is None:
        return base
    red, green, blue = (
        round((1 - strength) * below + strength * above) for below, above in zip(base, tint, strict=True)
    )
    return red, green, blue


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _png(indices: Layer, palette: list[tuple[int, int, int]]) -> str:
    image = Image.fromarray(indices)
    image.putpalette([part for colour in palette for part in colour])
    sink = io.BytesIO()
    image.save(sink, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()
