"""Padding that means no signal, in the integers that reading the pixels gives."""

import numpy as np
import pytest
from dicom_files import dataset, header_of, image_of, mr_bytes, ramp, to_bytes
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

UNSIGNED, SIGNED = ramp(), ramp().astype(np.int16) - 2000


@pytest.mark.parametrize(
    ("pixels", "attributes", "expected"),
    [
        (UNSIGNED, {}, None),
        (UNSIGNED, {"PixelPaddingValue": 0}, (0, 0)),
        (UNSIGNED, {"PixelPaddingValue": 100, "PixelPaddingRangeLimit": 50}, (50, 100)),
        (UNSIGNED, {"PixelPaddingValue": 4000, "PixelPaddingRangeLimit": 4095}, (4000, 4095)),
        (UNSIGNED, {"PixelPaddingRangeLimit": 50}, None),
        (UNSIGNED, {"PixelPaddingValue": 4096}, None),
        (UNSIGNED, {"PixelPaddingValue": 63536}, None),
        (SIGNED, {"PixelPaddingValue": -2000}, (-2000, -2000)),
        (SIGNED, {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1900}, (-2000, -1900)),
        (SIGNED, {"PixelPaddingValue": -2049}, None),
    ],
)
def test_padding_is_a_range_of_stored_integers(pixels, attributes, expected):
    assert header_of(mr_bytes(pixels, **attributes)).padding == expected


@pytest.mark.parametrize("pixels", [UNSIGNED, SIGNED])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_padding_follows_the_pixels(pixels, photometric, syntax):
    """The lowest tenth of the stored integers is padding: after reading the same pixels lie in the range."""
    limit = int(np.quantile(pixels, 0.1))
    image = dataset(
        pixels,
        syntax,
        PhotometricInterpretation=photometric,
        PixelPaddingValue=int(pixels.min()),
        PixelPaddingRangeLimit=limit,
    )
    content = to_bytes(image)
    low, high = header_of(content).padding
    found = image_of(content)
    assert np.array_equal((found >= low) & (found <= high), pixels <= limit)


def test_padding_with_the_sign_that_the_pixels_do_not_have():
    """Some writers state unsigned padding for signed pixels: the 16 bits are meant."""
    image = dataset(SIGNED)
    image.add_new(0x00280120, "US", 65536 - 2000)
    assert header_of(to_bytes(image)).padding == (-2000, -2000)
    image = dataset(ramp(top=60000), bits=16)
    image.add_new(0x00280120, "SS", 60000 - 65536)
    assert header_of(to_bytes(image)).padding == (60000, 60000)


@pytest.mark.parametrize("value", ["", "none", "1.5"])
def test_padding_that_is_no_integer_is_none(value):
    image = dataset()
    image.add_new(0x00280120, "LO", value)
    assert header_of(to_bytes(image)).padding is None
