"""What a hyper-parameter search tries: for each setting a range or some values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from mricore.config.documents import Documents, refuse_unknown
from mricore.config.fields import Frozen
from mricore.config.idle import idle_because
from mricore.config.overrides import apply_overrides, setting_paths
from mricore.config.schema import Recipe

Settings = dict[str, Any]
"""Values by dotted path, as JSON has them."""


class Dimension(Frozen):
    """The values that one setting may take; exactly one of the three is given."""

    uniform: tuple[float, float] | None = None
    """From the first to the second."""
    log_uniform: tuple[float, float] | None = None
    """The same, with as many values between 1 and 10 as between 10 and 100."""
    choice: tuple[Any, ...] | None = Field(None, min_length=2)
    """One of these, each as likely."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in ("uniform", "log_uniform", "choice") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("write one of uniform, log_uniform and choice")
        if self.log_uniform and self.log_uniform[0] <= 0:
            raise ValueError("log_uniform needs numbers above 0")
        if self.range and self.range[0] >= self.range[1]:
            raise ValueError(f"the first of {list(self.range)} must be below the second")
        return self

    @property
    def range(self) -> tuple[float, float] | None:
        """Lowest and highest value; None for a choice."""
        return self.uniform or self.log_uniform

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that stand for all when they are checked: the ends of a range, or every choice."""
        return self.choice or self.range or ()


class Halving(Frozen):
    """When asynchronous successive halving (arXiv 1810.05934) stops a trial.

    A trial is compared when it has done ``grace`` of its training, then ``reduction`` times as much, and so
    on; it goes on if it is among the best ``1 / reduction`` of the trials that came there.
    """

    grace: float = Field(0.1, gt=0, lt=1)
    reduction: float = Field(3.0, gt=1)


class Space(Frozen):
    """The settings that a search varies, by dotted path, and how it stops trials early."""

    settings: dict[str, Dimension] = Field(min_length=1)
    halving: Halving = Halving()

    def check(self, recipe: Recipe) -> None:
        """Refuse what no trial of ``recipe`` could use.

        Raises:
            UserError: a path is unknown, a value is refused by the schema, or the setting does nothing.
        """
        for path, dimension in self.settings.items():
            for value in dimension.extremes:
                apply_overrides(recipe, [assignment(path, value)])


def assignment(path: str, value: Any) -> str:
    """As ``--set`` takes it."""
    return f"{path}={json.dumps(value)}"


def assignments(settings: Mapping[str, Any]) -> list[str]:
    """All of them, as ``--set`` takes them."""
    return [assignment(path, value) for path, value in settings.items()]


LR_FACTOR = 4.0
"""The default space goes so far below and above the learning rate of the recipe."""


def default_space(recipe: Recipe) -> Space:
    """Learning rate, the teacher's momentum, temperatures, and augmentation; what is idle is left out.

    The learning rate spans a factor of 16 about that of the recipe, which paper section 2.1.1 varies by 10.
    In DINOv2 (arXiv 2304.07193) the temperatures of teacher and student are 0.07 and 0.1, its momentum 0.992
    and above. Augmentation is how much of a slice a crop shows, noise, and the share of masked crops.
    """
    lr = recipe.optimizer.lr
    every = {
        "optimizer.lr": Dimension(log_uniform=(lr / LR_FACTOR, lr * LR_FACTOR)),
        "objective.teacher_momentum": Dimension(uniform=(0.98, 0.998)),
        "objective.teacher_temperature": Dimension(uniform=(0.04, 0.07)),
        "objective.student_temperature": Dimension(uniform=(0.08, 0.15)),
        "augment.global_scale": Dimension(choice=([0.2, 1.0], [0.32, 1.0], [0.5, 1.0])),
        "augment.noise_probability": Dimension(uniform=(0.0, 0.4)),
        "augment.mask_probability": Dimension(uniform=(0.3, 0.7)),
    }
    unusable = {"augment.noise_probability"} if recipe.method == "mae" else set()
    return Space(
        settings={
            path: dimension
            for path, dimension in every.items()
            if path not in unusable and idle_because(recipe, path) is None
        }
    )


_FILES = Documents("space", "spaces", "docs/search.md")


def load_space(path: str) -> Space:
    """A space of a TOML file.

    Raises:
        UserError: it cannot be read, or says what is not understood.
    """
    what, document = f"space {path}", _FILES.load(path)
    refuse_unknown(f"{what}: section", document, tuple(Space.model_fields))
    if isinstance(document.get("settings"), dict):
        refuse_unknown(f"{what}: setting", document["settings"], setting_paths())
    try:
        return Space.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"])
        raise _FILES.refusal(f"{what}: {place}" if place else what, first) from None
