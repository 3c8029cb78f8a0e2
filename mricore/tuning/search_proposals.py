"""Settings of trials, numbered in the order in which they were proposed, for Ray Tune."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from mricore.config.search import Settings
from mricore.tuning.search_space import SCORE, Source
from mricore.tuning.unstored import Unstored

ATTEMPTS = 100
"""A proposal that no trial can use, or that was made before, is followed by another; so often."""

Prepare = Callable[[int, Settings], dict[str, Any] | None]
"""From a number and settings to the configuration of a trial; None if no trial can use them."""


class Proposals(Unstored, Searcher):
    """Asks a source and prepares trials; a space that holds nothing new ends the search."""

    def __init__(self, source: Source, prepare: Prepare) -> None:
        super().__init__(metric=SCORE, mode="max")
        self._source, self._prepare = source, prepare
        self._number = 0
        self._made: set[str] = set()
        self._keys: dict[str, str] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: Any, **spec: Any) -> bool:
        """They are what they were made with."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The configuration of the next trial."""
        for attempt in range(ATTEMPTS):
            key, settings = self._source.propose(self._number, attempt)
            text = json.dumps(settings, sort_keys=True)
            config = None if text in self._made else self._prepare(self._number, settings)
            if config is not None:
                self._made.add(text)
                self._keys[trial_id] = key
                self._number += 1
                return config
            self._source.ended(key, None)
        return Searcher.FINISHED

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A trial reported on its way."""
        if SCORE in result:
            self._source.scored(self._keys[trial_id], result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial ended."""
        self._source.ended(self._keys.pop(trial_id), None if error else result)

    def save(self, checkpoint_path: str) -> None:
        """A search goes on from its own folder, so there is nothing to keep here."""
        Path(checkpoint_path).write_text("")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was kept."""
