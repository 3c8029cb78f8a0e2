"""Folders of evaluations, asked for what they say of one encoder or of two together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.comparison import Score
from mricore.evaluation.contender import Contender
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.paired import require_same_draws
from mricore.evaluation.units import SUMMARY
from mricore.model.embedder import Embedder
from mricore.registry.gate import CANDIDATE, CHAMPION
from mricore.registry.lineage import Evaluation as Logged
from mricore.report.evaluation_results import read_results
from mricore.training.place import Home
from mricore.workflows.evaluation_scores import compared, log_scores

DIGESTS = ("digest", "digest_alone")
"""Keys of an encoder in the summary: with the decoder that it was judged with, and without."""


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation: its summary, rows, and the documents of its units."""

    summary: Mapping[str, Any]
    rows: Sequence[Measurement]
    units: Sequence[Mapping[str, Any]]

    def name_of(self, digest: str) -> str | None:
        """The name that the encoder of that digest has here; None if it took no part."""
        encoders: Mapping[str, Mapping[str, Any]] = self.summary.get("encoders", {})
        return next((name for name, one in encoders.items() if digest in map(one.get, DIGESTS)), None)

    @property
    def data(self) -> dict[str, str]:
        """Digests of what was judged on, by name."""
        named = {**self.summary.get("tasks", {}), **self.summary.get("datasets", {})}
        return {name: str(one.get("digest", "")) for name, one in named.items()}

    @property
    def leaks(self) -> list[str]:
        """What it says of slices that are in pretraining data."""
        return [str(verdict) for verdict in self.summary.get("leaks", {}).values()]


def read_evaluations(folders: Sequence[str]) -> list[Evaluation]:
    """All evaluations, one for each folder.

    Raises:
        UserError: a folder holds no finished evaluation, or a damaged one.
    """
    found = []
    for folder in folders:
        results = read_results([place(folder)])
        if not results.summaries:
            raise UserError(
                f"the evaluation in {place(folder).uri} has no {SUMMARY}", "run its command to the end"
            )
        found.append(Evaluation(results.summaries[0], results.rows, results.units))
    return found


def common_rows(evaluations: Sequence[Evaluation], candidate: str, champion: str) -> list[Measurement]:
    """Rows of what judged both encoders, given by their digests, under the names that the gate takes.

    They may come from one evaluation, or each from its own with the same draws.

    Raises:
        UserError: draws of the same number are not the same, or a task of an evaluation judged one alone.
    """
    rows: dict[str, Measurement] = {}
    units = []
    for one in evaluations:
        names = {one.name_of(candidate): CANDIDATE, one.name_of(champion): CHAMPION}
        named = [replace(row, encoder=names[row.encoder]) for row in one.rows if row.encoder in names]
        rows |= {repr(row): row for row in named}  # the same measurement may lie in two folders
        units += [unit for unit in one.units if unit["encoder"] in names]
        _require_both(named)
    sides = [
        {_question(row) for row in rows.values() if row.encoder == side} for side in (CANDIDATE, CHAMPION)
    ]
    both = sides[0] & sides[1]
    require_same_draws(
        unit for unit in units if (unit["protocol"], unit["task"]) in {one[:2] for one in both}
    )
    return [row for row in rows.values() if _question(row) in both]


def score_lines(evaluations: Sequence[Evaluation], digest: str, logged: Sequence[Logged] = ()) -> list[str]:
    """Every mean of an encoder that has an interval, as lines; ``logged`` ones if none else does so."""
    lines, told = [], set()
    for one in evaluations:
        name, comparison = one.name_of(digest), compared(one.rows, None)
        if name is not None and not isinstance(comparison, str):
            scores = [score for score in comparison.scores if score.encoder == name and score.interval]
            told |= {(score.question.protocol, score.question.task) for score in scores}
            lines += [_line(score, str(one.summary.get("part", ""))) for score in scores]
    for old in logged:
        if (old.protocol, old.task) not in told:
            lines += [f"{old.protocol}, {old.task}: {score}" for score in old.scores]
    return list(dict.fromkeys(lines))


def leak_lines(evaluations: Sequence[Evaluation], digest: str, logged: Sequence[Logged] = ()) -> list[str]:
    """What evaluations of an encoder say of leaks."""
    told = [line for one in evaluations if one.name_of(digest) is not None for line in one.leaks]
    told += [old.leaks for old in logged]
    return [f"leaks: {line}" for line in dict.fromkeys(told)]


def log_evaluations(
    evaluations: Sequence[Evaluation], embedder: Embedder, digest: str, version: str, where: Home
) -> None:
    """Log what evaluations found of an encoder beside its version, unless that was done before."""
    for one in evaluations:
        name, comparison = one.name_of(digest), compared(one.rows, None)
        if name is not None and not isinstance(comparison, str) and not one.summary.get("failed"):
            judged_as = str(one.summary["encoders"][name].get("digest", digest))
            contender = Contender(name, embedder, judged_as, version)
            leaks, code = one.summary.get("leaks", {}), one.summary.get("code")
            log_scores(one.data, [contender], one.rows, comparison, leaks, where, code)


def _line(score: Score, part: str) -> str:
    amount = score.amount
    return (
        f"{score.question}: {score.interval} over {amount.patients} patients ({part}) x {amount.draws} draws"
    )


def _require_both(rows: Sequence[Measurement]) -> None:
    """A task on which all units of one encoder failed must not go unnoticed."""
    asked = {side: {_question(row) for row in rows if row.encoder == side} for side in (CANDIDATE, CHAMPION)}
    if all(asked.values()) and asked[CANDIDATE] != asked[CHAMPION]:
        protocol, task, _ = min(asked[CANDIDATE] ^ asked[CHAMPION])
        raise UserError(
            f"an evaluation of both has {protocol} on {task} of one of them alone",
            "run its command again until no unit fails",
        )


def _question(row: Measurement) -> tuple[str, str, str]:
    return row.protocol, row.task, row.mode
