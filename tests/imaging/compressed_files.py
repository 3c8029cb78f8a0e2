"""MR images and multi-frame objects in compressed transfer syntaxes."""

import tempfile
from pathlib import Path

import gdcm
import pydicom
from dicom_files import dataset, to_bytes
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGExtended12Bit, JPEGLosslessSV1

_BY_GDCM = {
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
    JPEGExtended12Bit: gdcm.TransferSyntax.JPEGExtendedProcess2_4,
}


def compressed(pixels, syntax, bits=12):
    """A single-frame dataset compressed by pydicom's codecs, or by gdcm where pydicom has none."""
    image = dataset(pixels, bits=bits)
    if syntax in _BY_GDCM:
        return encapsulated(image, [_by_gdcm(image, syntax)], syntax)
    image.compress(syntax, generate_instance_uid=False)
    return image


def compress_frames(image, pixels, syntax, bits=12):
    """Compress the frames (frame, row, column) of a multi-frame dataset one by one."""
    return encapsulated(image, [codestream(compressed(frame, syntax, bits)) for frame in pixels], syntax)


def encapsulated(image, codestreams, syntax):
    """The dataset with these compressed frames."""
    image.PixelData = encapsulate(codestreams)
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = syntax
    return image


def codestream(image):
    """The codestream of a single-frame dataset, padding included."""
    return next(generate_frames(image.PixelData, number_of_frames=1))


def _by_gdcm(image, syntax):
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder, "plain"), Path(folder, "packed")
        plain.write_bytes(to_bytes(image))
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(_BY_GDCM[syntax]))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return codestream(pydicom.dcmread(packed))
