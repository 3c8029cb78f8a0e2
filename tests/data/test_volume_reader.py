"""Pixels of volumes: each slice from its file and frame, measured; one bad slice condemns its volume."""

import numpy as np
import pytest
from dicom_files import mr_bytes, to_bytes
from enhanced_files import enhanced, stack
from frame_records import frame
from PIL import Image, ImageDraw, ImageFont

from mricore.data import codec
from mricore.data.storage import place
from mricore.data.volume_reader import ReadVolume, VolumeReader
from mricore.imaging.volumes import Volume
from mricore.records import Reason

SIDE = 96


@pytest.fixture
def source(tmp_path):
    return place(str(tmp_path))


def picture(seed):
    """Unsigned 12-bit integers that the seed decides, (96, 96)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    return (1200 + 1000 * np.cos(5 * rows + seed) * columns + rng.uniform(0, 40, rows.shape)).astype(
        np.uint16
    )


def with_text(pixels):
    layer = Image.new("L", pixels.shape[::-1])
    draw = ImageDraw.Draw(layer)
    draw.fontmode = "1"
    draw.text((4, 4), "SURNAME^FIRST", fill=255, font=ImageFont.load_default_imagefont())
    return np.where(np.asarray(layer) > 0, np.uint16(4095), pixels)


def read(source, volumes, paths, killers=()):
    found = {file.path: file for file in source.files()}
    reader = VolumeReader(source, volumes, [found[path] for path in paths], killers)
    return list(reader.volumes())


def stored(one):
    """The pixels of a slice as they go to a shard."""
    return codec.decode(one.encoded, SIDE, SIDE, one.pixels.dtype)


def volume_of(*slices):
    """A volume whose slices are copies by the number of their file."""
    return Volume(
        tuple(tuple(frame(file=one, rows=SIDE, columns=SIDE) for one in copies) for copies in slices), 4.0
    )


@pytest.mark.parametrize("bad", range(5))
def test_text_in_any_slice_leaves_out_its_volume_and_no_other(source, bad):
    for number in range(10):
        pixels = picture(number)
        source.write_bytes(str(number), mr_bytes(with_text(pixels) if number == bad else pixels))
    volumes = [volume_of(*([k] for k in range(first, first + 5))) for first in (0, 5)]
    first, second = read(source, volumes, [str(k) for k in range(10)])
    assert first == Reason.BURNED_IN_ANNOTATION
    assert isinstance(second, ReadVolume)


def test_a_whole_copy_stands_in_for_a_damaged_image(source):
    for number in range(5):
        source.write_bytes(str(number), mr_bytes(picture(number)))
    source.write_bytes("1", mr_bytes(picture(1))[:-3000])
    paths = [str(k) for k in range(5)]
    (found,) = read(source, [volume_of([0], [1, 4], [2], [3])], paths)
    np.testing.assert_array_equal(stored(found.slices[1]), picture(4))
    assert read(source, [volume_of([0], [1, 1], [2], [3])], paths) == [Reason.UNREADABLE_PIXELS]


def test_a_file_that_kills_processes_is_never_opened(source):
    """A copy of its image, if there is one, is used instead."""
    for number in range(1, 4):
        source.write_bytes(str(number), mr_bytes(picture(number)))
    source.write_bytes("0", mr_bytes(picture(0)))
    paths = ["0", "1", "2", "3"]
    alone, with_copy = volume_of([0], [1], [2]), volume_of([0, 3], [1], [2])
    assert read(source, [alone], paths, {"0"}) == [Reason.UNREADABLE_PIXELS]
    (found,) = read(source, [with_copy], paths, {"0"})
    np.testing.assert_array_equal(stored(found.slices[0]), picture(3))


def test_frames_of_one_file_go_to_their_own_slices(source):
    pixels = stack(6, SIDE, SIDE)
    source.write_bytes("0", to_bytes(enhanced(pixels)))
    order = [4, 0, 5, 2]
    slices = tuple((frame(file=0, frame=k, rows=SIDE, columns=SIDE),) for k in order)
    (found,) = read(source, [Volume(slices, 4.0)], ["0"])
    for one, number in zip(found.slices, order, strict=True):
        np.testing.assert_array_equal(stored(one), pixels[number])


def test_a_slice_and_its_volume_are_measured_in_real_intensities_without_padding(source):
    scales = [(2.0, -50.0), (0.5, 10.0), (1.0, 0.0)]
    slices, real = [], []
    for number, (slope, intercept) in enumerate(scales):
        pixels = picture(number)
        real.append(slope * pixels[:, 8:].astype(float) + intercept)
        pixels[:, :8] = 4000
        source.write_bytes(str(number), mr_bytes(pixels))
        changes = {"slope": slope, "intercept": intercept, "padding": (4000, 4000)}
        slices.append((frame(file=number, rows=SIDE, columns=SIDE, **changes),))
    (found,) = read(source, [Volume(tuple(slices), 4.0)], ["0", "1", "2"])

    def measured(values):
        return [values.min(), values.max(), *np.percentile(values, [0.5, 99.5])]

    def told(one):
        return [one.minimum, one.maximum, one.p0_5, one.p99_5]

    for one, values in zip(found.slices, real, strict=True):
        np.testing.assert_allclose(told(one.intensity), measured(values))
        assert stored(one)[:, :8].max() == stored(one).min()
    everything = np.concatenate([values.ravel() for values in real])
    np.testing.assert_allclose(told(found.intensity), measured(everything))
