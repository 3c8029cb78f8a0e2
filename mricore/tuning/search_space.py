"""Values of a space: drawn at random, or chosen by Optuna from what was scored before."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from ray.tune.search.optuna import OptunaSearch

from mricore.config.search import Dimension, Settings, Space

SCORE = "score"
"""What trials report, the higher the better."""
DIGITS = 4
"""Numbers are rounded to so many significant digits, so that people can read and repeat them."""


class Source(Protocol):
    """Proposes settings; ``key`` is of one proposal and returns with what became of it."""

    def propose(self, number: int, attempt: int) -> tuple[str, Settings]:
        """Settings for trial ``number``, at the ``attempt``-th try."""
        ...

    def scored(self, key: str, result: Mapping[str, Any]) -> None:
        """A trial with that proposal reported."""
        ...

    def ended(self, key: str, result: Mapping[str, Any] | None) -> None:
        """It ended with this last result, or without one."""
        ...


class AtRandom:
    """Each proposal is a function of seed, number and attempt: what else runs has no influence."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def propose(self, number: int, attempt: int) -> tuple[str, Settings]:
        """Independent values for all settings."""
        rng = np.random.default_rng((self._seed, number, attempt))
        drawn = {path: _drawn(one, rng) for path, one in self._space.settings.items()}
        return f"{number}.{attempt}", drawn

    def scored(self, key: str, result: Mapping[str, Any]) -> None:
        """Nothing is learned."""

    def ended(self, key: str, result: Mapping[str, Any] | None) -> None:
        """Nothing is learned."""


class ByOptuna:
    """Optuna's TPE (Bergstra et al., NeurIPS 2011) through Ray Tune's ``OptunaSearch``.

    ``known`` are the settings of the first trials, of a search that goes on: they are proposed again.
    """

    def __init__(self, space: Space, seed: int, known: Sequence[Settings] = ()) -> None:
        self._space = space
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        points = [_as_parameters(space, settings) for settings in known]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._search = OptunaSearch(
                distributions(space),
                metric=SCORE,
                mode="max",
                # one that is to be reproduced takes its seed from the sampler, as a seed of 0 would get lost
                sampler=optuna.samplers.TPESampler(seed=seed % 2**32),
                points_to_evaluate=points or None,
            )

    def propose(self, number: int, attempt: int) -> tuple[str, Settings]:
        """What looks best after the results so far."""
        key = f"{number}.{attempt}"
        suggested = self._search.suggest(key) or {}
        settings = {
            path: _as_value(dimension, suggested[path]) for path, dimension in self._space.settings.items()
        }
        return key, settings

    def scored(self, key: str, result: Mapping[str, Any]) -> None:
        """Hand on a score on the way."""
        self._search.on_trial_result(key, dict(result))

    def ended(self, key: str, result: Mapping[str, Any] | None) -> None:
        """Hand on the last score; a trial without one counts as failed."""
        usable = dict(result) if result and SCORE in result else None
        self._search.on_trial_complete(key, usable, error=usable is None)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The space as Optuna knows it; choices are JSON texts, as lists are among them."""
    return {path: _distribution(dimension) for path, dimension in space.settings.items()}


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.range is None:
        return CategoricalDistribution([json.dumps(value) for value in dimension.choice or ()])
    return FloatDistribution(*dimension.range, log=dimension.log_uniform is not None)


def _as_value(dimension: Dimension, parameter: Any) -> Any:
    return json.loads(parameter) if dimension.range is None else _rounded(float(parameter), dimension.range)


def _as_parameters(space: Space, settings: Settings) -> dict[str, Any]:
    return {
        path: json.dumps(settings[path]) if dimension.range is None else settings[path]
        for path, dimension in space.settings.items()
    }


def _drawn(dimension: Dimension, rng: np.random.Generator) -> Any:
    if dimension.range is None:
        choices = dimension.choice or ()
        return json.loads(json.dumps(choices[int(rng.integers(len(choices)))]))  # lists, as JSON has them
    low, high = dimension.range
    if dimension.uniform:
        return _rounded(float(rng.uniform(low, high)), dimension.range)
    return _rounded(math.exp(rng.uniform(math.log(low), math.log(high))), dimension.range)


def _rounded(value: float, within: tuple[float, float]) -> float:
    return min(max(float(f"{value:.{DIGITS}g}"), within[0]), within[1])
