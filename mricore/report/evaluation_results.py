"""What evaluations left in their folders, read back: rows, what was asked for, units, and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.evaluation.measurements import Measurement, from_csv
from mricore.evaluation.paired import require_same_draws
from mricore.evaluation.pictures import Shown, load_pictures
from mricore.evaluation.units import MEASUREMENTS, PICTURES, RESULTS, SUMMARY

Document = Mapping[str, Any]


class _Summary(BaseModel, strict=True):
    """What the report takes from the summary of an evaluation; further keys are told as they are."""

    units: list[str] = []
    failed: list[str] = []
    encoders: dict[str, dict[str, Any]] = {}
    leaks: dict[str, str] = {}


class _UnitDocument(BaseModel, strict=True):
    """What the report takes from the document of a unit."""

    encoder: str
    identity: dict[str, Any] = {}
    seconds: float = 0
    epoch: int | None = None
    curve: dict[str, Any] | None = None


@dataclass(frozen=True)
class Picture:
    """A slice and the unit that shows it."""

    protocol: str
    task: str
    encoder: str
    mode: str
    draw: int
    shown: Shown


@dataclass(frozen=True)
class Results:
    """Rows, sorted; what each evaluation was asked for; documents of the units; their pictures."""

    rows: list[Measurement]
    summaries: list[Document]
    units: list[Document]
    pictures: list[Picture]


def read_results(places: Sequence[Place]) -> Results:
    """Join the results of one or more evaluations.

    The last evaluation into a folder counts: units of earlier ones, with other settings, may lie beside it.
    An evaluation that was stopped has neither table nor summary; then all units count.

    Raises:
        UserError: a folder has no results, a file is damaged, two folders measured the same differently, or
            draws of the same number are not the same.
    """
    rows: dict[tuple[Any, ...], Measurement] = {}
    summaries: list[Document] = []
    units: dict[str, Document] = {}
    pictures: dict[str, list[Picture]] = {}
    for source in places:
        summaries += [_document(source, SUMMARY, _Summary)] if source.exists(SUMMARY) else []
        digests = _digests(source, summaries[-1] if source.exists(SUMMARY) else {})
        for row in _measured(source, digests):
            _add(rows, row, source)
        for digest in digests:
            units[digest] = _document(source, f"{RESULTS}/{digest}.json", _UnitDocument)
            pictures[digest] = _pictures(source, digest, units[digest])
    require_same_draws(units[digest] for digest in sorted(units))
    everything = [one for digest in sorted(pictures) for one in pictures[digest]]
    return Results(sorted(rows.values()), summaries, [units[digest] for digest in sorted(units)], everything)


def _digests(source: Place, summary: Document) -> list[str]:
    """The units of an evaluation that are done."""
    names = (name.rpartition("/")[2] for name in source.names(RESULTS))
    done = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    return sorted(done.intersection(summary.get("units", done)))


def _measured(source: Place, digests: Sequence[str]) -> list[Measurement]:
    paths = (
        [MEASUREMENTS] if source.exists(MEASUREMENTS) else [f"{RESULTS}/{digest}.csv" for digest in digests]
    )
    rows = [row for path in paths for row in _rows(source, path)]
    if not rows:
        raise UserError(f"no results of an evaluation in {source.uri}", "give the folder it wrote to (--out)")
    return rows


def _rows(source: Place, path: str, only: int | None = None) -> list[Measurement]:
    """The rows of a file; of its first lines alone if ``only`` is given."""
    content = source.read_bytes(path)
    if only is not None:
        content = b"".join(content.splitlines(keepends=True)[: only + 1])
    try:
        return from_csv(content)
    except (ValueError, KeyError):
        raise UserError(f"{path} in {source.uri} is damaged", "remove it and evaluate again") from None


def _document(source: Place, path: str, kind: type[BaseModel]) -> Document:
    """A file as it is, if what the report takes from it has the types that it needs."""
    try:
        document: Document = json.loads(source.read_bytes(path))
        kind.model_validate(document)
    except (ValueError, RecursionError):
        raise UserError(f"{path} in {source.uri} is damaged", "remove it and evaluate again") from None
    return document


def _pictures(source: Place, digest: str, document: Document) -> list[Picture]:
    """The pictures of a unit; its rows tell the mode."""
    path = f"{PICTURES}/{digest}.npz"
    first = _rows(source, f"{RESULTS}/{digest}.csv", only=1) if source.exists(path) else []
    if not first:
        return []
    named = (first[0].protocol, first[0].task, str(document["encoder"]), first[0].mode, first[0].draw)
    return [Picture(*named, one) for one in load_pictures(source, path)]


def _add(rows: dict[tuple[Any, ...], Measurement], row: Measurement, source: Place) -> None:
    key = (
        *(row.protocol, row.task, row.mode, row.encoder),
        row.draw,
        row.patient,
        row.case,
        row.label,
        row.metric,
    )
    known = rows.setdefault(key, row)
    if repr(known.value) != repr(row.value):
        raise UserError(
            f"{source.uri} has another {row.protocol} of {row.encoder} on {row.task} than a folder before it",
            "give each encoder its own name, or leave one folder out",
        )
