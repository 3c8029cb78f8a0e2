"""Files on a local disk or in an S3 bucket behind one small set of functions.

A place is a URI: a local path, or ``s3://bucket/prefix``. Credentials and endpoint come from the usual
AWS environment variables (``AWS_ENDPOINT_URL`` for a server of one's own). Paths inside a place are
relative and use ``/``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pyarrow import fs

from mricore.data import local, s3
from mricore.data.patience import OutageError, outlast
from mricore.errors import UserError

S3_SCHEME = "s3://"
_PROBE = ".mricore-write-test"


@dataclass(frozen=True, repr=False)
class StoredFile:
    """One file of a place: path relative to it, size in bytes, modification time in ns (0 if unknown).

    ``size`` is -1 for what cannot be read as a file: a link to nothing, a pipe, a socket. Names of files may
    name patients, so ``repr`` shows nothing.
    """

    path: str
    size: int
    modified_ns: int


@dataclass(frozen=True)
class Place:
    """A folder or a bucket prefix. Small and picklable, so that it can travel to Ray tasks."""

    uri: str

    @property
    def is_remote(self) -> bool:
        """Whether the place is in an object store."""
        return self.uri.startswith(S3_SCHEME)

    def joined(self, path: str) -> str:
        """The URI of ``path`` inside this place."""
        return f"{self.uri.rstrip('/')}/{path}" if path else self.uri

    def walk(self) -> Iterator[StoredFile]:
        """All that is below the place, one by one and always in the same order, whatever their number.

        Raises:
            UserError: the place does not exist or may not be read.
        """
        with readable_errors(self.uri):
            yield from self._objects() if self.is_remote else self._local_files()

    def files(self) -> list[StoredFile]:
        """The files below the place, sorted by path.

        Raises:
            UserError: the place does not exist or may not be read.
        """
        return sorted((file for file in self.walk() if file.size >= 0), key=lambda file: file.path)

    def names(self, folder: str) -> list[str]:
        """Paths of the files below a folder of this place; none if there is no such folder.

        Raises:
            UserError: it may not be read.
        """
        if not self.exists(folder):
            return []
        found = s3.listing(self._resolved(folder)[1]) if self.is_remote else None
        with readable_errors(self.uri):
            if found is not None:  # some servers keep folders without objects
                return [f"{folder}/{name}" for name, _, _ in found]
        return [f"{folder}/{file.path}" for file in Place(self.joined(folder)).files()]

    def exists(self, path: str = "") -> bool:
        """Whether a file or folder is there."""
        system, root = self._resolved(path)
        with readable_errors(self.uri):
            found = outlast(lambda: system.get_file_info(root))
        return bool(found.type != fs.FileType.NotFound)

    def require(self) -> None:
        """Make sure that the place is there, can be reached, and has anything in it.

        A disk that was unmounted leaves an empty folder behind.

        Raises:
            UserError: it is not, or has not.
        """
        if next(self.walk(), None) is None:
            raise UserError(
                f"nothing found at {self.uri}", "check that the disk is there and the path is right"
            )

    def require_writable(self) -> None:
        """Make sure that files can be written here; leaves nothing behind.

        Raises:
            UserError: they cannot.
        """
        if self.is_remote:
            with readable_errors(self.uri):  # some servers make a bucket of any name that is written to
                next(s3.listing(self.uri.removeprefix(S3_SCHEME).split("/")[0]), None)
            self.write_bytes(_PROBE, b"")
            self.remove(_PROBE)
            return
        with readable_errors(self.uri):
            folder = next(one for one in (Path(self.uri), *Path(self.uri).parents) if one.exists())
            if not folder.is_dir():
                raise NotADirectoryError
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError

    def remove(self, path: str) -> None:
        """Remove a file.

        Raises:
            UserError: there is none, or it may not be removed.
        """
        system, full = self._resolved(path)
        with readable_errors(self.uri):
            system.delete_file(full)

    def is_unchanged(self, file: StoredFile) -> bool:
        """Whether a file of this machine has the size and time that it had when it was listed.

        For an object the size of its content has to do.

        Raises:
            UserError: it is no longer there.
        """
        if self.is_remote:
            return True
        with readable_errors(self.uri):
            found = Path(self._resolved(file.path)[1]).stat()
            return (found.st_size, found.st_mtime_ns) == (file.size, file.modified_ns)

    def remove_empty(self, path: str) -> None:
        """Remove a folder if nothing is in it; in a bucket there are no folders."""
        if not self.is_remote:
            with suppress(OSError):
                Path(self._resolved(path)[1]).rmdir()

    @contextmanager
    def reading(self, path: str) -> Iterator[BinaryIO]:
        """Open a file for random-access reading.

        Raises:
            UserError: the file does not exist or may not be read.
        """
        with readable_errors(self.uri):
            # local files by Python, as pyarrow cannot open names that are not UTF-8
            full = self._resolved(path)[1]
            with s3.reading(full) if self.is_remote else Path(full).open("rb") as file:
                yield file

    def read_bytes(self, path: str) -> bytes:
        """The whole content of a file."""
        with self.reading(path) as stream:
            return stream.read()

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write a file so that readers see all of it or nothing.

        Raises:
            UserError: the place may not be written, or the disk is full.
        """
        full = self._resolved(path)[1]
        with readable_errors(self.uri):
            if self.is_remote:
                s3.put(full, content)
            else:
                local.write_and_rename(Path(full), content)

    def arrow(self, path: str) -> tuple[fs.FileSystem, str]:
        """The pyarrow file system and the path in it, for Parquet readers."""
        return self._resolved(path)

    def _local_files(self) -> Iterator[StoredFile]:
        root = Path(self.uri)
        if not root.is_dir():
            raise NotADirectoryError if root.exists() else FileNotFoundError
        for path in local.files_below(root):
            name = path.relative_to(root).as_posix()
            if path.is_file():
                found = path.stat()
                yield StoredFile(name, found.st_size, found.st_mtime_ns)
            else:
                yield StoredFile(name, -1, 0)

    def _objects(self) -> Iterator[StoredFile]:
        root = self.uri.removeprefix(S3_SCHEME)
        found = None
        for found in s3.listing(root):
            yield StoredFile(*found)
        if found is None and "/" in root:
            raise FileNotFoundError

    def _resolved(self, path: str = "") -> tuple[fs.FileSystem, str]:
        uri = self.joined(path)
        if self.is_remote:
            with readable_errors(self.uri):
                return s3.client(), uri.removeprefix(S3_SCHEME).rstrip("/")
        return fs.LocalFileSystem(), uri.rstrip("/") or "/"


def place(uri: str) -> Place:
    """A place from what a user typed; local paths become absolute, links and ``..`` are resolved.

    Raises:
        UserError: nothing was typed, a scheme other than ``s3://``, or a path that leads nowhere.
    """
    if not uri.strip():
        raise UserError("an empty address was given", "give a folder or s3://bucket/prefix")
    if uri.startswith(S3_SCHEME):
        parts = [part for part in uri.removeprefix(S3_SCHEME).split("/") if part]
        if not parts:
            raise UserError(f"{uri!r} names no bucket", "write s3://bucket/prefix")
        return Place(S3_SCHEME + "/".join(parts))
    if "://" in uri:
        raise UserError(f"{uri!r} is neither a path nor s3://", "give a local folder or s3://bucket/prefix")
    try:
        return Place(str(expanded(Path(uri)).resolve()))
    except (RuntimeError, OSError):
        raise UserError(f"{uri} cannot be followed: its links form a circle", "give another path") from None


def expanded(path: Path) -> Path:
    """A path with the home folder in the place of ``~``.

    Raises:
        UserError: there is no such home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise UserError(f"{path} begins with no home folder of this machine", "write it out") from None


def remove_folder(file_system: fs.FileSystem, path: str) -> None:
    """Remove a folder with all that is in it, if it is there.

    Some servers of buckets still list a folder whose last file is gone; it cannot be removed again.
    """
    with suppress(FileNotFoundError):
        file_system.delete_dir(path)


@contextmanager
def readable_errors(uri: str) -> Iterator[None]:
    """Turn failures of storage into one clear line that names only the place the user gave."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"nothing found at {uri}", "check the path or the bucket name") from None
    except PermissionError:
        raise UserError(f"no permission for {uri}", "check file rights or the AWS_* credentials") from None
    except (NotADirectoryError, FileExistsError):
        raise UserError(f"{uri} is not a folder", "give a folder") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"the disk of {uri} is full", "free some space and run the same command again"
            ) from None
        cause, remedy = _cause(error)
        if isinstance(error, OutageError):
            cause += f" for {error.seconds:.0f} s"
        raise UserError(f"{uri} cannot be used ({cause})", remedy) from None


_CAUSES = (
    ("NO_SUCH_BUCKET", "no such bucket", "create the bucket or correct its name"),
    (
        "ACCESS_DENIED",
        "access denied",
        "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy",
    ),
    ("INVALID_ACCESS_KEY_ID", "unknown access key", "check AWS_ACCESS_KEY_ID"),
    ("SIGNATURE_DOES_NOT_MATCH", "wrong secret key", "check AWS_SECRET_ACCESS_KEY"),
    ("NETWORK_CONNECTION", "no connection", "check AWS_ENDPOINT_URL and that the server is up"),
    ("SLOW_DOWN", "the server asks for fewer requests", "lower data.readers, or use fewer workers"),
    ("HTTP status 5", "the server is ill", "look into its log, then run the same command again"),
)


def _cause(error: OSError) -> tuple[str, str]:
    """What is wrong and what to do, for an error of an object store or a disk."""
    for sign, cause, remedy in _CAUSES:
        if sign in str(error):
            return cause, remedy
    what = os.strerror(error.errno) if error.errno else type(error).__name__
    return what, "check the address, its rights, and for s3:// the AWS_* variables"
