"""When a version takes the alias from the present champion."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from mricore.config.fields import Frozen

PRIMARY: Mapping[str, str] = {
    "few_shot": "dice_3d",
    "patch_probe": "dice_3d",
    "linear_probe": "accuracy",
    "knn": "accuracy",
}
"""The score of each protocol that decides; other protocols and scores decide nothing."""
DRAWN = frozenset({"few_shot", "patch_probe", "linear_probe"})
"""Protocols whose scores differ from draw to draw."""


class Promotion(Frozen):
    """The rule of the gate, on paired differences (candidate - champion) with their 95% intervals.

    The candidate takes the alias if, in each protocol that judged both on the same patients and draws,

    1. *nowhere worse*: on every task the lower end of the interval is at least ``-margin``;
    2. *better*: the interval of the mean over the tasks lies above 0;
    3. enough was drawn: at least ``fewest_draws`` draws, where a protocol draws at random.

    So the burden of proof lies with the candidate, and what has no interval (one patient) proves nothing.
    With ``margin`` 0 it must be better beyond noise on every task; a margin of 0.01 admits tasks on which
    both are alike, if their intervals are narrower than that. Why: docs/decisions/0012-promotion.md.
    """

    margin: float = Field(0.0, ge=0, lt=1)
    """In units of the score, which are shares from 0 to 1."""
    fewest_draws: int = Field(3, ge=1)
    """With one draw an interval says nothing of others, with two it is often too narrow."""
