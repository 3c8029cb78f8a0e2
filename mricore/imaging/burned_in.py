"""Text burned into the pixels of a slice whose header does not say so.

Screenshots and exported captures carry names and dates in their pixels. Such text is drawn in one constant,
bright value as thin strokes, cut out sharply from what surrounds it, whereas the brightest tissue is
surrounded by tissue that is almost as bright. A slice that has such a value is then looked through for
characters that stand on one line. The rule errs towards keeping a slice: dark or vertical text, single
letters, and smoothed (antialiased) text of less than about 12 pixels escape it. The ticks of a ruler may pass
for text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mricore.records import Pixels

TOP = 0.75
"""Text lies in the top quarter of the slice's range."""
MIN_PIXELS = 20
"""Fewer pixels of one value are no word."""
MAX_PIXELS = 0.1
"""More pixels of one value, as a fraction of the slice, are saturation or padding."""
DARK = 0.7
"""A pixel beside a stroke is dark below this fraction of the stroke's height above the minimum."""
MIN_SHARPNESS = 0.4
"""Share of dark pixels beside those of a value: 0.43 to 1 in text, at most 0.32 in the real MR at hand."""
MAX_VALUES = 8
"""More values that are sharp are noise."""
SMOOTHED = 0.6
"""Smoothed strokes end at this fraction of their height above the minimum."""
MIN_HEIGHT = 5
"""Of a character, in pixels."""
MAX_HEIGHT = 0.2
"""Of a character, as a fraction of the slice's rows."""
MAX_STROKE = 0.3
"""Mean width of strokes as a fraction of a character's height; it would be 0.4 in a disc, 0.5 in a square."""
MAX_GAP = 2.0
"""Between characters of a line, in heights; it spans a letter with a descender, which is not on the line."""
MIN_CHARACTERS = 4


@dataclass(frozen=True)
class _Character:
    """The box around a connected set of pixels, ends inclusive."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def height(self) -> int:
        return self.bottom - self.top + 1


def has_burned_in_text(pixels: Pixels) -> bool:
    """Whether a line of at least four characters is drawn into the slice in one bright value."""
    low = int(pixels.min())
    return any(
        _has_line(_characters(written))
        for height in _sharp_heights(pixels, low)
        for written in (pixels == low + height, pixels > low + int(SMOOTHED * height))
    )


def _sharp_heights(pixels: Pixels, low: int) -> list[int]:
    """Bright values, above ``low``, that many pixels share and whose neighbours are mostly dark."""
    flat = pixels.ravel()
    bright = np.flatnonzero(flat > low + int(TOP * (int(flat.max()) - low)))
    heights = flat[bright].astype(np.int64) - low
    counts = np.bincount(heights)
    frequent = (counts >= MIN_PIXELS) & (counts <= MAX_PIXELS * flat.size)
    if not frequent.any():
        return []
    chosen = frequent[heights]
    bright, heights = bright[chosen], heights[chosen]
    beside, dark = np.zeros(counts.size), np.zeros(counts.size)
    for step in (-1, 1, -pixels.shape[1], pixels.shape[1]):
        # Beyond the border this takes a pixel from elsewhere: too few to matter.
        neighbours = flat.take(bright + step, mode="clip").astype(np.int64) - low
        beside += np.bincount(heights, neighbours != heights, counts.size)
        dark += np.bincount(heights, neighbours < DARK * heights, counts.size)
    sharp = np.flatnonzero(frequent & (dark > MIN_SHARPNESS * beside))
    return sharp.tolist() if sharp.size <= MAX_VALUES else []


def _characters(written: NDArray[np.bool_]) -> list[_Character]:
    """Connected sets of pixels that are as high and as thin as characters."""
    labels = _without_specks(ndimage.label(written, structure=np.ones((3, 3)))[0])
    pixels, outlines = np.bincount(labels.ravel()), _outlines(labels)
    found = []
    for label, (rows, columns) in enumerate(ndimage.find_objects(labels), 1):
        character = _Character(rows.start, rows.stop - 1, columns.start, columns.stop - 1)
        stroke = 2 * pixels[label] / outlines[label]
        is_high = MIN_HEIGHT <= character.height <= MAX_HEIGHT * len(written)
        if is_high and stroke <= MAX_STROKE * character.height:
            found.append(character)
    return found


def _without_specks(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The labels of sets that are large enough for a character, numbered anew."""
    enough = np.bincount(labels.ravel()) >= MIN_HEIGHT
    enough[0] = False
    return np.where(enough, np.cumsum(enough), 0).astype(np.int32)[labels]


def _outlines(labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """For each label the number of sides of pixels between its set and the rest."""
    framed = np.pad(labels, 1)
    beside = (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:])
    sides = [np.bincount(labels[labels != other], minlength=labels.max() + 1) for other in beside]
    return np.sum(sides, axis=0)


def _has_line(characters: Sequence[_Character]) -> bool:
    """Whether enough characters stand on one line, close to each other and of similar height."""
    ordered = sorted(characters, key=lambda one: one.left)
    return any(_line_from(ordered[start:]) >= MIN_CHARACTERS for start in range(len(ordered)))


def _line_from(characters: Sequence[_Character]) -> int:
    """How many characters stand on the line of the first."""
    first = last = characters[0]
    length = 1
    for one in characters[1:]:
        level = abs(one.bottom - first.bottom) <= max(1, 0.1 * first.height)
        similar = 0.6 <= one.height / first.height <= 1.6
        if level and similar and last.right < one.left <= last.right + MAX_GAP * first.height:
            last = one
            length += 1
    return length
