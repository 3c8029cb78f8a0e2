"""The only bridge from a header to what is kept: keyed pseudonyms and an explicit allow-list.

In the spirit of DICOM PS3.15's basic profile, but turned around: nothing passes unless it is named here.
"""

from __future__ import annotations

from collections.abc import Collection

from mricore.config.curation import Curation
from mricore.imaging.anatomy import LOCATION_EVIDENCES, LOCATIONS, Finding, locate
from mricore.imaging.components import component
from mricore.imaging.exclusions import frame_reason
from mricore.imaging.frames import Frame
from mricore.imaging.geometry import plane
from mricore.imaging.headers import FrameHeader
from mricore.imaging.protocols import has_excluded_words, protocol_of
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.sequences import (
    SEQUENCE_EVIDENCES,
    SEQUENCES,
    VENDOR_EVIDENCES,
    VENDORS,
    sequence_type,
    vendor,
)
from mricore.imaging.volumes import Volume
from mricore.records import Intensity, Pixels, Reason, SliceRecord

LARGEST_COUNT = 1_000_000


def frame_of(header: FrameHeader, file: int, policy: Curation, pseudonymizer: Pseudonymizer) -> Frame:
    """What may be kept of a header: pseudonyms, words of closed vocabularies, numbers of physics.

    Free text decides about categories here and goes no further.

    Raises:
        ValueError: a category or its evidence is not a word of its closed vocabulary.
    """
    name = pseudonymizer.pseudonym
    place, kind, maker = locate(header), sequence_type(header), vendor(header)
    _require_closed(place, LOCATIONS, LOCATION_EVIDENCES)
    _require_closed(kind, SEQUENCES, SEQUENCE_EVIDENCES)
    _require_closed(maker, VENDORS, VENDOR_EVIDENCES)
    series = (header.patient_key, header.study_uid, header.series_uid)
    return Frame(
        file=file,
        frame=header.frame,
        slice_id=name("slice", *series, header.sop_uid, str(header.frame)),
        series_id=name("series", *series),
        exam_id=name("exam", header.patient_key, header.study_uid),
        patient_id=name("patient", header.patient_key),
        accession_key=pseudonymizer.exam_key(header.accession) if header.accession else "",
        study_key=pseudonymizer.exam_key(header.study_uid),
        series_key=name("key", header.series_uid),
        protocol=_protocol(header, place, policy, pseudonymizer),
        reason=str(_reason(header, policy) or ""),
        location=place.value,
        location_evidence=place.evidence,
        sequence=kind.value,
        sequence_evidence=kind.evidence,
        vendor=maker.value,
        vendor_evidence=maker.evidence,
        field_strength=header.field_strength,
        repetition_time=header.repetition_time,
        echo_time=header.echo_time,
        inversion_time=header.inversion_time,
        flip_angle=header.flip_angle,
        b_value=header.b_value,
        component=component(header.image_type),
        stack=name("stack", header.stack) if header.stack else "",
        echo_number=header.echo_number,
        temporal_position=header.temporal_position,
        trigger_time=header.trigger_time,
        acquisition_number=_small(header.acquisition_number),
        instance_number=header.instance_number,
        orientation=header.orientation,
        position=header.position,
        spacing=header.spacing,
        rows=header.rows,
        columns=header.columns,
        slope=header.slope,
        intercept=header.intercept,
        padding=header.padding or (),
    )


def slice_record(
    frame: Frame,
    volume: Volume,
    index: int,
    pixels: Pixels,
    slice_intensity: Intensity,
    volume_intensity: Intensity,
    pseudonymizer: Pseudonymizer,
) -> SliceRecord:
    """A slice as it is stored, from what is known of its image and its volume."""
    return SliceRecord(
        slice_id=frame.slice_id,
        volume_id=volume_id(volume, pseudonymizer),
        exam_id=frame.exam_id,
        patient_id=frame.patient_id,
        index=index,
        slices_in_volume=len(volume.slices),
        pixels=pixels,
        slope=frame.slope,
        intercept=frame.intercept,
        spacing_row=frame.spacing[0],
        spacing_column=frame.spacing[1],
        spacing_slice=volume.spacing_slice,
        slice_intensity=slice_intensity,
        volume_intensity=volume_intensity,
        location=frame.location,
        location_evidence=frame.location_evidence,
        sequence=frame.sequence,
        sequence_evidence=frame.sequence_evidence,
        plane=plane(frame.orientation),
        vendor=frame.vendor,
        vendor_evidence=frame.vendor_evidence,
        field_strength=frame.field_strength,
        repetition_time=frame.repetition_time,
        echo_time=frame.echo_time,
        inversion_time=frame.inversion_time,
        flip_angle=frame.flip_angle,
        b_value=frame.b_value,
    )


def volume_id(volume: Volume, pseudonymizer: Pseudonymizer) -> str:
    """The pseudonym of a volume: of the set of its slices, so that another slice makes another volume."""
    return pseudonymizer.pseudonym("volume", *sorted(copies[0].slice_id for copies in volume.slices))


def _small(number: int | None) -> int | None:
    """A count; what is larger than any may be a date."""
    return number if number is not None and abs(number) < LARGEST_COUNT else None


def _require_closed(finding: Finding, values: Collection[str], evidences: Collection[str]) -> None:
    if finding.value not in values or finding.evidence not in evidences:
        raise ValueError("a category and its evidence must be words of their closed vocabularies")


def _reason(header: FrameHeader, policy: Curation) -> Reason | None:
    texts = (
        header.body_part,
        header.study_description,
        header.series_description,
        header.protocol_name,
        header.requested_procedure,
        header.procedures,
    )
    if has_excluded_words(texts, policy):
        return Reason.EXCLUDED_WORDS
    return frame_reason(header, policy)


def _protocol(header: FrameHeader, place: Finding, policy: Curation, pseudonymizer: Pseudonymizer) -> str:
    """The policy's name of the protocol; a pseudonym of the report type if the policy names none.

    An exam without any description is one of its location.
    """
    texts = [text for text in (header.study_description, header.requested_procedure) if text]
    types = (protocol_of(text, policy) for text in texts or [place.value.replace("_", " ")])
    found = next((name for name in types if name), None)
    if policy.protocols:
        return found or ""
    return pseudonymizer.pseudonym("protocol", found or place.value)
