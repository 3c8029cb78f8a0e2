import io

import numpy as np
import pytest
from PIL import Image

from mricore.data.codec import decode, encode


@pytest.mark.parametrize("dtype", ["uint16", "int16"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (1, 5), (64, 48), (255, 257)])
def test_any_16_bit_slice_returns_bit_for_bit(dtype, shape):
    limits = np.iinfo(dtype)
    pixels = np.random.default_rng(0).integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)
    returned = decode(encode(pixels), *shape, dtype)
    assert returned.dtype == pixels.dtype
    np.testing.assert_array_equal(returned, pixels)


def test_non_contiguous_input_is_fine():
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)[::2, ::-3]
    np.testing.assert_array_equal(decode(encode(pixels), *pixels.shape, "uint16"), pixels)


def test_encoding_leaves_the_pixels_alone():
    pixels = np.random.default_rng(0).integers(0, 4096, (16, 16), np.uint16)
    before = pixels.copy()
    encode(pixels)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("noise", [8, 40])
def test_images_like_mr_take_less_than_a_16_bit_png(noise):
    rows, columns = np.mgrid[:256, :256]
    grain = np.random.default_rng(0).normal(0, noise, (256, 256))
    pixels = (1000 + 900 * np.sin(rows / 40) * np.cos(columns / 50) + grain).astype(np.uint16)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    assert len(encode(pixels)) < 0.9 * len(png.getvalue())


@pytest.mark.parametrize("shape", [(16, 17), (16, 15)])
def test_content_of_another_size_is_refused(shape):
    pixels = np.random.default_rng(0).integers(0, 4096, (16, 16), np.uint16)
    with pytest.raises(ValueError, match="numbers for a slice of"):
        decode(encode(pixels), *shape, "uint16")


@pytest.mark.parametrize("content", [b"", b"not pco", encode(np.ones((16, 16), np.uint16))[:-1]])
def test_what_is_not_whole_is_a_value_error(content):
    with pytest.raises(ValueError, match="pco"):
        decode(content, 16, 16, "uint16")
