"""Studies as TOML files that people read and edit: arms to train alike, how they are judged, and what their
scores shall answer.

docs/ablation.md explains every line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from mricore.config.documents import Documents, refuse_unknown
from mricore.config.fields import Frozen
from mricore.errors import UserError

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+-]*$", max_length=60)]
Text = Annotated[str, Field(min_length=1)]
Setting = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.]*\s*=")]
ADDED = "added"
"""The question that arms of the command line are asked in."""


class ArmSpec(Frozen):
    """One way to train: ``settings`` as with ``--set``, on top of the study's recipe and settings."""

    name: Name
    settings: tuple[Setting, ...] = ()
    recipes: dict[str, str] = Field(default_factory=dict)
    """The recipe that this arm begins with instead, by the recipe of the study: a rival objective has its own
    settings at each size."""
    untrained: bool = False
    """Whether it is the encoder before the first step, which is not trained at all."""


class Question(Frozen):
    """``arms`` are compared with ``reference``; p is corrected for all comparisons of the question."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    title: Text
    reference: Name
    arms: tuple[Name, ...] = Field(min_length=1)
    kind: Literal["bars", "curve"] = "bars"
    """How it is drawn: paper figure 2b, or figure 2c over epochs."""


class JudgeSpec(Frozen):
    """A protocol of ``eval/`` that arms are judged by; the mode is by default that of its script."""

    protocol: Literal["few_shot", "patch_probe", "zero_shot", "knn", "linear_probe"]
    mode: Text | None = None
    draws: int | None = Field(default=None, ge=1)
    settings: tuple[Setting, ...] = ()
    """As with ``--set``."""
    arms: tuple[Name, ...] = ()
    """The only ones that it judges; empty for all."""


class Study(Frozen):
    """Arms that share a recipe and data, and what is asked of them."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    title: Text
    recipe: Text
    baseline: Name
    """The arm that all others are compared with where no question is asked."""
    settings: tuple[Setting, ...] = ()
    """Of all arms."""
    arms: tuple[ArmSpec, ...] = Field(min_length=1)
    questions: tuple[Question, ...] = ()
    part: Literal["development", "test"] = "development"
    """Whose patients judge. Test patients are for studies in which nothing is chosen."""
    judges: tuple[JudgeSpec, ...] = ()
    """Empty where the command line says how arms are judged."""

    @model_validator(mode="after")
    def _names_fit(self) -> Study:
        arms = [arm.name for arm in self.arms]
        _refuse_twice("arm", arms)
        _refuse_twice("question", [question.name for question in self.questions])
        if all(arm.untrained for arm in self.arms):
            raise ValueError("no arm is trained: leave out untrained = true of one")
        if self.part == "test" and not self.judges:
            raise ValueError("who is judged on test patients says how beforehand: write [[judge]]")
        named = [self.baseline, *(name for judge in self.judges for name in judge.arms)]
        for judge in self.judges:
            _refuse_twice(f"arm of judge {judge.protocol}", judge.arms)
        for question in self.questions:
            _refuse_twice(f"arm in question {question.name}", [question.reference, *question.arms])
            named += [question.reference, *question.arms]
        for name in named:
            if name not in arms:
                raise ValueError(f"there is no arm {name!r}, the arms are: {', '.join(arms)}")
        return self

    def with_arms(self, added: Sequence[ArmSpec]) -> Study:
        """The study with more arms, which are compared with the baseline.

        Raises:
            UserError: the study has an arm of that name, or is judged on test patients.
        """
        if not added:
            return self
        if self.part == "test":
            raise UserError(
                f"study {self.name} is judged on test patients, so its arms are fixed beforehand",
                "write --arm into a file of its own, or leave it out",
            )
        asked = Question(
            name=ADDED,
            title="Arms of the command line",
            reference=self.baseline,
            arms=tuple(arm.name for arm in added),
        )
        return _validated(
            self.name,
            {
                **self.model_dump(mode="json"),
                "arms": [arm.model_dump(mode="json") for arm in (*self.arms, *added)],
                "questions": [one.model_dump(mode="json") for one in (*self.questions, asked)],
            },
        )


_FILES = Documents("study", "studies", "docs/ablation.md")
_KEYS = {
    "name": "name",
    "title": "title",
    "recipe": "recipe",
    "baseline": "baseline",
    "settings": "settings",
    "arm": "arms",
    "question": "questions",
    "part": "part",
    "judge": "judges",
}
"""Keys of a file, and the settings of ``Study`` that they stand for."""
_SECTIONS = {
    "arm": tuple(ArmSpec.model_fields),
    "question": tuple(Question.model_fields),
    "judge": tuple(JudgeSpec.model_fields),
}


def study_names() -> tuple[str, ...]:
    """The studies that come with mricore."""
    return _FILES.names()


def load_study(path_or_name: str) -> Study:
    """The study of a TOML file, or one that comes with mricore.

    Raises:
        UserError: there is no such study, it cannot be read, or it says something that is not understood.
    """
    document = _FILES.load(path_or_name)
    what = f"study {path_or_name}"
    refuse_unknown(f"{what}: key", document, _KEYS)
    for section, keys in _SECTIONS.items():
        content = document.get(section, [])
        if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
            raise UserError(f"{what}: [{section}] is not a list", f"write [[{section}]]")
        for number, one in enumerate(content, 1):
            refuse_unknown(f"{what}: {section} {number}: key", one, keys)
    return _validated(path_or_name, {_KEYS[key]: value for key, value in document.items()})


def study_of(name: str, title: str, recipe: str, arms: Sequence[ArmSpec]) -> Study:
    """A study without a file: all arms are compared with the first.

    Raises:
        UserError: two arms have the same name, or a name or a setting is not one.
    """
    first, *others = (arm.name for arm in arms)
    asked = [{"name": ADDED, "title": title, "reference": first, "arms": others}] if others else []
    document = {"name": name, "title": title, "recipe": recipe, "baseline": first}
    return _validated(
        name, {**document, "arms": [arm.model_dump(mode="json") for arm in arms], "questions": asked}
    )


def arm_of(name: str, settings: Sequence[str]) -> ArmSpec:
    """An arm of the command line.

    Raises:
        UserError: the name, or a setting, is not one.
    """
    try:
        return ArmSpec(name=name, settings=tuple(settings))
    except ValidationError:
        raise UserError(
            f"--arm {name!r} has a name or a setting that cannot be understood",
            "e.g. --arm low=optimizer.lr=1e-4; names are of letters, digits, spaces and . _ + -",
        ) from None


def _validated(path_or_name: str, document: Mapping[str, Any]) -> Study:
    try:
        return Study.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        raise _FILES.refusal(
            ": ".join([f"study {path_or_name}", *([place] if place else [])]), first
        ) from None


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{what} {twice!r} is there twice")
