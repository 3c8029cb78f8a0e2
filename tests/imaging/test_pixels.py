"""Pixels: every transfer syntax bit by bit, sign and unused bits, damage that must not pass as an image."""

import io
import pickle
import tempfile
from pathlib import Path

import gdcm
import numpy as np
import pydicom
import pytest
from dicom_files import dataset, ramp, stream, to_bytes
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from mricore.imaging.pixels import UnreadablePixelsError, read_pixels
from mricore.records import Reason

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


def compressed(pixels, syntax, bits=12):
    """A dataset compressed by pydicom's codecs, or by gdcm where pydicom has none."""
    image = dataset(pixels, bits=bits)
    if syntax in (JPEGLosslessSV1, JPEGExtended12Bit):
        return _compressed_by_gdcm(image, syntax)
    image.compress(syntax, generate_instance_uid=False)
    return image


def _compressed_by_gdcm(image, syntax):
    kinds = {
        JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        JPEGExtended12Bit: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
    }
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain"), Path(folder, "packed")
        plain.write_bytes(to_bytes(image))
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(kinds[syntax]))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return pydicom.dcmread(packed)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.uint16, 12), (np.uint16, 16), (np.int16, 16), (np.int16, 12)]
)
def test_plain_syntaxes(syntax, dtype, bits):
    pixels = texture(dtype, bits)
    found = read_pixels(stream(dataset(pixels, syntax, bits)))
    assert found.dtype == dtype and np.array_equal(found, pixels)


def test_big_endian():
    pixels = texture(np.int16, 16)
    image = dataset(pixels, ExplicitVRBigEndian, 16, PixelData=pixels.astype(">i2").tobytes())
    assert np.array_equal(read_pixels(stream(image)), pixels)


@pytest.mark.parametrize("syntax", CODECS, ids=lambda syntax: syntax.name[:20])
@pytest.mark.parametrize(("dtype", "bits"), [(np.uint16, 12), (np.uint16, 16), (np.int16, 16)])
def test_lossless_codecs_are_bit_exact(syntax, dtype, bits):
    pixels = texture(dtype, bits)
    found = read_pixels(stream(compressed(pixels, syntax, bits)))
    assert found.dtype == dtype and np.array_equal(found, pixels)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_eight_bits_are_widened(syntax):
    pixels = np.arange(64 * 80, dtype=np.uint8).reshape(64, 80)
    image = dataset(pixels, bits=8)
    if syntax == RLELossless:
        image.compress(syntax, generate_instance_uid=False)
    found = read_pixels(stream(image))
    assert found.dtype == np.uint16 and np.array_equal(found, pixels)


def test_lossy_jpeg_of_twelve_bits():
    pixels = texture()
    image = compressed(pixels, JPEGExtended12Bit)
    assert image.file_meta.TransferSyntaxUID == JPEGExtended12Bit
    found = read_pixels(stream(image)).astype(int)
    assert np.abs(found - pixels).mean() < 40 and np.corrcoef(found.ravel(), pixels.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_twelve_bit_jpeg_of_pydicom(name):
    """The two pixels that pydicom's own tests look at."""
    with open(get_testdata_file(name, download=False), "rb") as file:  # noqa: PTH123
        pixels = read_pixels(file)
    assert (pixels[420, 140], pixels[230, 120]) == (244, 95)


def test_overlays_in_high_bits_do_not_survive():
    pixels = ramp()
    overlay = np.zeros_like(pixels)
    overlay[10:20] = 0xF000
    image = dataset(pixels, PixelData=(pixels | overlay).tobytes())
    image.add_new(0x60000102, "US", 12)  # overlay bit position
    assert np.array_equal(read_pixels(stream(image)), pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_values_that_do_not_fit_into_the_stored_bits_are_damage(dtype):
    """Without an overlay in the file nothing explains them; cut off they would be other intensities."""
    image = dataset(ramp(top=5000).astype(dtype), bits=12)
    with pytest.raises(UnreadablePixelsError):
        read_pixels(stream(image))


def test_sign_comes_from_the_stored_bits():
    """12 signed bits in 16: bit 11 is the sign, whatever stands above."""
    pixels = texture(np.int16, 12)
    image = dataset(pixels, PixelData=(pixels & 0x0FFF).astype(np.uint16).tobytes())
    assert np.array_equal(read_pixels(stream(image)), pixels)


def test_stored_bits_at_the_top_of_the_word():
    pixels = ramp()
    image = dataset(pixels, PixelData=(pixels << 4 | 0b1010).tobytes(), HighBit=15)
    assert np.array_equal(read_pixels(stream(image)), pixels)


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.uint16, 12), (np.uint16, 16), (np.int16, 12), (np.int16, 16)]
)
def test_monochrome1_is_turned_around_inside_the_stored_range(dtype, bits):
    pixels = texture(dtype, bits)
    found = read_pixels(stream(dataset(pixels, bits=bits, PhotometricInterpretation="MONOCHROME1")))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if dtype is np.int16 else (0, 2**bits - 1)
    assert found.dtype == dtype and found[0, 0] == high and found[1, 1] == low
    assert np.array_equal(found.astype(int) + pixels, np.full(pixels.shape, low + high))


def unreadable(content):
    with pytest.raises(UnreadablePixelsError) as error:
        read_pixels(io.BytesIO(content))
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
    codestream = next(generate_frames(image.PixelData, number_of_frames=1)).rstrip(b"\0")
    image.PixelData = encapsulate([codestream[: int(len(codestream) * kept)]])
    assert unreadable(to_bytes(image))


@pytest.mark.parametrize("padding", [b"\0", b"\xff", b"\0\0\0"])
def test_padding_after_the_codestream_is_no_damage(padding):
    pixels = texture()
    image = compressed(pixels, JPEGLSLossless)
    codestream = next(generate_frames(image.PixelData, number_of_frames=1)).rstrip(b"\0")
    image.PixelData = encapsulate([codestream + padding])
    assert np.array_equal(read_pixels(stream(image)), pixels)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PixelData": None},
        {"Rows": None},
        {"Rows": 0},
        {"BitsStored": 0},
        {"BitsStored": None},
        {"NumberOfFrames": 2, "Rows": 32},
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
            assert read_pixels(io.BytesIO(bytes(bad))).shape == (64, 80)
        except UnreadablePixelsError as error:
            assert error.reason is Reason.UNREADABLE_PIXELS
    capfd.readouterr()  # the codecs' own complaints


def real_pixels(folder, name):
    return read_pixels(io.BytesIO((folder / name).read_bytes()))


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
        read_pixels(open(get_testdata_file(f"{one}.dcm", download=False), "rb"))  # noqa: PTH123, SIM115
        for one in ("MR_small", name)
    )
    assert np.array_equal(plain, twin) and (plain.min(), plain.max()) == (127, 2145)


@pytest.mark.real_data
def test_a_real_cut_jpeg2000_is_unreadable(real_data):
    folder = real_data / "dicom_edge_cases" / "mr_transfer_syntaxes"
    content = (folder / "emri_small_jpeg_2k_lossless_too_short.dcm").read_bytes()
    assert unreadable(content)
