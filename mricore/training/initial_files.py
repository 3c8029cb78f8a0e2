"""Files of weights that a run begins with: fetched, copied between places, told apart by digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pyarrow import fs

from mricore.config.schema import Initial
from mricore.data.storage import place, readable_errors
from mricore.errors import UserError

CHUNK = 1 << 24


def fetched(initial: Initial, folder: Path) -> Path:
    """The weight file (or folder) on this machine; remote ones are copied into ``folder``.

    Raises:
        UserError: none is named, it is not there, or its digest is not the recipe's.
    """
    if not initial.weights:
        raise UserError(
            f"the recipe begins with {initial.layout} weights and none are given",
            "add --set initial.weights=FILE (docs/weights.md tells where to get it), "
            "or begin at random with --set initial.layout=none",
        )
    path = Path(initial.weights)
    if place(initial.weights).is_remote:
        path = folder / path.name
        copied(initial.weights, str(path))
    if initial.sha256 and digest_of(path) != initial.sha256:
        raise UserError(
            f"{initial.weights} has another digest than initial.sha256",
            "correct or leave out initial.sha256; a run goes on with the weights that it began with",
        )
    return path


def copied(source: str, target: str) -> None:
    """Copy a file or a folder between places.

    Raises:
        UserError: the source is not there, or a place cannot be reached or written.
    """
    here, there = place(source), place(target)
    if not here.exists():
        raise UserError(f"no weights at {source}", "check --set initial.weights")
    with readable_errors(source):
        (system, path), (other, other_path) = here.arrow(""), there.arrow("")
        is_folder = system.get_file_info(path).type == fs.FileType.Directory
        if not there.is_remote:
            folder = Path(other_path) if is_folder else Path(other_path).parent
            folder.mkdir(parents=True, exist_ok=True)
        fs.copy_files(path, other_path, source_filesystem=system, destination_filesystem=other)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files.

    Raises:
        UserError: nothing is there.
    """
    if not path.exists():
        raise UserError(f"no weights at {path}", "check --set initial.weights")
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode())
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
