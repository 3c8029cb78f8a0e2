"""The images of a case as curation stores them: integers of 16 bits, and frames that say what they are."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mricore.config.curation import Curation
from mricore.config.task import Source
from mricore.evaluation.tasks import nifti
from mricore.evaluation.tasks.cases import CaseFiles
from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw
from mricore.evaluation.tasks.nifti import Lie
from mricore.evaluation.tasks.reading import digest_of
from mricore.evaluation.tasks.volume import LabelledVolume
from mricore.imaging.declared import ORIENTATIONS, Declared, Grid, declared_volume
from mricore.imaging.deidentify import frame_of
from mricore.imaging.frames import Frame
from mricore.imaging.geometry import PLANES
from mricore.imaging.headers import read_file
from mricore.imaging.integers import to_integers
from mricore.imaging.pixels import UnreadablePixelsError, read_pixels
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.volumes import Volume
from mricore.records import Pixels

_PLAIN = Lie((), 1.0, 0.0)
"""Of files whose headers tell nothing."""


@dataclass(frozen=True, repr=False)
class Images:
    """The slices of a case, with pixels that ``Frame.file`` counts.

    ``volume`` is None where positions of DICOM slices have yet to tell what forms one. ``is_exact`` is false
    if decimal numbers were rounded.
    """

    frames: tuple[Frame, ...]
    pixels: Sequence[Pixels]
    volume: Volume | None
    is_exact: bool = True


def images_of(
    volume: LabelledVolume,
    files: CaseFiles,
    source: Source,
    declared: Declared,
    policy: Curation,
    pseudonymizer: Pseudonymizer,
) -> Images:
    """The images of a case.

    Of DICOM files headers tell what they say, as in the curation of an archive, under the same pseudonyms,
    and pixels lie as stored; elsewhere slices are turned as the task says.

    Raises:
        CaseRefusedError: a file can no longer be read.
    """
    if source.kind == "dicom":
        return _of_dicom([path for _, path in files.images], declared, policy, pseudonymizer)
    lie = nifti.read_lie(files.images[0][1], source) if source.kind == "nifti" else _PLAIN
    scaled = to_integers(volume.image, lie.slope, lie.intercept)
    grid = Grid(
        content=digest_of(volume.image),
        shape=volume.image.shape,
        spacing=volume.spacing,
        orientation=_orientation(lie, source, declared),
        slope=scaled.slope,
        intercept=scaled.intercept,
    )
    # patients of two tasks may be called alike; classes and the split make no other patient
    patient = (source.model_dump_json(), files.filled(source.patient))
    found = declared_volume(grid, patient, declared, pseudonymizer)
    return Images(found.frames, list(scaled.pixels), found, scaled.is_exact)


def _orientation(lie: Lie, source: Source, declared: Declared) -> tuple[float, ...]:
    """Converters lose where slices lie, so a header is believed only if the task itself relies on it."""
    if declared.plane in ORIENTATIONS:
        return ORIENTATIONS[declared.plane]
    return lie.orientation if source.turn == "header" or source.slice_axis in PLANES else ()


def _of_dicom(
    paths: Sequence[Path], declared: Declared, policy: Curation, pseudonymizer: Pseudonymizer
) -> Images:
    frames: list[Frame] = []
    pixels: list[Pixels] = []
    for path in paths:
        try:
            content = path.read_bytes()
            headers = read_file(io.BytesIO(content), "").images
            if not headers:  # a file that is no DICOM, which tasks pass over
                continue
            shape = headers[0].rows, headers[0].columns
            decoded = read_pixels(io.BytesIO(content), [header.frame for header in headers], shape)
            for header, stored in zip(headers, decoded, strict=True):
                frames.append(declared.filled_in(frame_of(header, len(pixels), policy, pseudonymizer)))
                pixels.append(stored)
        except (OSError, UnreadablePixelsError):
            raise CaseRefusedError(Flaw.UNREADABLE_IMAGE) from None
    return Images(tuple(frames), pixels, None)
