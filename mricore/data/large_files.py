"""Files that are larger than memory should hold: made piece by piece, seen by readers whole or not at all."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mricore.data import s3
from mricore.data.patience import outlast
from mricore.data.storage import Place, readable_errors

PIECE = 16 * 1024**2


@contextmanager
def written(place: Place, path: str) -> Iterator[Path]:
    """A file of this machine to write to, which becomes ``path`` of the place when the body has ended well.

    For a folder it lies beside its target and is renamed; for a bucket it lies in the folder for temporary
    files and is uploaded. What a killed process left of the same file in a folder is removed first.

    Raises:
        UserError: the place may not be written, or a disk is full.
    """
    with readable_errors(place.uri):
        if place.is_remote:
            with tempfile.TemporaryDirectory() as folder:
                made = Path(folder) / "file"
                yield made
                _upload(made, place.arrow(path)[1])
            return
        target = Path(place.joined(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*.tmp"):
            left.unlink(missing_ok=True)
        made = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            yield made
            _on_disk(made)
            made.replace(target)
        finally:
            made.unlink(missing_ok=True)


def _on_disk(path: Path) -> None:
    """A rename must not survive a power failure that the content does not."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _upload(made: Path, target: str) -> None:
    """Write an object, which appears when its last piece has arrived."""

    def upload() -> None:
        with made.open("rb") as source, s3.client().open_output_stream(target) as stream:
            while piece := source.read(PIECE):
                stream.write(piece)

    outlast(upload)
