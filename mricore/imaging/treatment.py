"""What becomes of each DICOM attribute: all are removed but those named here (PS3.15, turned around)."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.datadict import keyword_for_tag, tag_for_keyword

PSEUDONYM = "replaced by a keyed pseudonym"
LOOKED_UP = "looked up in the table of exams as a keyed pseudonym, then removed"
CATEGORY = "decides about a category of a closed list, then removed"
NUMBER = "kept as a number of physics"
IMAGE = "needed to decode the pixels, of which the integers are kept"
REMOVED = "removed"
PRIVATE = "private attributes"
UNKNOWN = "attributes that no dictionary knows"

_TREATMENTS = {
    PSEUDONYM: "PatientID IssuerOfPatientID StudyInstanceUID SeriesInstanceUID SOPInstanceUID "
    "MediaStorageSOPInstanceUID StackID",
    LOOKED_UP: "AccessionNumber",
    CATEGORY: "BodyPartExamined StudyDescription SeriesDescription ProtocolName "
    "RequestedProcedureDescription PerformedProcedureStepDescription RequestAttributesSequence "
    "ScheduledProcedureStepDescription AnatomicRegionSequence CodeMeaning ReceiveCoilName "
    "RecognizableVisualFeatures BurnedInAnnotation ConversionType Manufacturer ManufacturerModelName "
    "ImageType FrameType ComplexImageComponent ScanningSequence EchoPulseSequence InversionRecovery "
    "EchoPlanarPulseSequence SequenceName SOPClassUID "
    "MediaStorageSOPClassUID Modality",
    NUMBER: "MagneticFieldStrength RepetitionTime EchoTime EffectiveEchoTime EchoNumbers InversionTime "
    "InversionTimes FlipAngle DiffusionBValue TemporalPositionIdentifier TemporalPositionIndex "
    "TriggerTime NominalCardiacTriggerDelayTime CardiacSynchronizationSequence "
    "AcquisitionNumber FrameAcquisitionNumber InstanceNumber DimensionIndexPointer DimensionIndexValues "
    "DimensionIndexSequence ImageOrientationPatient ImagePositionPatient PixelSpacing SliceThickness "
    "SpacingBetweenSlices RescaleSlope RescaleIntercept PixelPaddingValue PixelPaddingRangeLimit "
    "SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence "
    "UnassignedSharedConvertedAttributesSequence UnassignedPerFrameConvertedAttributesSequence "
    "FrameContentSequence PlanePositionSequence PlaneOrientationSequence PixelMeasuresSequence "
    "PixelValueTransformationSequence FrameAnatomySequence TemporalPositionSequence "
    "MRImageFrameTypeSequence MRTimingAndRelatedParametersSequence MREchoSequence MRModifierSequence "
    "MRReceiveCoilSequence MRDiffusionSequence",
    IMAGE: "Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored "
    "HighBit PixelRepresentation PixelData TransferSyntaxUID SpecificCharacterSet",
}
_OF_KEYWORD = {keyword: kind for kind, keywords in _TREATMENTS.items() for keyword in keywords.split()}


def treatment(keyword: str) -> str:
    """What becomes of an attribute; a sequence shares it with all that it contains."""
    return _OF_KEYWORD.get(keyword, REMOVED)


def tag_of(name: str) -> str:
    """The tag of a keyword as DICOM writes it, (0010,0010); empty for a name that stands for many."""
    tag = tag_for_keyword(name)
    return "" if tag is None else f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def attribute_names(tags: Iterable[int]) -> set[str]:
    """Keywords of attributes; private and unknown ones under one name each, as theirs may tell anything."""
    return {_name(tag) for tag in tags}


def _name(tag: int) -> str:
    if tag >> 16 & 1:
        return PRIVATE
    return keyword_for_tag(tag) or UNKNOWN
