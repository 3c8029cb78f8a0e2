"""Overlays: each pixel has exactly the colour that its truth, prediction and grey ask for."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mricore.evaluation.pictures import Shown
from mricore.report.overlays import (
    COLOURS,
    LEVELS,
    STRENGTH,
    cluster_picture,
    first_seen,
    kinds_in,
    outline,
    overlay_picture,
    slice_picture,
)

GREEN, ORANGE, BLUE, PINK = (0, 158, 115), (213, 94, 0), (0, 114, 178), (204, 121, 167)


def pixels(uri):
    kind, _, content = uri.partition(";base64,")
    assert kind == "data:image/png"
    return np.array(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


@pytest.fixture
def shown():
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (30, 41)).astype(np.uint8)
    truth, prediction = rng.integers(0, 4, (2, 30, 41)).astype(np.uint8)
    clusters = rng.integers(0, 9, (30, 41)).astype(np.uint8)
    return Shown("t", "c", 0, image, truth, {"prediction": prediction, "k=9": clusters})


def test_every_pixel_has_the_colour_of_its_outcome(shown):
    found = pixels(overlay_picture(shown, "prediction"))
    for row, column in np.ndindex(shown.image.shape):
        grey = round(255 * round(shown.image[row, column] / 255 * (LEVELS - 1)) / (LEVELS - 1))
        truth, said = shown.truth[row, column], shown.layers["prediction"][row, column]
        if truth == 0 and said == 0:
            expected = (grey, grey, grey)
        else:
            if truth == 0:
                colour = ORANGE
            elif said == 0:
                colour = BLUE
            else:
                colour = GREEN if truth == said else PINK
            expected = tuple(round((1 - STRENGTH) * grey + STRENGTH * part) for part in colour)
        assert tuple(found[row, column]) == expected


def test_the_legend_has_the_kinds_that_there_are(shown):
    assert kinds_in(shown, "prediction") == set(COLOURS)
    right = Shown("t", "c", 0, shown.image, shown.truth, {"prediction": shown.truth})
    assert [COLOURS[kind][0] for kind in kinds_in(right, "prediction")] == ["correct"]


def test_the_slice_itself_is_grey(shown):
    found = pixels(slice_picture(shown))
    assert (found == found[..., :1]).all()
    assert np.abs(found[..., 0].astype(int) - shown.image).max() <= 3


def test_a_picture_without_truth_has_no_overlay(shown):
    with pytest.raises(ValueError, match="truth"):
        overlay_picture(Shown("t", "c", 0, shown.image, None, shown.layers), "prediction")


def test_clusters_have_colours_of_their_own_and_labels_a_white_outline(shown):
    flat = Shown("t", "c", 0, np.zeros_like(shown.image), None, shown.layers)
    found = pixels(cluster_picture(flat, "k=9"))
    colours = {}
    for place in np.ndindex(shown.image.shape):
        colours.setdefault(int(shown.layers["k=9"][place]), set()).add(tuple(found[place]))
    assert all(len(ones) == 1 for ones in colours.values())
    assert len(set.union(*colours.values())) == 9
    white = (pixels(cluster_picture(shown, "k=9")) == 255).all(2)
    np.testing.assert_array_equal(white, outline(shown.truth))


def test_another_numbering_of_clusters_gives_the_same_picture(shown):
    order = np.random.default_rng(1).permutation(9).astype(np.uint8)
    renamed = Shown("t", "c", 0, shown.image, shown.truth, {"k=9": order[shown.layers["k=9"]]})
    assert cluster_picture(renamed, "k=9") == cluster_picture(shown, "k=9")


def test_clusters_are_numbered_by_their_first_pixel():
    clusters = np.array([[7, 7, 2], [2, 9, 7]], np.uint8)
    assert first_seen(clusters).tolist() == [[0, 0, 1], [1, 2, 0]]


@pytest.mark.parametrize("count", [33, 128])
def test_many_clusters_fit_a_palette(count):
    clusters = np.arange(count, dtype=np.uint8).reshape(1, -1)
    found = pixels(
        cluster_picture(Shown("t", "c", 0, np.zeros_like(clusters), clusters, {"k": clusters}), "k")
    )
    assert found.shape == (1, count, 3)


def test_the_outline_is_inside_the_label():
    truth = np.zeros((7, 7), np.uint8)
    truth[1:6, 1:6] = 1
    truth[1:6, 4:6] = 2
    found = outline(truth)
    expected = np.zeros((7, 7), bool)
    for row, column in np.ndindex(truth.shape):
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            other = row + down, column + right
            inside = 0 <= other[0] < 7 and 0 <= other[1] < 7
            if truth[row, column] and inside and truth[other] != truth[row, column]:
                expected[row, column] = True
    np.testing.assert_array_equal(found, expected)
