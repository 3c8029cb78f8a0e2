"""Burned-in text: found in what people and programs draw, never in MR itself."""

import gzip
import struct

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mricore.imaging.burned_in import has_burned_in_text
from mricore.imaging.phantoms.collection import CollectionSpec, write_collection
from mricore.imaging.phantoms.tissues import Timing
from mricore.imaging.phantoms.volume import centered_grid, phantom_volume
from mricore.imaging.pixels import read_pixels

BITMAP = ImageFont.load_default_imagefont()
TEXT = "SURNAME^FIRST 1960-02-03"
SIZES = [10, 12, 16, 24]


@pytest.fixture(scope="module")
def knee():
    """A phantom slice, 256 x 256, 12 bit; the brightest pixel is well below the largest integer."""
    grid = centered_grid("axial", (1, 256, 256), 200, 4, np.zeros(3, np.float32))
    image, _ = phantom_volume("knee", 0, grid, (Timing(4000, 30),), 1.5, 0)
    return np.clip(image[0, 0] * 2000, 0, 4095).astype(np.uint16)


def drawn(pixels, font, value, place=(6, 6), text=TEXT, outline=0, smooth=False):
    """The slice with text of one value, blended at its edges if ``smooth``, on a black outline if any."""

    def cover(width):
        layer = Image.new("L", pixels.shape[::-1])
        draw = ImageDraw.Draw(layer)
        draw.fontmode = "L" if smooth else "1"
        draw.text(place, text, fill=255, font=font, stroke_width=width, stroke_fill=255)
        return np.asarray(layer) / 255

    under = pixels * (1 - cover(outline)) if outline else pixels
    return np.rint(under * (1 - cover(0)) + value * cover(0)).astype(pixels.dtype)


@pytest.mark.parametrize(
    ("font", "outline"), [(BITMAP, 0), *((ImageFont.load_default(size), n) for size in SIZES for n in (0, 1))]
)
@pytest.mark.parametrize("place", [(6, 6), (20, 120), (6, 225)])
@pytest.mark.parametrize("value", ["largest", "nearly largest", "white"])
@pytest.mark.parametrize("bits", [8, 12])
def test_text_is_found_wherever_and_however_large_it_is(knee, font, outline, place, value, bits):
    pixels = knee >> (12 - bits)
    largest = int(pixels.max())
    values = {"largest": largest, "nearly largest": round(0.9 * largest), "white": (1 << bits) - 1}
    assert has_burned_in_text(drawn(pixels, font, values[value], place, outline=outline))


@pytest.mark.parametrize("size", [14, 18, 24, 32])
@pytest.mark.parametrize("place", [(6, 6), (6, 215)])
def test_smoothed_text_is_found_from_14_pixels(knee, size, place):
    font = ImageFont.load_default(size)
    assert has_burned_in_text(drawn(knee, font, int(knee.max()), place, smooth=True))


@pytest.mark.parametrize("text", ["12/03/2019", "ID 4711", "Surname, First"])
def test_dates_numbers_and_names_are_found(knee, text):
    assert has_burned_in_text(drawn(knee, ImageFont.load_default(14), int(knee.max()), text=text))


def test_text_is_found_in_signed_pixels(knee):
    pixels = knee.astype(np.int16) - 1000
    assert not has_burned_in_text(pixels)
    assert has_burned_in_text(drawn(pixels, BITMAP, int(pixels.max())))


@pytest.mark.parametrize("text", ["L", "R", "A P"])
def test_letters_that_mark_a_side_are_not_text(knee, text):
    assert not has_burned_in_text(drawn(knee, ImageFont.load_default(18), int(knee.max()), text=text))


def test_discs_and_squares_in_a_row_are_not_text(knee):
    image = Image.fromarray(knee.astype(np.int32))
    for left in range(20, 220, 25):
        ImageDraw.Draw(image).ellipse((left, 20, left + 12, 32), fill=4095)
        ImageDraw.Draw(image).rectangle((left, 60, left + 12, 72), fill=4095)
    assert not has_burned_in_text(np.asarray(image).astype(np.uint16))


@pytest.mark.parametrize("percent", [75, 90, 99, 99.9])
def test_saturated_tissue_is_not_text(knee, percent):
    assert not has_burned_in_text(np.minimum(knee, np.uint16(np.percentile(knee, percent))))


@pytest.mark.parametrize("levels", [2, 4, 256, 4096])
def test_noise_is_not_text(levels):
    assert not has_burned_in_text(np.random.default_rng(0).integers(0, levels, (256, 256), np.uint16))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (64, 64)])
def test_nothing_is_not_text(shape):
    assert not has_burned_in_text(np.full(shape, 7, np.uint16))


def test_no_phantom_has_text(tmp_path):
    for series in write_collection(tmp_path, CollectionSpec(patients=4, matrix=96, slices=4)):
        for path in (tmp_path / series.path).iterdir():
            with path.open("rb") as stream:
                assert not has_burned_in_text(next(read_pixels(stream)))


@pytest.mark.real_data
def test_no_real_dicom_has_text_until_it_is_drawn(real_data):
    missed = 0
    paths = sorted(path for path in (real_data / "dicom").rglob("*") if path.is_file())
    for path in paths:
        with path.open("rb") as stream:
            pixels = next(read_pixels(stream))
        assert not has_burned_in_text(pixels)
        missed += not has_burned_in_text(drawn(pixels, BITMAP, int(pixels.max()), text="4711-0815"))
    assert not missed


@pytest.mark.real_data
def test_no_real_volume_of_other_archives_has_text(real_data):
    for path in sorted((real_data / "labelled").rglob("images/*.nii.gz")):
        for pixels in nifti_slices(path):
            assert not has_burned_in_text(pixels)


def nifti_slices(path):
    """Slices of a NIfTI volume as integers of 12 bits."""
    content = gzip.decompress(path.read_bytes())
    _, *shape = struct.unpack("<4h", content[40:48])
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8", 512: "<u2"}[
        struct.unpack("<h", content[70:72])[0]
    ]
    (start,) = struct.unpack("<f", content[108:112])
    volume = np.frombuffer(content, kind, np.prod(shape), int(start)).reshape(shape, order="F")
    scale = 4095 / (float(volume.max()) - float(volume.min()))
    return np.moveaxis(np.rint((volume - float(volume.min())) * scale), 2, 0).astype(np.uint16)
