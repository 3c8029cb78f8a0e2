"""Multi-frame objects (PS3.3, C.7.6.16): the attributes of each frame, wherever the file keeps them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice

from mricore.imaging.attributes import numbers, tag_of
from mricore.imaging.elements import Elements

MAX_DIMENSIONS = 64
_SHARED = tag_of("SharedFunctionalGroupsSequence")
_PER_FRAME = tag_of("PerFrameFunctionalGroupsSequence")
_DIMENSIONS = tag_of("DimensionIndexSequence")
_MACROS = tuple(
    map(
        tag_of,
        (
            "UnassignedSharedConvertedAttributesSequence",
            "UnassignedPerFrameConvertedAttributesSequence",
            "FrameContentSequence",
            "PlanePositionSequence",
            "PlaneOrientationSequence",
            "PixelMeasuresSequence",
            "PixelValueTransformationSequence",
            "FrameAnatomySequence",
            "TemporalPositionSequence",
            "CardiacSynchronizationSequence",
            "MRImageFrameTypeSequence",
            "MRTimingAndRelatedParametersSequence",
            "MREchoSequence",
            "MRModifierSequence",
            "MRReceiveCoilSequence",
            "MRDiffusionSequence",
        ),
    )
)
"""Functional groups; what a later one says counts more. The first two hold classic attributes."""
_PHILIPS = (0x2005, "Philips MR Imaging DD 005", 0x0F)
"""The classic header of a frame."""
_FROM_PHILIPS = {tag_of("ScanningSequence"), tag_of("EchoNumbers")}
_PHILIPS_GROUP = 0x2001


def has_functional_groups(header: Elements) -> bool:
    """Whether a file keeps attributes frame by frame."""
    return _SHARED in header or _PER_FRAME in header


def frame_attributes(header: Elements, count: int) -> Iterator[Elements]:
    """For each of ``count`` frames, in stored order, all its attributes in one flat data set.

    A frame's own functional groups come first, then those that all frames share, then the file's attributes.

    Raises:
        ValueError: the file has functional groups for another number of frames.
    """
    shared = next(header.items(_SHARED), None)
    common = header if shared is None else _flat(shared).over(header)
    found = 0
    for groups in islice(header.items(_PER_FRAME), count + 1):
        found += 1
        yield _flat(groups).over(common)
    if found == 0 and count == 1:
        yield common
    elif found != count:
        raise ValueError("frames and functional groups disagree")


def _flat(groups: Elements) -> Elements:
    flat = groups.first_items(_MACROS)
    private = groups.private(*_PHILIPS)
    vendors = next(groups.items(private), None) if private is not None else None
    if vendors is None:
        return flat
    return flat.over(vendors.only(lambda tag: tag in _FROM_PHILIPS or tag >> 16 == _PHILIPS_GROUP))


class Dimensions:
    """What the positions in DimensionIndexValues mean; files may say there alone how frames differ."""

    def __init__(self, header: Elements) -> None:
        pointer = tag_of("DimensionIndexPointer")
        items = islice(header.items(_DIMENSIONS), MAX_DIMENSIONS)
        self._tags = [_tag(item.raw(pointer, 4), item.order) for item in items]

    def index(self, frame: Elements, keyword: str) -> int | None:
        """The index of a frame along the dimension of an attribute; None if there is no such dimension."""
        tag = tag_of(keyword)
        values = numbers(frame, "DimensionIndexValues")
        found = (value for value, dimension in zip(values, self._tags, strict=False) if dimension == tag)
        return next((int(value) for value in found), None)


def _tag(content: bytes, order: str) -> int:
    if len(content) < 4:
        return 0
    group, element = struct.unpack(f"{order}HH", content)
    return int(group << 16 | element)
