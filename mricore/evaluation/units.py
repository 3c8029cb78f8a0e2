"""A unit of an evaluation: one protocol on one task with one encoder and one draw; and its files.

``results/DIGEST.csv`` holds its rows, ``pictures/DIGEST.npz`` what the report shows of it, and
``results/DIGEST.json`` what it was; the last is written last, and without it the unit is not done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from mricore.data.storage import Place
from mricore.evaluation.measurements import Measurement, from_csv, to_csv
from mricore.evaluation.pictures import Shown, save_pictures
from mricore.revision import code_revision

FORMAT = 1
RESULTS = "results"
PICTURES = "pictures"
MEASUREMENTS = "measurements.csv"
"""The rows of all units of the last evaluation into a folder."""
SUMMARY = "evaluation.json"
"""What that evaluation was asked for."""


@dataclass(frozen=True)
class Made:
    """What a unit gives: rows, pictures, and a curve or other plain facts worth keeping."""

    rows: list[Measurement]
    pictures: Sequence[Shown] = ()
    curve: Any = None


Work = Callable[..., Made]
"""Takes the unit's inputs in their order, and ``device``; picklable, as it runs in a Ray task."""


@dataclass(frozen=True)
class Unit:
    """What is computed once and kept.

    ``identity`` is plain data: all that the numbers depend on beside protocol, task and draw, i.e. settings,
    digests of data and encoder, seed, version of the protocol. The name of the encoder is not part of it, so
    that another name costs nothing. ``inputs`` name what ``work`` takes; ``facts`` are stored with the result
    and change nothing.
    """

    protocol: str
    task: str
    encoder: str
    draw: int
    identity: Mapping[str, Any]
    work: Work = field(compare=False)
    inputs: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def document(self) -> dict[str, Any]:
        """All that the numbers depend on, as plain data."""
        return {
            "format": FORMAT,
            "protocol": self.protocol,
            "task": self.task,
            "draw": self.draw,
            "identity": dict(self.identity),
        }

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the numbers depend on."""
        return hashlib.sha256(json.dumps(self.document, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.protocol} of {self.encoder} on {self.task}, draw {self.draw}"


def store(out: Place, unit: Unit, made: Made, facts: Mapping[str, Any]) -> None:
    """Keep what a unit gave; ``facts`` tell where and how long it ran.

    Raises:
        UserError: the place may not be written.
    """
    if made.pictures:
        save_pictures(out, f"{PICTURES}/{unit.digest}.npz", made.pictures)
    document = {**unit.document, **unit.facts, "curve": made.curve, "code": code_revision(), **facts}
    _write(out, unit, made.rows, document)


def kept(out: Place, unit: Unit) -> list[Measurement] | None:
    """The rows of a unit that is done, under the name that its encoder has now; None if it is not done.

    A file that was damaged since makes it undone.

    Raises:
        UserError: the place may not be read or written.
    """
    files = [f"{RESULTS}/{unit.digest}.{ending}" for ending in ("csv", "json")]
    if not all(out.exists(file) for file in files):
        return None
    content, document = (out.read_bytes(file) for file in files)
    try:
        facts = json.loads(document)
        rows = from_csv(content)
        if facts["rows_sha256"] != hashlib.sha256(content).hexdigest():
            return None
        was = facts["encoder"]
    except (ValueError, KeyError, TypeError):
        return None
    if was == unit.encoder:
        return rows
    renamed = [replace(row, encoder=unit.encoder) for row in rows]
    _write(out, unit, renamed, facts)
    return renamed


def _write(out: Place, unit: Unit, made: Sequence[Measurement], facts: Mapping[str, Any]) -> None:
    """Rows first, then what they are: a kill between the two leaves a unit that is not done."""
    rows = to_csv(made)
    document = {**facts, "encoder": unit.encoder, "rows_sha256": hashlib.sha256(rows).hexdigest()}
    out.write_bytes(f"{RESULTS}/{unit.digest}.csv", rows)
    out.write_bytes(f"{RESULTS}/{unit.digest}.json", (json.dumps(document, indent=1) + "\n").encode())


def done_digests(out: Place) -> set[str]:
    """Digests of the units whose last file is there.

    Raises:
        UserError: the place may not be read.
    """
    names = (name.rpartition("/")[2] for name in out.names(RESULTS))
    return {name.removesuffix(".json") for name in names if name.endswith(".json")}
