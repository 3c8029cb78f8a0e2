"""What became of the trials of a search, as stored beside their search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mricore.data.storage import Place
from mricore.errors import UserError

State = Literal["waiting", "finished", "stopped", "ill", "failed"]
"""Not at its end yet; trained to the end; ended as others were better, or as it was ill; ended by a fault."""
ENDED = ("finished", "stopped", "ill")
"""States that the same command does not try to change."""
PROPOSAL, END = "proposal.json", "end.json"


@dataclass(frozen=True)
class Proposal:
    """A trial before it begins: settings by path, the name of its run, and its run in MLflow."""

    number: int
    settings: dict[str, Any]
    run: str
    mlflow_run_id: str


@dataclass(frozen=True)
class End:
    """How a trial ended. ``scores`` are (step, score) by step; ``seconds`` of the process that ended it."""

    state: State
    problem: str = ""
    checkpoint: str = ""
    scores: tuple[tuple[int, float], ...] = ()
    seconds: float = 0.0

    @property
    def score(self) -> float | None:
        """The last one."""
        return self.scores[-1][1] if self.scores else None


@dataclass(frozen=True)
class TrialResult:
    """A trial and its end."""

    proposal: Proposal
    end: End

    @property
    def rank(self) -> tuple[bool, float]:
        """Trials that were trained to the end are before others, then better ones before worse."""
        score = self.end.score
        return self.end.state != "finished", float("inf") if score is None else -score


def ranked(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The best first."""
    return sorted(results, key=lambda one: one.rank)


def write_proposal(folder: Place, proposal: Proposal) -> None:
    """Store it in the folder of its trial."""
    folder.write_bytes(PROPOSAL, json.dumps(asdict(proposal), indent=1).encode())


def write_end(folder: Place, end: End) -> None:
    """Store it in the folder of its trial."""
    folder.write_bytes(END, json.dumps(asdict(end), indent=1).encode())


def read_proposal(folder: Place) -> Proposal | None:
    """What was proposed, if that came about.

    Raises:
        UserError: the file is damaged or of another version.
    """
    found = _read(folder, PROPOSAL)
    return None if found is None else _made(folder, Proposal, found)


def read_end(folder: Place) -> End | None:
    """How the trial ended, if it has.

    Raises:
        UserError: the file is damaged or of another version.
    """
    found = _read(folder, END)
    if found is None:
        return None
    scores = tuple((int(step), float(score)) for step, score in found.get("scores", ()))
    return _made(folder, End, {**found, "scores": scores})


def _read(folder: Place, name: str) -> dict[str, Any] | None:
    if not folder.exists(name):
        return None
    try:
        found = json.loads(folder.read_bytes(name))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _damaged(folder)
    return found


def _made(folder: Place, kind: type[Any], found: dict[str, Any]) -> Any:
    try:
        return kind(**found)
    except TypeError:
        raise _damaged(folder) from None


def _damaged(folder: Place) -> UserError:
    return UserError(f"{folder.uri} is damaged or of another version", "remove this folder")
