"""Fingerprints: the same for copies that were treated badly, unlike for slices that differ."""

import io
from itertools import combinations, pairwise

import numpy as np
import pytest
from PIL import Image

from mricore.imaging.fingerprints import content_digest, distance, fingerprint, is_telling
from mricore.imaging.intensity import histogram
from mricore.imaging.phantoms.tissues import Timing
from mricore.imaging.phantoms.volume import centered_grid, phantom_volume
from mricore.imaging.pixels import read_pixels

SLICES = ["knee 0", "knee 1", "abdomen 0", "lumbar_spine 0", "thigh 0"]


def of(pixels):
    return fingerprint(pixels, *histogram(pixels).percentiles)


def phantom(name, noise=15):
    """A 12-bit slice, 200 x 240, of a location and a person, with noise as in MR."""
    location, person = name.split()
    grid = centered_grid("axial", (1, 200, 240), 240, 4, np.zeros(3, np.float32))
    image, _ = phantom_volume(location, int(person), grid, (Timing(3000, 30),), 1.5, int(person))
    noisy = np.hypot(image[0, 0] * 2000, np.random.default_rng(0).normal(0, noise, image.shape[2:]))
    return np.clip(noisy, 0, 4095).astype(np.uint16)


def in_8_bits(pixels):
    low, high = int(pixels.min()), int(pixels.max())
    return np.rint((pixels - float(low)) * 255 / (high - low)).astype(np.uint16)


def windowed(pixels):
    low, high = np.percentile(pixels, [1, 99])
    return np.rint(np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint16)


def compressed(pixels):
    sink = io.BytesIO()
    Image.fromarray(in_8_bits(pixels).astype(np.uint8)).save(sink, "JPEG", quality=75)
    return np.asarray(Image.open(sink)).astype(np.uint16)


def noisy(pixels):
    noise = np.random.default_rng(1).normal(0, 0.01 * np.ptp(pixels), pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, None).astype(np.uint16)


def with_hot_pixel(pixels):
    copy = pixels.copy()
    copy[3, 3] = 65535
    return copy


TREATMENTS = [
    lambda pixels: pixels * np.uint16(7) + np.uint16(300),
    lambda pixels: pixels.astype(np.int16) - np.int16(2000),
    in_8_bits,
    windowed,
    compressed,
    noisy,
    with_hot_pixel,
]
NAMES = ["scaled", "signed", "8 bits", "windowed", "JPEG", "noisy", "hot pixel"]


@pytest.mark.parametrize("treat", TREATMENTS, ids=NAMES)
@pytest.mark.parametrize("name", SLICES)
def test_a_copy_keeps_its_fingerprint(name, treat):
    pixels = phantom(name)
    assert distance(of(pixels), of(treat(pixels))) <= 7


@pytest.mark.parametrize(("one", "other"), combinations(SLICES, 2))
def test_other_persons_and_places_have_other_fingerprints(one, other):
    assert distance(of(phantom(one)), of(phantom(other))) > 20


@pytest.mark.parametrize("shape", [(256, 256), (200, 240), (80, 91), (17, 17)])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_a_bit_is_set_where_the_next_block_is_clearly_brighter(shape, dtype):
    rng = np.random.default_rng(0)
    pixels = np.cumsum(rng.integers(-90, 100, shape), axis=1).astype(dtype)
    low, high = sorted(rng.choice(pixels.ravel(), 2, replace=False).tolist())
    values = (np.clip(pixels.astype(float), low, high) - low) / (high - low)

    def mean(row, rows, column, columns):
        ys = [y for y in range(shape[0]) if shape[0] * row // rows <= y < shape[0] * (row + 1) // rows]
        xs = [
            x
            for x in range(shape[1])
            if shape[1] * column // columns <= x < shape[1] * (column + 1) // columns
        ]
        return np.mean([values[y, x] for y in ys for x in xs])

    across = [mean(i, 8, j + 1, 17) - mean(i, 8, j, 17) > 0.02 for i in range(8) for j in range(16)]
    down = [mean(i + 1, 17, j, 8) - mean(i, 17, j, 8) > 0.02 for i in range(16) for j in range(8)]
    expected = [(across + down)[159 * position % 256] for position in range(256)]
    found = np.unpackbits(np.frombuffer(fingerprint(pixels, low, high), np.uint8))
    assert found.astype(bool).tolist() == expected


@pytest.mark.parametrize("quarter", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_each_band_of_32_bits_sees_each_quarter_of_the_slice(quarter):
    pixels = np.zeros((160, 160), np.uint16)
    rows, columns = (slice(80 * part, 80 * part + 80) for part in quarter)
    seen = np.zeros((8, 32), bool)
    for seed in range(10):
        pixels[rows, columns] = np.kron(
            np.random.default_rng(seed).integers(0, 1000, (16, 16)), np.ones((5, 5), int)
        )
        seen |= np.unpackbits(np.frombuffer(of(pixels), np.uint8)).reshape(8, 32).astype(bool)
    assert (seen.sum(1) >= 4).all()


def test_noise_in_flat_background_sets_no_bits():
    pixels = np.zeros((256, 256), np.int16)
    pixels[100:160, 100:160] = 1000
    noise = np.random.default_rng(0).normal(0, 20, pixels.shape)
    assert distance(of(pixels), of((pixels + noise).astype(np.int16))) == 0


def test_memory_layout_does_not_matter():
    pixels = phantom("knee 0")
    turned = np.asfortranarray(pixels)
    strided = np.repeat(pixels, 2, axis=1)[:, ::2]
    assert of(pixels) == of(turned) == of(strided)
    assert content_digest(pixels) == content_digest(turned) == content_digest(strided)


def test_slices_with_nothing_to_see_are_not_telling():
    rng = np.random.default_rng(0)
    nothing = [
        np.full((64, 64), 9, np.uint16),
        np.eye(256, dtype=np.uint16),
        rng.normal(500, 30, (256, 256)).astype(np.uint16),
    ]
    assert not any(is_telling(of(pixels)) for pixels in nothing)
    assert not is_telling(fingerprint(nothing[0], np.nan, np.nan))
    assert all(is_telling(of(phantom(name))) for name in SLICES)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 3), (16, 18)])
def test_tiny_slices_have_fingerprints_too(shape):
    pixels = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape)
    assert len(of(pixels)) == 32


def test_a_digest_tells_pixels_type_and_shape_apart():
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30)
    other = pixels.copy()
    other[19, 29] ^= 1
    unlike = [pixels, other, pixels.astype(np.int16), pixels.reshape(30, 20), pixels[:, :29]]
    digests = [content_digest(one) for one in unlike]
    assert content_digest(pixels.copy()) == digests[0]
    assert len(set(digests)) == len(digests)
    assert {len(digest) for digest in digests} == {16}


@pytest.mark.real_data
@pytest.mark.parametrize("treat", TREATMENTS[2:6], ids=NAMES[2:6])
def test_nearly_all_real_slices_keep_their_fingerprints(real_data, treat):
    distances = [
        distance(of(pixels), of(treat(pixels))) for series in real_series(real_data) for pixels in series[::5]
    ]
    assert np.mean(np.array(distances) <= 7) >= 0.95


@pytest.mark.real_data
def test_real_slices_are_told_apart(real_data):
    series = [[of(pixels) for pixels in one] for one in real_series(real_data)]
    within = [distance(a, b) for one in series for a, b in pairwise(one)]
    between = [distance(a, b) for one, other in combinations(series, 2) for a in one for b in other]
    assert all(is_telling(one) for slices in series for one in slices)
    assert min(within) > 15
    assert min(between) > 30


def real_series(real_data):
    """The slices of each pelvis series, one series per patient."""
    for folder in sorted({path.parent for path in (real_data / "dicom/cptac_ucec_pelvis").rglob("*.dcm")}):
        yield [next(read_pixels(io.BytesIO(path.read_bytes()))) for path in in_space(folder)]


def in_space(folder):
    """Files of a series by the number in their names."""
    return sorted(folder.iterdir(), key=lambda path: int(path.stem.split("-")[-1]))
