"""The choice of boxes against counting pixels one by one."""

import numpy as np
import pytest
import torch

from mricore.augment.draws import draw_views, pixel_boxes
from mricore.augment.foreground import choose_boxes, foreground_shares
from mricore.config.schema import Augment

SIZES = np.array([(50, 40), (33, 61), (48, 48), (20, 30)])


def slices():
    """A body off the centre on a dim background; the last slice is empty; beyond slices lies junk."""
    rng = np.random.default_rng(0)
    padded = np.full((len(SIZES), 60, 70), 9.0, np.float32)
    for image, (rows, columns) in zip(padded, SIZES, strict=True):
        image[:rows, :columns] = 0.05 * rng.random((rows, columns))
        body = image[rows // 2 : rows - 4, 3 : columns // 2]
        body += np.linspace(0, rng.random(), body.shape[1], dtype=np.float32)
    padded[-1, :20, :30] = 0
    return padded


def boxes_of(views):
    settings = Augment(local_crops=views - 2)
    return pixel_boxes(draw_views(np.random.default_rng(3), len(SIZES), settings).choices.boxes, SIZES)


def share(image, size, box):
    inside = image[: size[0], : size[1]]
    top, left, height, width = box
    window = inside[top : top + height, left : left + width]
    return (window > 0.5 * inside.mean()).mean()


def chosen(boxes, wanted):
    tensors = (torch.from_numpy(values).float() for values in (slices(), SIZES, boxes))
    return choose_boxes(*tensors, wanted).numpy()


@pytest.mark.numerics
@pytest.mark.parametrize("wanted", [0.0, 0.1, 0.25, 0.6, 1.0])
def test_the_first_sufficient_candidate_is_taken_or_else_the_best(wanted):
    boxes = boxes_of(40)
    found = chosen(boxes, wanted)
    places = []
    for image, size, views, picks in zip(slices(), SIZES, boxes, found, strict=True):
        for candidates, pick in zip(views, picks, strict=True):
            shares = [share(image, size, box) for box in candidates]
            enough = [index for index, value in enumerate(shares) if value >= wanted]
            places.append(enough[0] if enough else int(np.argmax(shares)))
            np.testing.assert_array_equal(pick, candidates[places[-1]])
    if wanted in (0.25, 0.6):
        assert set(places) == {0, 1, 2, 3}  # every candidate had its turn, so that the test sees the choice


@pytest.mark.numerics
def test_shares_are_exact_counts():
    boxes = boxes_of(40)[:, :, 0]
    tensors = (torch.from_numpy(values).float() for values in (slices(), SIZES, boxes))
    expected = [
        [share(image, size, box) for box in row]
        for image, size, row in zip(slices(), SIZES, boxes, strict=True)
    ]
    np.testing.assert_allclose(foreground_shares(*tensors).numpy(), expected, rtol=1e-6)


def test_an_empty_slice_takes_the_first_candidate():
    boxes = boxes_of(40)
    np.testing.assert_array_equal(chosen(boxes, 0.25)[-1], boxes[-1, :, 0])


def test_one_candidate_is_taken_whatever_it_shows():
    boxes = boxes_of(40)[:, :, :1]
    np.testing.assert_array_equal(chosen(boxes, 1.0), boxes[:, :, 0])
