"""The only bridge from a header to a stored slice: keyed pseudonyms and an explicit allow-list.

In the spirit of DICOM PS3.15's basic profile, but turned around: nothing passes unless it is named here.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Literal

from mricore.errors import UserError
from mricore.imaging.anatomy import LOCATIONS
from mricore.imaging.geometry import plane
from mricore.imaging.headers import FrameHeader
from mricore.imaging.sequences import SEQUENCES, vendor
from mricore.imaging.volumes import Volume
from mricore.records import Intensity, Pixels, SliceRecord

Kind = Literal["patient", "exam", "volume", "slice"]
KEY_BYTES = 32
PSEUDONYM_CHARACTERS = 20


class Pseudonymizer:
    """Turns identifiers into pseudonyms with HMAC-SHA256; without the key they cannot be recomputed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "Pseudonymizer(key withheld)"

    def pseudonym(self, kind: Kind, *parts: str) -> str:
        """20 hexadecimal characters for an identifier; the same identifier of another kind differs."""
        return self._digest(kind, *parts).hex()[:PSEUDONYM_CHARACTERS]

    def order(self, text: str) -> bytes:
        """A key for sorting that looks random and is always the same."""
        return self._digest("order", text)

    def _digest(self, *parts: str) -> bytes:
        """HMAC of the parts, each led by its length, so that no two lists of parts read alike."""
        state = hmac.new(self._key, digestmod=hashlib.sha256)
        for part in parts:
            content = part.encode("utf-8", "surrogatepass")
            state.update(len(content).to_bytes(8, "big") + content)
        return state.digest()


def load_or_create_key(path: Path) -> bytes:
    """The secret key in ``path``, 32 bytes in hexadecimal; made on first use, readable by its owner only.

    Raises:
        UserError: the file is not a key, or cannot be made.
    """
    path = path.expanduser()
    try:
        if not path.exists():
            _create_key(path)
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a usable key ({type(error).__name__})", "give another file with --key"
        ) from None
    if len(key) != KEY_BYTES:
        raise UserError(f"{path} is not a key of {KEY_BYTES} bytes", "give another file with --key")
    return key


def slice_record(
    frame: FrameHeader,
    pixels: Pixels,
    volume: Volume,
    index: int,
    slice_intensity: Intensity,
    volume_intensity: Intensity,
    pseudonymizer: Pseudonymizer,
    location: str,
    sequence: str,
) -> SliceRecord:
    """A de-identified slice: pseudonyms, closed categories, physics; nothing else exists to leak.

    Raises:
        ValueError: ``location`` or ``sequence`` is not a word of its closed vocabulary.
    """
    if location not in LOCATIONS or sequence not in SEQUENCES:
        raise ValueError("location and sequence must be words of their closed vocabularies")
    first = volume.frames[0]
    return SliceRecord(
        slice_id=pseudonymizer.pseudonym("slice", frame.patient_key, frame.sop_uid),
        volume_id=pseudonymizer.pseudonym("volume", first.patient_key, first.series_uid, first.sop_uid),
        exam_id=pseudonymizer.pseudonym("exam", frame.patient_key, frame.study_uid),
        patient_id=pseudonymizer.pseudonym("patient", frame.patient_key),
        index=index,
        slices_in_volume=len(volume.frames),
        pixels=pixels,
        slope=frame.slope,
        intercept=frame.intercept,
        spacing_row=frame.spacing[0],
        spacing_column=frame.spacing[1],
        spacing_slice=volume.spacing_slice,
        slice_intensity=slice_intensity,
        volume_intensity=volume_intensity,
        location=location,
        sequence=sequence,
        plane=plane(frame.orientation),
        vendor=vendor(frame).value,
        field_strength=frame.field_strength,
        repetition_time=frame.repetition_time,
        echo_time=frame.echo_time,
        inversion_time=frame.inversion_time,
        flip_angle=frame.flip_angle,
    )


def _create_key(path: Path) -> None:
    """Write a new key so that two processes that begin at once end with the same one."""
    _make_private_folders(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES) + "\n")
        with suppress(FileExistsError):  # the other process was first: its key counts
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _make_private_folders(folder: Path) -> None:
    """Like ``mkdir(parents=True)``, which would give the parents the default mode."""
    if not folder.exists():
        _make_private_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
