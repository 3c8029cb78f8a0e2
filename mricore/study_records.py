"""What a study came to, as stored in its ``study.json``: read by reports, written as states change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from mricore.errors import UserError

STUDY = "study.json"
FORMAT = 2
ENCODERS, EVALUATIONS, REPORT = "encoders", "evaluations", "report.html"
TABLES, FIGURES = "tables.md", "figures"
"""Names in the folder of a study, beside ``study.json``."""

State = Literal["waiting", "finished", "ill", "failed"]
"""No encoder yet; encoder there; ill at the end of its training, or stopped by that; stopped by a fault."""
Kind = Literal["bars", "curve"]
Part = Literal["development", "test"]


@dataclass(frozen=True)
class Asked:
    """A question of the study: ``arms`` are compared with ``reference``, all by name."""

    name: str
    title: str
    reference: str
    arms: tuple[str, ...]
    kind: Kind


@dataclass(frozen=True)
class ArmResult:
    """An arm and the training that it is read from; several arms may share one.

    ``settings`` is what distinguishes it from the study's recipe, as with ``--set``. What is not known (yet)
    is empty or None. An arm that is not trained has no run, 0 ``epochs`` and 0 ``steps``.
    """

    name: str
    recipe: str
    settings: tuple[str, ...]
    run: str
    """Name of the run."""
    mlflow_run_id: str
    epoch: int
    """Epochs after which the encoder is read."""
    epochs: int
    """Epochs that its training takes in all."""
    state: State = "waiting"
    problem: str = ""
    """Why it failed, or the signs of illness, in one line."""
    steps: int | None = None
    checkpoint: str = ""
    """Folder of the run."""
    encoder: str = ""
    """Folder below ``encoders``; arms that are the same encoder share it. Empty if there is none."""
    seconds_predicted: float | None = None
    """Of the training up to this arm's epoch."""
    seconds_measured: float | None = None
    """Of the whole training, of the process that ended it."""

    @property
    def is_trained(self) -> bool:
        """Whether there is a training; otherwise the encoder is the one that trainings begin with."""
        return self.epochs > 0


@dataclass(frozen=True)
class Evaluated:
    """How arms were judged; ``tasks`` and ``arms`` by name."""

    protocol: str
    """As rows of measurements name it."""
    mode: str
    draws: int
    tasks: tuple[str, ...]
    settings: tuple[str, ...] = ()
    """Of the judging, as with ``--set``."""
    arms: tuple[str, ...] = ()
    """The only ones that were judged; empty for all of the study."""

    @property
    def folder(self) -> str:
        """Where it lies, in the folder of the study."""
        return f"{EVALUATIONS}/{self.protocol}-{self.mode}"


@dataclass(frozen=True)
class StudyResult:
    """The declaration of a study and what became of it."""

    name: str
    title: str
    recipe: str
    baseline: str
    """Name of the arm."""
    settings: tuple[str, ...]
    """Of all arms, as with ``--set``."""
    arms: tuple[ArmResult, ...]
    questions: tuple[Asked, ...]
    manifest_digest: str = ""
    slices: int = 0
    """Of the curated dataset."""
    generated_phantoms: bool = False
    """Whether the data are generated, not of patients."""
    code_revision: str = ""
    mlflow_run_id: str = ""
    """The parent of the arms' runs."""
    part: Part = "development"
    """Of the labelled tasks: whose patients judge. Test patients only if the study's file said so before."""
    judging: tuple[str, ...] = ()
    """What the command line said of the judging, as its words; FILE stands for a file of the user."""
    evaluations: tuple[Evaluated, ...] = ()
    """Empty before the arms are judged, or without a labelled task."""

    def arm(self, name: str) -> ArmResult:
        """The arm of that name.

        Raises:
            KeyError: there is none.
        """
        found = next((arm for arm in self.arms if arm.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def to_json(self) -> str:
        """All of it as text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> StudyResult:
        """What ``to_json`` wrote.

        Raises:
            UserError: it is damaged, or of another version.
        """
        try:
            document = json.loads(text)
            if document.pop("format") != FORMAT:
                raise ValueError("another format")
            return _result(document)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError(
                f"{STUDY} is damaged or of another version", "remove the folder of the study"
            ) from None


def _result(document: Mapping[str, Any]) -> StudyResult:
    nested = {
        "settings": tuple(document["settings"]),
        "judging": tuple(document["judging"]),
        "arms": tuple(_made(ArmResult, one) for one in document["arms"]),
        "questions": tuple(_made(Asked, one) for one in document["questions"]),
        "evaluations": tuple(_made(Evaluated, one) for one in document["evaluations"]),
    }
    return StudyResult(**{**document, **nested})


def _made(kind: type[Any], document: Mapping[str, Any]) -> Any:
    """A flat record from plain data; lists become tuples."""
    known = {field.name for field in fields(kind)}
    if set(document) - known:
        raise ValueError("unknown names")
    return kind(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in document.items()}
    )
