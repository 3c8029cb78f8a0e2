import numpy as np
import torch

from mricore.augment.collate import pad_slices, uncrowded


def test_slices_keep_their_type_and_place_and_are_padded_with_zeros():
    rng = np.random.default_rng(0)
    slices = [rng.integers(1, 65536, shape, dtype=np.uint16) for shape in ((30, 50), (40, 20))]
    images, sizes = pad_slices(slices)
    assert images.dtype == torch.uint16
    assert images.shape == (2, 1, 40, 80)
    np.testing.assert_array_equal(sizes, [(30, 50), (40, 20)])
    for image, padded in zip(slices, images.numpy()[:, 0], strict=True):
        rows, columns = image.shape
        np.testing.assert_array_equal(padded[:rows, :columns], image)
        assert padded.sum(dtype=np.int64) == image.sum(dtype=np.int64)


def test_no_row_is_a_power_of_two_apart_from_the_next():
    for width in range(1, 1100):
        wide = uncrowded(width)
        assert width <= wide < width + 32
        assert wide % 16 == 0
        assert wide % 32 == 16
