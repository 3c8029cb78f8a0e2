"""The embeddings of a shard's slices: a Parquet file with the same rows, in the same row groups.

docs/embeddings.md describes the columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from pathlib import PurePosixPath
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mricore.config.schema import Normalization
from mricore.data.large_files import written
from mricore.data.patience import outlast
from mricore.data.shards import Shard
from mricore.data.storage import Place, readable_errors
from mricore.errors import UserError

PARTS = "parts"
VECTOR, PATCHES = "embedding", "patches"
DESCRIBING = ("slice_id", "volume_id", "index", "location", "sequence", "plane", "vendor")
"""Columns of a shard that go with each embedding; others are had by joining on ``slice_id``."""
_INTEGERS = ("index",)
_MARK = b"mricore"
Looked = TypeVar("Looked")


@dataclass(frozen=True)
class Identity:
    """All that decides the numbers: the encoder, the dataset, and how the one was applied to the other.

    ``model`` is a version of the registry, or "folder"; ``weights`` and ``dataset`` are digests; ``grid`` are
    rows and columns of patches, empty if their features are not kept.
    """

    model: str
    weights: str
    dataset: str
    image_size: int
    normalization: Normalization
    precision: str
    dtype: str
    dim: int
    grid: tuple[int, ...]

    @property
    def digest(self) -> str:
        """Tells embeddings apart; two names of the same weights make no difference."""
        told = {name: value for name, value in asdict(self).items() if name != "model"}
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def schema(self) -> pa.Schema:
        """Columns of a part: what describes a slice, its vector, and its patches as bytes, row by row."""
        kind = pa.float32() if self.dtype == "float32" else pa.float16()
        fields = [
            pa.field(name, pa.int32() if name in _INTEGERS else pa.string(), nullable=False)
            for name in DESCRIBING
        ]
        fields.append(pa.field(VECTOR, pa.list_(kind, self.dim), nullable=False))
        if self.grid:
            shape = (*self.grid, self.dim)
            told = {"dtype": "float16, little-endian", "shape": json.dumps(shape)}
            size = 2 * prod(shape)
            fields.append(pa.field(PATCHES, pa.binary(size), nullable=False, metadata=told))
        return pa.schema(fields, {_MARK: self.digest.encode()})


def part_path(shard: Shard) -> str:
    """Where the embeddings of a shard's slices are: under its own name."""
    return f"{PARTS}/{PurePosixPath(shard.path).name}"


def table_of(
    identity: Identity,
    rows: Sequence[dict[str, Any]],
    vectors: NDArray[np.floating],
    patches: NDArray[np.float16] | None,
) -> pa.Table:
    """Rows of a part: values of ``DESCRIBING``, vectors (n, dim), patches (n, h, w, dim) where they are kept.

    Raises:
        UserError: a number is not finite, or larger than the type that it is kept in.
    """
    schema = identity.schema
    vectors = vectors.astype(np.dtype(identity.dtype))
    kept = [vectors] if patches is None else [vectors, patches]
    if not all(np.isfinite(one).all() for one in kept):
        raise UserError(
            "the encoder gives numbers that are not finite, or too large for float16",
            "look whether it has diverged; --set embed.dtype=float32 holds larger vectors",
        )
    columns: list[Any] = [
        pa.array([row[name] for row in rows], schema.field(name).type) for name in DESCRIBING
    ]
    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), identity.dim))
    if patches is not None:
        content = pa.py_buffer(np.ascontiguousarray(patches, np.dtype("<f2")))
        columns.append(pa.Array.from_buffers(schema.field(PATCHES).type, len(rows), [None, content]))
    return pa.Table.from_arrays(columns, schema=schema)


@contextmanager
def part_writer(out: Place, shard: Shard, identity: Identity) -> Iterator[pq.ParquetWriter]:
    """Write a part row group by row group; it is there when the body has ended well.

    Raises:
        UserError: the place may not be written, or a disk is full.
    """
    with (
        written(out, part_path(shard)) as file,
        pq.ParquetWriter(
            file,
            identity.schema,
            compression="none",  # features are noise to a compressor
            use_dictionary=[name for name in DESCRIBING if name not in ("slice_id", *_INTEGERS)],
            write_statistics=False,
            write_page_checksum=True,
        ) as writer,
    ):
        yield writer


def is_whole(out: Place, shard: Shard, identity: Identity) -> bool:
    """Whether the part of a shard is there with all its rows, and is of these embeddings.

    Files appear whole, so that a look at the footer is enough.

    Raises:
        UserError: ``out`` cannot be read.
    """

    def fits(file: pq.ParquetFile) -> bool:
        metadata = file.metadata
        groups = tuple(metadata.row_group(k).num_rows for k in range(metadata.num_row_groups))
        return groups == shard.row_groups and metadata.metadata.get(_MARK) == identity.digest.encode()

    return bool(_looked_into(out, part_path(shard), fits))


def read_part(out: Place, path: str, rows: int, columns: Sequence[str]) -> pa.Table:
    """Some columns of a part, which must have so many rows.

    Raises:
        UserError: it cannot be read, or is damaged.
    """
    table = _looked_into(out, path, lambda file: file.read(columns))
    if table is None or table.num_rows != rows:
        raise UserError(f"{out.joined(path)} is damaged", "remove it and run the same jobs/embed.py again")
    return table


def _looked_into(out: Place, path: str, look: Callable[[pq.ParquetFile], Looked]) -> Looked | None:
    """What ``look`` finds in a part; None if it is damaged."""
    system, full = out.arrow(path)

    def attempt() -> Looked | None:
        try:
            with pq.ParquetFile(full, filesystem=system, page_checksum_verification=True) as file:
                return look(file)
        except pa.ArrowException:
            return None
        except OSError as error:
            # Parquet tells of damage by an OSError as well; those of storage have a number or AWS's code.
            if error.errno is None and "AWS" not in str(error):
                return None
            raise

    with readable_errors(out.uri):
        return outlast(attempt)
