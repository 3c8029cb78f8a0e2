"""Enhanced (multi-frame) MR objects as DICOM datasets."""

import numpy as np
from dicom_files import AXIAL, dataset
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_CONVERTED_MR = "1.2.840.10008.5.1.4.1.1.4.4"
_CLASSIC = (
    *(
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "PixelSpacing",
        "SliceThickness",
        "ScanningSequence",
    ),
    *("RepetitionTime", "EchoTime", "FlipAngle"),
)
"""Attributes that an Enhanced object keeps in functional groups."""


def enhanced(pixels=None, per_frame=(), shared=None, syntax=ExplicitVRLittleEndian, **attributes):
    """A valid Enhanced MR object of frames (frame, row, column); keywords set attributes, None deletes one.

    ``per_frame`` has the functional groups of each frame, ``shared`` those of all: nested dictionaries by
    keyword. A frame without any lies 3 mm behind the one before; ``shared=None`` is an axial orientation with
    1 mm pixels.
    """
    pixels = stack() if pixels is None else pixels
    per_frame = per_frame or [at(0, 0, 3 * k) for k in range(len(pixels))]
    image = dataset(pixels[0], syntax)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    image.PixelData = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    image.NumberOfFrames = len(pixels)
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = ENHANCED_MR
    for keyword in _CLASSIC:
        delattr(image, keyword)
    image.SharedFunctionalGroupsSequence = [item(axial() if shared is None else shared)]
    image.PerFrameFunctionalGroupsSequence = [item(groups) for groups in per_frame]
    for keyword, value in attributes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    image["PixelData"].VR = "OW"
    return image


def stack(count=4, rows=48, columns=40, seed=0):
    """Frames of noise in 12 bits, (count, rows, columns)."""
    return np.random.default_rng(seed).integers(0, 4096, (count, rows, columns)).astype(np.uint16)


def at(x, y, z, **groups):
    """The functional groups of a frame at a position (mm), and further ones."""
    return {"PlanePositionSequence": {"ImagePositionPatient": [x, y, z]}, **groups}


def axial(**groups):
    """The functional groups of an axial orientation with pixels of 1 x 1 mm, and further ones."""
    return {
        "PlaneOrientationSequence": {"ImageOrientationPatient": list(AXIAL)},
        "PixelMeasuresSequence": {"PixelSpacing": [1, 1], "SliceThickness": 3},
        **groups,
    }


def item(values):
    """A dataset from nested dictionaries: one is a sequence of one item, a list of them of several."""
    made = Dataset()
    for keyword, value in values.items():
        several = isinstance(value, list) and value and isinstance(value[0], dict)
        items = value if several else [value] if isinstance(value, dict) else None
        setattr(made, keyword, value if items is None else [item(one) for one in items])
    return made


def with_undefined_lengths(image):
    """The same dataset with all its sequences and items written without lengths."""
    for element in image.iterall():
        if element.VR == "SQ":
            element.is_undefined_length = True
            for one in element.value:
                one.is_undefined_length_sequence_item = True
    return image
