"""How and where one MR image was acquired, from its attributes; those of functional groups among them."""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import Any

from mricore.imaging.attributes import integer, number, numbers, private_number, tag_of, text, words
from mricore.imaging.elements import Elements
from mricore.imaging.multiframe import Dimensions

MAX_B_VALUE = 100_000.0
_LARGEST_MARKED_B_VALUE = 1e10
_PRIVATE_B_VALUES = (
    (0x0019, "SIEMENS MR HEADER", 0x0C, "IS"),
    (0x0043, "GEMS_PARM_01", 0x39, "IS"),
    (0x2001, "Philips Imaging DD 001", 0x03, "FL"),
    (0x2001, "PHILIPS IMAGING DD 001", 0x03, "FL"),
    (0x0065, "Image Private Header", 0x0A, "FD"),
)
"""Group, creator, element and value representation of the vendors' b-values."""
_NAMED_B_VALUE = re.compile(r"\*?ep_b(\d{1,5})(?!\d)")
_REQUEST = tag_of("RequestAttributesSequence")
_REGION = tag_of("AnatomicRegionSequence")
_MOST_ITEMS = 16
_REQUESTED = ("RequestedProcedureDescription", "ScheduledProcedureStepDescription")
_COMPONENTS = {"MAGNITUDE", "PHASE", "REAL", "IMAGINARY"}
_PULSES = {"SPIN": ("SE",), "GRADIENT": ("GR",), "BOTH": ("SE", "GR")}
"""ScanningSequence of classic images by EchoPulseSequence."""
_FIELDS = (0.01, 25.0)
"""Tesla."""
_TIMES = (0.0, 1e5)
_ECHO_TIMES = (0.0, 1e4)
_TRIGGER_TIMES = (0.0, 1e6)
"""Milliseconds."""
_ANGLES = (0.0, 360.0)
_LARGEST_RESCALE = 1e12


def acquisition(frame: Elements, dimensions: Dimensions) -> dict[str, Any]:
    """Fields of ``FrameHeader`` that may differ between the frames of a file.

    Slope and intercept are NaN if what the file tells of them is nonsense.
    """
    slope, intercept = _rescale(frame)
    return {
        "image_type": _image_type(frame),
        "procedures": _procedures(frame),
        "coil": text(frame, "ReceiveCoilName"),
        "field_strength": _within(_FIELDS, _tesla(number(frame, "MagneticFieldStrength"))),
        "repetition_time": _within(_TIMES, number(frame, "RepetitionTime")),
        "echo_time": _within(_ECHO_TIMES, _first_number(frame, "EffectiveEchoTime", "EchoTime")),
        "inversion_time": _within(_TIMES, _first_number(frame, "InversionTimes", "InversionTime")),
        "flip_angle": _within(_ANGLES, number(frame, "FlipAngle")),
        "b_value": _b_value(frame),
        "scanning_sequence": _scanning_sequence(frame),
        "echo_number": integer(frame, "EchoNumbers"),
        "temporal_position": _temporal_position(frame, dimensions),
        "trigger_time": _within(_TRIGGER_TIMES, _trigger_time(frame)),
        "stack": _stack(frame, dimensions),
        "acquisition_number": _first_integer(frame, "FrameAcquisitionNumber", "AcquisitionNumber"),
        "orientation": numbers(frame, "ImageOrientationPatient"),
        "position": numbers(frame, "ImagePositionPatient"),
        "spacing": numbers(frame, "PixelSpacing"),
        "slope": slope,
        "intercept": intercept,
    }


def _image_type(frame: Elements) -> tuple[str, ...]:
    """The type of the frame, or of the file, and the component of the complex image."""
    told = words(frame, "FrameType") or words(frame, "ImageType")
    component = text(frame, "ComplexImageComponent").upper()
    return (*told, component) if component in _COMPONENTS and component not in told else told


def _procedures(frame: Elements) -> str:
    """What the performed procedure, the request and the coded anatomic regions say."""
    found = [text(frame, "PerformedProcedureStepDescription")]
    for item in islice(frame.items(_REQUEST), _MOST_ITEMS):
        found += [text(item, name) for name in _REQUESTED]
    for item in islice(frame.items(_REGION), _MOST_ITEMS):
        found.append(text(item, "CodeMeaning"))
    return " / ".join(part for part in dict.fromkeys(found) if part)


def _scanning_sequence(frame: Elements) -> tuple[str, ...]:
    """The words of a classic image, also where Enhanced attributes say the same."""
    found = [*words(frame, "ScanningSequence")]
    found += _PULSES.get(text(frame, "EchoPulseSequence").upper(), ())
    for keyword, word in (("InversionRecovery", "IR"), ("EchoPlanarPulseSequence", "EP")):
        found += [word] if text(frame, keyword).upper() == "YES" else []
    return tuple(dict.fromkeys(found))


def _temporal_position(frame: Elements, dimensions: Dimensions) -> int | None:
    found = _first_integer(frame, "TemporalPositionIndex", "TemporalPositionIdentifier")
    return dimensions.index(frame, "TemporalPositionIndex") if found is None else found


def _trigger_time(frame: Elements) -> float:
    nominal = number(frame, "NominalCardiacTriggerDelayTime")
    return nominal if math.isfinite(nominal) else number(frame, "TriggerTime")


def _stack(frame: Elements, dimensions: Dimensions) -> str:
    return text(frame, "StackID") or str(dimensions.index(frame, "StackID") or "")


def _first_number(frame: Elements, *keywords: str) -> float:
    """The first positive number; some writers fill in zeros for what they do not know."""
    found = [value for value in (number(frame, keyword) for keyword in keywords) if math.isfinite(value)]
    return next((value for value in found if value > 0), found[0] if found else math.nan)


def _first_integer(frame: Elements, *keywords: str) -> int | None:
    found = (integer(frame, keyword) for keyword in keywords)
    return next((value for value in found if value is not None), None)


def _within(limits: tuple[float, float], value: float) -> float:
    """NaN for what no scanner does: a number that is none of physics may be one of a patient."""
    return value if limits[0] <= value <= limits[1] else math.nan


def _rescale(frame: Elements) -> tuple[float, float]:
    """Slope and intercept, 1 and 0 where there are none; NaN if nothing could be rescaled by them."""
    slope = number(frame, "RescaleSlope") if text(frame, "RescaleSlope") else 1.0
    intercept = number(frame, "RescaleIntercept") if text(frame, "RescaleIntercept") else 0.0
    if not (slope and abs(slope) < _LARGEST_RESCALE and abs(intercept) < _LARGEST_RESCALE):
        return math.nan, math.nan
    return slope, intercept


def _tesla(field: float) -> float:
    """Some scanners write gauss."""
    return field / 1e4 if field > 100 else field


def _b_value(frame: Elements) -> float:
    """Diffusion b-value in s/mm2: the standard attribute, the vendor's private one, or Siemens' ep_b800."""
    found = number(frame, "DiffusionBValue")
    for place in _PRIVATE_B_VALUES:
        if math.isfinite(found):
            break
        found = private_number(frame, *place)
    named = _NAMED_B_VALUE.match(text(frame, "SequenceName"))
    if math.isnan(found) and named:  # all that is left where private attributes were removed
        found = float(named[1])
    if not 0 <= found < _LARGEST_MARKED_B_VALUE:
        return math.nan
    plain = found % 1e9  # GE adds 1e9 to mark the kind of diffusion image
    return plain if plain <= MAX_B_VALUE else math.nan
