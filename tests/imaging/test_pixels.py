"""Pixels: every transfer syntax bit by bit, sign and unused bits, damage that must not pass as an image."""

import base64
import io
import pickle
from pathlib import Path

import jpeg_ls
import numpy as np
import pydicom
import pytest
from compressed_files import codestream, compress_frames, compressed, encapsulated
from dicom_files import dataset, image_of, pixels_of, ramp, to_bytes
from enhanced_files import enhanced, stack
from mosaic_files import mosaic
from openjpeg.utils import encode_array
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from mricore.imaging.pixels import UnreadablePixelsError, read_pixels
from mricore.records import Reason

PLAIN = [
    *(ImplicitVRLittleEndian, ExplicitVRLittleEndian),
    *(ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian),
]
CODECS = [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1]


def texture(dtype=np.uint16, bits=12):
    """Smooth image with noise; for a signed type also negative values, and both ends of the range."""
    low, high = (
        (-(1 << bits - 1), (1 << bits - 1) - 1) if np.dtype(dtype).kind == "i" else (0, (1 << bits) - 1)
    )
    rng = np.random.default_rng(7)
    image = np.linspace(low, high, 64 * 80).reshape(64, 80) + rng.normal(0, 5, (64, 80))
    image[0, 0], image[1, 1] = low, high
    return np.clip(image, low, high).astype(dtype)


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.uint16, 12), (np.uint16, 16), (np.int16, 16), (np.int16, 12)]
)
def test_plain_syntaxes(syntax, dtype, bits):
    pixels = texture(dtype, bits)
    found = image_of(to_bytes(dataset(pixels, syntax, bits)))
    assert found.dtype == dtype and np.array_equal(found, pixels)


@pytest.mark.parametrize("syntax", CODECS, ids=lambda syntax: syntax.name[:20])
@pytest.mark.parametrize(("dtype", "bits"), [(np.uint16, 12), (np.uint16, 16), (np.int16, 16)])
def test_lossless_codecs_are_bit_exact(syntax, dtype, bits):
    pixels = texture(dtype, bits)
    found = image_of(to_bytes(compressed(pixels, syntax, bits)))
    assert found.dtype == dtype and np.array_equal(found, pixels)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_eight_bits_are_widened(syntax):
    pixels = np.arange(64 * 80, dtype=np.uint8).reshape(64, 80)
    image = dataset(pixels, bits=8)
    if syntax == RLELossless:
        image.compress(syntax, generate_instance_uid=False)
    found = image_of(to_bytes(image))
    assert found.dtype == np.uint16 and np.array_equal(found, pixels)


def test_lossy_jpeg_of_twelve_bits():
    pixels = texture()
    image = compressed(pixels, JPEGExtended12Bit)
    assert image.file_meta.TransferSyntaxUID == JPEGExtended12Bit
    found = image_of(to_bytes(image)).astype(int)
    assert np.abs(found - pixels).mean() < 40 and np.corrcoef(found.ravel(), pixels.ravel())[0, 1] > 0.99


def jpeg2000_of(pixels, bits):
    return bytes(encode_array(pixels, bits_stored=bits, photometric_interpretation=2, use_mct=False))


def pattern(pixels, bits):
    """Signed integers as the unsigned ones of so many bits."""
    return pixels.view(np.uint16) & np.uint16((1 << bits) - 1)


FEWER_BITS = {
    "signed JPEG 2000": (JPEG2000Lossless, jpeg2000_of),
    "unsigned JPEG 2000": (JPEG2000Lossless, lambda pixels, bits: jpeg2000_of(pattern(pixels, bits), bits)),
    "JPEG-LS": (JPEGLSLossless, lambda pixels, bits: jpeg_ls.encode(pattern(pixels, bits)).tobytes()),
}


@pytest.mark.parametrize("form", FEWER_BITS)
@pytest.mark.parametrize(("bits", "stored"), [(12, 12), (12, 16), (14, 16), (14, 15)])
def test_the_sign_of_a_codestream_with_fewer_bits_than_are_stored(form, bits, stored):
    """The highest bit of the codestream is the sign, as for pydicom."""
    syntax, encode = FEWER_BITS[form]
    pixels = texture(np.int16, bits)
    content = to_bytes(encapsulated(dataset(pixels, bits=stored), [encode(pixels, bits)], syntax))
    assert np.array_equal(image_of(content), pixels)
    assert np.array_equal(pydicom.dcmread(io.BytesIO(content)).pixel_array, pixels)


def test_an_unsigned_codestream_with_fewer_bits_stays_unsigned():
    pixels = texture()
    image = encapsulated(dataset(pixels, bits=16), [jpeg2000_of(pixels, 12)], JPEG2000Lossless)
    assert np.array_equal(image_of(to_bytes(image)), pixels)


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_twelve_bit_jpeg_of_pydicom(name):
    """The two pixels that pydicom's own tests look at."""
    pixels = image_of(Path(get_testdata_file(name, download=False)).read_bytes())
    assert (pixels[420, 140], pixels[230, 120]) == (244, 95)


def test_overlays_in_high_bits_do_not_survive():
    pixels = ramp()
    overlay = np.zeros_like(pixels)
    overlay[10:20] = 0xF000
    image = dataset(pixels, PixelData=(pixels | overlay).tobytes())
    image.add_new(0x60000102, "US", 12)  # overlay bit position
    assert np.array_equal(image_of(to_bytes(image)), pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_values_that_do_not_fit_into_the_stored_bits_are_damage(dtype):
    """Without an overlay in the file nothing explains them; cut off they would be other intensities."""
    image = dataset(ramp(top=5000).astype(dtype), bits=12)
    with pytest.raises(UnreadablePixelsError):
        image_of(to_bytes(image))


def test_sign_comes_from_the_stored_bits():
    """12 signed bits in 16: bit 11 is the sign, whatever stands above."""
    pixels = texture(np.int16, 12)
    image = dataset(pixels, PixelData=(pixels & 0x0FFF).astype(np.uint16).tobytes())
    assert np.array_equal(image_of(to_bytes(image)), pixels)


def test_stored_bits_at_the_top_of_the_word():
    pixels = ramp()
    image = dataset(pixels, PixelData=(pixels << 4 | 0b1010).tobytes(), HighBit=15)
    assert np.array_equal(image_of(to_bytes(image)), pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_a_wrong_high_bit_costs_no_bits(dtype, syntax):
    """The lowest bits are used and none above them, so they are what is stored."""
    pixels = texture(dtype, 12)
    image = dataset(pixels) if syntax == ExplicitVRLittleEndian else compressed(pixels, syntax)
    image.HighBit = 15
    assert np.array_equal(image_of(to_bytes(image)), pixels)


def test_with_an_overlay_the_high_bit_counts():
    """What stands in the low bits of an image without signal may be graphics."""
    graphics = np.zeros((64, 80), np.uint16)
    graphics[10:20] = 0b0101
    image = dataset(graphics, HighBit=15)
    image.add_new(0x60000102, "US", 0)  # overlay bit position
    assert not image_of(to_bytes(image)).any()


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.uint16, 12), (np.uint16, 16), (np.int16, 12), (np.int16, 16)]
)
def test_monochrome1_is_turned_around_inside_the_stored_range(dtype, bits):
    pixels = texture(dtype, bits)
    found = image_of(to_bytes(dataset(pixels, bits=bits, PhotometricInterpretation="MONOCHROME1")))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype is np.int16 else (0, 2**bits - 1)
    assert found.dtype == dtype and found[0, 0] == high and found[1, 1] == low
    assert np.array_equal(found.astype(int) + pixels, np.full(pixels.shape, low + high))


def unreadable(content):
    with pytest.raises(UnreadablePixelsError) as error:
        image_of(content)
    return error.value.reason is Reason.UNREADABLE_PIXELS and error.value.__context__ is None


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, *CODECS], ids=lambda syntax: syntax.name[:20])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_cut_files_are_unreadable(syntax, kept):
    image = dataset(texture()) if syntax == ExplicitVRLittleEndian else compressed(texture(), syntax)
    content = to_bytes(image)
    assert unreadable(content[: int(len(content) * kept)])


@pytest.mark.parametrize("syntax", CODECS, ids=lambda syntax: syntax.name[:20])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9, 0.99])
def test_cut_codestreams_in_whole_files_are_unreadable(syntax, kept):
    """Codecs fill up what is missing; such an image must not pass."""
    image = compressed(texture(), syntax)
    found = codestream(image).rstrip(b"\0")
    image.PixelData = encapsulate([found[: int(len(found) * kept)]])
    assert unreadable(to_bytes(image))


@pytest.mark.parametrize("padding", [b"\0", b"\xff", b"\0\0\0"])
def test_padding_after_the_codestream_is_no_damage(padding):
    pixels = texture()
    image = compressed(pixels, JPEGLSLossless)
    found = codestream(image).rstrip(b"\0")
    image.PixelData = encapsulate([found + padding])
    assert np.array_equal(image_of(to_bytes(image)), pixels)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PixelData": None},
        {"Rows": None},
        {"Rows": 0},
        {"BitsStored": 0},
        {"BitsStored": None},
        {"NumberOfFrames": 2},
        {"HighBit": 16},
        {"PixelRepresentation": 2},
        {"PixelRepresentation": None},
        {"BitsAllocated": 32},
        {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"},
        {"Rows": 65535, "Columns": 65535},
    ],
)
def test_what_is_no_single_gray_image_is_unreadable(attributes):
    assert unreadable(to_bytes(dataset(**attributes)))


def test_other_bytes_and_unknown_syntaxes_are_unreadable():
    image = dataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    strange = to_bytes(image).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")
    assert unreadable(b"") and unreadable(b"not DICOM" * 50) and unreadable(strange)


def test_the_error_crosses_process_boundaries():
    error = pickle.loads(pickle.dumps(UnreadablePixelsError(Reason.UNREADABLE_PIXELS)))  # noqa: S301
    assert error.reason is Reason.UNREADABLE_PIXELS and str(error) == "unreadable_pixels"


@pytest.mark.parametrize("syntax", CODECS, ids=lambda syntax: syntax.name[:20])
def test_fuzzed_codestreams_raise_nothing_else(syntax, capfd):
    content = to_bytes(compressed(texture(), syntax))
    start = content.index(b"\xe0\x7f\x10\x00")
    rng = np.random.default_rng(3)
    for _ in range(25):
        bad = bytearray(content)
        for position in rng.integers(start, len(bad), 4):
            bad[position] = rng.integers(256)
        try:
            assert image_of(bytes(bad)).shape == (64, 80)
        except UnreadablePixelsError as error:
            assert error.reason is Reason.UNREADABLE_PIXELS
    capfd.readouterr()  # the codecs' own complaints


def real_pixels(folder, name):
    return image_of((folder / name).read_bytes())


@pytest.mark.real_data
def test_real_compressed_twins_are_equal(real_data):
    folder = real_data / "dicom_edge_cases" / "mr_transfer_syntaxes"
    rle = real_pixels(folder, "MR1_RLE.dcm")
    assert (rle.shape, rle.dtype, rle.min(), rle.max()) == ((512, 512), np.int16, 0, 4000)
    for name in ("MR1_JPLL.dcm", "MR1_JLSL.dcm"):
        assert np.array_equal(real_pixels(folder, name), rle)
    lossy = real_pixels(folder, "MR1_J2KI.dcm").astype(int)
    assert np.abs(lossy - rle).mean() < 60 and np.abs(lossy - rle).max() > 0


@pytest.mark.parametrize(
    "name",
    [
        *("MR_small_RLE", "MR_small_implicit", "MR_small_bigendian", "MR_small_expb", "MR_small_padded"),
        *("MR_small_jp2klossless", "MR_small_jpeg_ls_lossless"),
    ],
)
def test_pydicom_twins_are_equal(name):
    plain, twin = (
        image_of(Path(get_testdata_file(f"{one}.dcm", download=False)).read_bytes())
        for one in ("MR_small", name)
    )
    assert np.array_equal(plain, twin) and (plain.min(), plain.max()) == (127, 2145)


@pytest.mark.parametrize("syntax", PLAIN)
@pytest.mark.parametrize(("dtype", "below"), [(np.uint16, 0), (np.int16, 2048)])
def test_frames_of_plain_syntaxes(syntax, dtype, below):
    frames = (stack().astype(int) - below).astype(dtype)
    content = to_bytes(enhanced(frames, syntax=syntax))
    assert np.array_equal(pixels_of(content, range(4)), frames)


@pytest.mark.parametrize("syntax", CODECS, ids=lambda syntax: syntax.name[:20])
def test_frames_of_codecs(syntax):
    frames = stack()
    content = to_bytes(compress_frames(enhanced(frames), frames, syntax))
    assert np.array_equal(pixels_of(content, range(4)), frames)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_frames_come_in_the_order_asked_for(syntax):
    frames = stack()
    image = enhanced(frames)
    if syntax == RLELossless:
        compress_frames(image, frames, syntax)
    found = pixels_of(to_bytes(image), (2, 0, 2))
    assert np.array_equal(found, frames[[2, 0, 2]])


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("frame", [-1, 4])
def test_a_frame_that_is_not_there_is_unreadable(syntax, frame):
    frames = stack()
    image = enhanced(frames)
    if syntax == RLELossless:
        compress_frames(image, frames, syntax)
    with pytest.raises(UnreadablePixelsError):
        pixels_of(to_bytes(image), (frame,))


def test_frames_before_a_damaged_one_are_read():
    frames = stack()
    streams = [codestream(compressed(frame, JPEGLSLossless)) for frame in frames]
    streams[2] = streams[2][: len(streams[2]) // 2]
    image = encapsulated(enhanced(frames), streams, JPEGLSLossless)
    images = read_pixels(io.BytesIO(to_bytes(image)), range(4))
    assert np.array_equal([next(images), next(images)], frames[:2])
    with pytest.raises(UnreadablePixelsError):
        next(images)


class Counting(io.BytesIO):
    """Counts the bytes that are read, and how often."""

    total = times = 0

    def read(self, size=-1):
        content = super().read(size)
        self.total += len(content)
        self.times += 1
        return content


def many(syntax, count):
    frames = stack(count=count, rows=64, columns=64)
    image = enhanced(frames)
    if syntax == JPEGLSLossless:
        encapsulated(image, [codestream(compressed(frames[0], syntax))] * count, syntax)
    return Counting(to_bytes(image)), len(image.PixelData)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_of_many_frames_only_those_asked_for_are_read(syntax):
    content, size = many(syntax, 300)
    assert sum(1 for _ in read_pixels(content, (3, 299))) == 2
    assert size > 1.5e6 and content.total < size / 2


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_each_frame_is_read_once_however_many_there_are(syntax):
    content, size = many(syntax, 300)
    assert sum(1 for _ in read_pixels(content, range(300))) == 300
    assert content.times < 3 * 300 and content.total < 1.5 * size


@pytest.mark.parametrize("rows", [47, 48])
def test_eight_bits_in_big_endian_words_are_put_in_order(rows):
    """Each pair of bytes was written as a word (PS3.5, 8.1.2); frames of an odd size share a word."""
    frames = stack(rows=rows, columns=41).astype(np.uint8)
    image = enhanced(frames, syntax=ExplicitVRBigEndian)
    content = frames.tobytes() + bytes(frames.size % 2)
    image.PixelData = np.frombuffer(content, "<u2").astype(">u2").tobytes()
    assert np.array_equal(pixels_of(to_bytes(image), range(4)), frames)


HTJ2K_GRADIENT = (
    b"|4;u>04YEK0000W0000W00000000000000W0000W0000000000009pH0sl|{2mk^A000XAQUDA90ssL31Ox;?0smY85Fm(<kdTm&"
    b"kdTm&h=_>)WB?Zc0Z(vcZc0!{AXa5^ATTa6HZC(R|BwI*000000Hy!||C7J~D**q0+xC(FZR`Spv;e>W6F>kHfY$y10(1b7gyaCD"
    b"Q~<yL6Tko!V5+L1r^0mrMjA0<<iJ7!?6v^F02Ocm1*RlPlIOsur>8=A03JO&JUl!+JpTQRV0-p4f$X{fzyK`>00q7P0002_|0(I|"
    b">FMd|;(P#p-}imr_kG{@ec$*0cwj;YzhMX-{e&QU_7H*WvjP9v"
)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
def test_high_throughput_jpeg2000(syntax):
    """No encoder is at hand: the codestream holds v = 64 y + 3 x, as OpenJPH wrote it."""
    rows, columns = np.mgrid[:32, :32]
    pixels = (64 * rows + 3 * columns).astype(np.uint16)
    image = encapsulated(dataset(pixels, bits=16), [base64.b85decode(HTJ2K_GRADIENT)], syntax)
    assert np.array_equal(image_of(to_bytes(image)), pixels)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_tiles_of_a_mosaic(syntax):
    volume = stack(count=7)
    image = mosaic(volume)
    if syntax == RLELossless:
        image.compress(syntax, generate_instance_uid=False)
    content = to_bytes(image)
    assert np.array_equal(pixels_of(content, range(7), (48, 40)), volume)
    assert np.array_equal(pixels_of(content, (6, 0), (48, 40)), volume[[6, 0]])
    assert pixels_of(content)[0].shape == (144, 120)


@pytest.mark.parametrize(("tile", "shape"), [(9, (48, 40)), (0, (48, 41)), (0, (144, 121)), (0, (0, 0))])
def test_a_tile_that_is_not_there_is_unreadable(tile, shape):
    with pytest.raises(UnreadablePixelsError):
        pixels_of(to_bytes(mosaic(stack(count=7))), (tile,), shape)


def test_frames_of_an_unexpected_shape_are_unreadable():
    with pytest.raises(UnreadablePixelsError):
        pixels_of(to_bytes(enhanced()), (0,), (24, 20))


@pytest.mark.real_data
def test_real_frames_are_equal_in_all_syntaxes(real_data):
    """The last file lacks nothing but the end mark of its pixel data."""
    folder = real_data / "dicom_edge_cases" / "mr_transfer_syntaxes"
    plain = np.array(pixels_of((folder / "emri_small.dcm").read_bytes(), range(10)))
    assert (plain.shape, plain.dtype, plain.max() > plain.min()) == ((10, 64, 64), np.uint16, True)
    for name in ("RLE", "big_endian", "jpeg_2k_lossless", "jpeg_ls_lossless", "jpeg_2k_lossless_too_short"):
        twin = pixels_of((folder / f"emri_small_{name}.dcm").read_bytes(), range(10))
        assert np.array_equal(twin, plain)
