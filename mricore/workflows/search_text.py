"""A search as text: its trials, the best first, and what to do with the winner."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from mricore.config.search import assignments
from mricore.data.progress import duration
from mricore.tuning.search_results import TrialResult

SHOWN = 10
NOTE = (
    "The winner's score is optimistic: the best of many, on the slices that chose it. Judge it on the test\n"
    "patients with eval/few_shot.py, beside an encoder with the recipe's own settings."
)


def table(results: Sequence[TrialResult]) -> str:
    """The best trials with their settings, one a line; those that were stopped come after the others."""
    head = f"{'trial':>5}  {'score':>6}  {'at step':>8}  {'time':>10}  {'':8}  settings"
    rest = [f"and {len(results) - SHOWN} more in search.json"] if len(results) > SHOWN else []
    return "\n".join([head, *(_row(one) for one in results[:SHOWN]), *rest])


def line(one: TrialResult) -> str:
    """How a trial ended."""
    score = "" if one.end.score is None else f", score {one.end.score:.4f} at step {one.end.scores[-1][0]:,}"
    return f"trial {one.proposal.number} {one.end.state}{score}, in {duration(one.end.seconds)}"


def _row(one: TrialResult) -> str:
    score = "-" if one.end.score is None else f"{one.end.score:.4f}"
    step = f"{one.end.scores[-1][0]:,}" if one.end.scores else "-"
    settings = " ".join(assignments(one.proposal.settings))
    spent = duration(one.end.seconds)
    return f"{one.proposal.number:>5}  {score:>6}  {step:>8}  {spent:>10}  {one.end.state:8}  {settings}"


def commands(results: Sequence[TrialResult], recipe: str, given: Sequence[str]) -> list[str]:
    """The command that publishes the encoder of the winner, which is not trained again; none without one."""
    if not results or results[0].end.state != "finished":
        return ["no trial was trained to its end"]
    settings = [part for one in assignments(results[0].proposal.settings) for part in ("--set", one)]
    return [
        f"winner:   trial {results[0].proposal.number}, run {results[0].proposal.run}",
        f"publish:  python jobs/pretrain.py {shlex.join([recipe, *given, *settings])}",
    ]
