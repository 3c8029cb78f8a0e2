"""What stands around the numbers of an evaluation: facts, settings, and what a reader must be warned of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mricore.data.progress import duration
from mricore.evaluation.protocol import FEW_PATIENTS
from mricore.report.evaluation_numbers import Block
from mricore.report.evaluation_results import Results

OPTIMISTIC = {
    (
        "linear_probe",
        "paper",
    ): "the best epoch is chosen on the slices that are reported, as in the paper, so "
    "accuracies are optimistic; mode strict is not",
    ("zero_shot", ""): "unless clusters were named on other patients (scope=transferred), the truth of the "
    "judged slices names them, and scores are upper bounds of what one could segment without it",
}
LEARNED = ("few_shot", "patch_probe", "linear_probe")
"""Protocols whose draws choose what is learned from."""
ELSEWHERE = frozenset({"protocol", "mode", "leaks", "failed", "units", "code"})
"""What a summary tells that the page shows in other places."""


@dataclass(frozen=True)
class Asked:
    """What an evaluation was asked for: its name, and name and value of each setting."""

    heading: str
    settings: list[tuple[str, str]]


def facts(results: Results) -> list[tuple[str, str]]:
    """Sizes of the evaluation."""
    rows = results.rows
    by_protocol: dict[str, set[int]] = {}
    for row in rows:
        by_protocol.setdefault(row.protocol, set()).add(row.draw)
    told = [
        ("encoders", f"{len({row.encoder for row in rows}):,}"),
        ("tasks", f"{len({row.task for row in rows}):,}"),
        ("patients judged", f"{len({(row.task, row.patient) for row in rows}):,}"),
        ("draws at most", f"{max(map(len, by_protocol.values()), default=0):,}"),
        ("measured values", f"{len(rows):,}"),
    ]
    seconds = sum(float(unit.get("seconds", 0)) for unit in results.units)
    return told + ([("computing time", duration(seconds))] if seconds else [])


def warnings_of(results: Results, blocks: Sequence[Block]) -> list[str]:
    """What a reader of the numbers must know, in sentences."""
    found = [f"{one}." for summary in results.summaries for one in summary.get("failed", ())]
    for summary in results.summaries:
        if summary.get("part") == "development":
            found.append(f"{summary['protocol']}: judged on development patients, by whom choices are made.")
    for block in blocks:
        where = f"{block.protocol}, {block.mode}" if block.mode else block.protocol
        found += [f"{where}: {text}." for text in _of_block(block)]
    if len(revisions(results)) > 1:
        found.append("Not all was computed by the same revision of the code.")
    return found


def asked(results: Results) -> list[Asked]:
    """Settings, digests of data and encoders, and where encoders come from, for each evaluation."""
    return [
        Asked(
            ", ".join(str(summary[name]) for name in ("protocol", "mode") if summary.get(name)),
            [pair for name, value in summary.items() if name not in ELSEWHERE for pair in _flat(value, name)],
        )
        for summary in results.summaries
    ]


def leaks(results: Results) -> list[tuple[str, str]]:
    """Task and verdict of the check against pretraining data."""
    found: dict[tuple[str, str], None] = {}
    for summary in results.summaries:
        for task, verdict in summary.get("leaks", {}).items():
            found[str(task), str(verdict).removeprefix(f"{task}: ")] = None
    return sorted(found)


def revisions(results: Results) -> list[str]:
    """The revisions of the code that computed the units."""
    return sorted({str(unit["code"]) for unit in results.units if "code" in unit})


def _of_block(block: Block) -> Iterable[str]:
    optimistic = OPTIMISTIC.get((block.protocol, block.mode))
    if optimistic:
        yield optimistic
    patients: dict[str, set[str]] = {}
    judged: dict[str, set[tuple[str, int]]] = {}
    for row in block.rows:
        patients.setdefault(row.task, set()).add(row.patient)
        judged.setdefault(row.encoder, set()).add((row.task, row.draw))
    for task in block.tasks:
        if len(patients[task]) <= FEW_PATIENTS:
            yield f"{task} has only {len(patients[task])} patients"
    if len({row.draw for row in block.rows}) == 1 and block.protocol in LEARNED:
        yield "one draw only, so how much the choice of slices matters is not known"
    whole = set().union(*judged.values())
    missing = [name for name in block.encoders if judged[name] != whole]
    if missing:
        yield f"not judged on all tasks and draws: {', '.join(missing)}; what not all have is left out"


def _flat(value: Any, name: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        yield name, ", ".join(str(one) for one in value)
    else:
        yield name, "none" if value is None else str(value)
