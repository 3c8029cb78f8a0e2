"""Images of which no header tells what they are, but somebody who declares it: frames, volumes, faces."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from mricore.config.curation import Curation
from mricore.imaging.anatomy import FACE_BEARING, LOCATIONS, UNKNOWN
from mricore.imaging.frames import Frame
from mricore.imaging.geometry import normal
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.sequences import SEQUENCES, VENDORS
from mricore.imaging.volumes import Volume
from mricore.records import Reason

EVIDENCE = "TaskDeclaration"
"""What a category rests on that no header told."""
NO_EVIDENCE = "none"
ORIENTATIONS: Mapping[str, tuple[float, ...]] = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
}
"""Directions of a row and of a column of slices that lie exactly in a plane, as people look at them."""
VOCABULARIES: Mapping[str, tuple[str, ...]] = {
    "location": LOCATIONS,
    "sequence": SEQUENCES,
    "vendor": VENDORS,
}


@dataclass(frozen=True)
class Declared:
    """Words of closed vocabularies, "unknown" where nothing is declared; ``shows_face`` is None then.

    ``plane`` is a key of ``ORIENTATIONS``.
    """

    location: str = UNKNOWN
    sequence: str = UNKNOWN
    vendor: str = UNKNOWN
    plane: str = UNKNOWN
    shows_face: bool | None = None

    def filled_in(self, frame: Frame) -> Frame:
        """A frame with what is declared where its header tells nothing."""
        for name in VOCABULARIES:
            declared = getattr(self, name)
            if getattr(frame, name) == UNKNOWN and declared != UNKNOWN:
                frame = replace(frame, **{name: declared, f"{name}_evidence": EVIDENCE})
        return frame


@dataclass(frozen=True, repr=False)
class Grid:
    """Evenly spaced slices of one size.

    ``spacing`` is from slice to slice, row to row and column to column (mm).
    ``orientation`` is the direction of a row, then of a column; empty if nothing tells. real = ``slope`` *
    stored + ``intercept``. ``content`` is a digest of all pixels.
    """

    content: str
    shape: tuple[int, ...]
    spacing: tuple[float, float, float]
    orientation: tuple[float, ...]
    slope: float
    intercept: float


def word_of(vocabulary: str, text: str) -> str:
    """The word of a vocabulary that a text is, whatever its case; "unknown" if it is none."""
    return next((word for word in VOCABULARIES[vocabulary] if word.lower() == text.lower()), UNKNOWN)


def face_reason(locations: Collection[str], declared: Declared, policy: Curation) -> Reason | None:
    """Why the policy leaves out images of these locations.

    Declared not to show a face, neither anatomy that else does nor unknown anatomy stays out; declared to
    show one, they are of a face, wherever they are.
    """
    shown = {*locations, "face"} if declared.shows_face else set(locations)
    faceless = declared.shows_face is False
    if shown & (set(policy.exclude_locations) - (FACE_BEARING if faceless else frozenset())):
        return Reason.FACIAL_ANATOMY
    if shown <= {UNKNOWN} and policy.unknown_location == "exclude" and not faceless:
        return Reason.UNKNOWN_ANATOMY
    return None


def declared_volume(
    grid: Grid, patient: Sequence[str], declared: Declared, pseudonymizer: Pseudonymizer
) -> Volume:
    """A volume of frames that count its slices; ``patient`` are texts by which the patient is known.

    Pseudonyms of all but the patient are of the pixels, so that files may be renamed and moved.
    """
    name = pseudonymizer.pseudonym
    first = replace(
        _BLANK,
        series_id=name("series", "content", grid.content),
        exam_id=name("exam", "content", grid.content),
        patient_id=name("patient", "declared", *patient),
        orientation=grid.orientation,
        spacing=grid.spacing[1:],
        rows=grid.shape[1],
        columns=grid.shape[2],
        slope=grid.slope,
        intercept=grid.intercept,
    )
    told = declared.filled_in(first)
    frames = (
        replace(
            told,
            file=index,
            slice_id=name("slice", "content", grid.content, str(index)),
            position=_position(grid, index),
        )
        for index in range(grid.shape[0])
    )
    return Volume(tuple((frame,) for frame in frames), grid.spacing[0])


def _position(grid: Grid, index: int) -> tuple[float, ...]:
    if not grid.orientation:
        return ()
    return tuple(index * grid.spacing[0] * along for along in normal(grid.orientation))


_BLANK = Frame(
    file=0,
    frame=0,
    slice_id="",
    series_id="",
    exam_id="",
    patient_id="",
    accession_key="",
    study_key="",
    series_key="",
    protocol="",
    reason="",
    location=UNKNOWN,
    location_evidence=NO_EVIDENCE,
    sequence=UNKNOWN,
    sequence_evidence=NO_EVIDENCE,
    vendor=UNKNOWN,
    vendor_evidence=NO_EVIDENCE,
    field_strength=math.nan,
    repetition_time=math.nan,
    echo_time=math.nan,
    inversion_time=math.nan,
    flip_angle=math.nan,
    b_value=math.nan,
    component="",
    stack="",
    echo_number=None,
    temporal_position=None,
    trigger_time=math.nan,
    acquisition_number=None,
    instance_number=None,
    orientation=(),
    position=(),
    spacing=(),
    rows=0,
    columns=0,
    slope=1.0,
    intercept=0.0,
    padding=(),
)
"""An image of which nothing is known."""
