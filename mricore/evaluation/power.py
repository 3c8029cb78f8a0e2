"""How many draws and patients it takes to see a difference between two encoders, by simulation.

Differences are simulated from variance components that were observed, with normal effects, and tested as
``comparison.py`` tests them. The components of few patients or draws are uncertain, and so is the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mricore.evaluation.crossed import Components, mean_p
from mricore.evaluation.statistics import Interval, wilson

STUDIES = 500
ALPHA = 0.05
WANTED = 0.8
"""The usual aim: four of five studies see what is there."""


@dataclass(frozen=True)
class Design:
    """So many patients and draws see the difference in a share ``power`` of simulated studies."""

    patients: int
    draws: int
    power: Interval

    def __str__(self) -> str:
        return f"{self.patients} patients x {self.draws} draws: power {self.power}"


def power(
    found: Components, patients: int, draws: int, difference: float, rng: np.random.Generator
) -> Interval:
    """Share of studies with p < 0.05 (uncorrected), with Wilson's interval for the number simulated.

    Raises:
        ValueError: there are fewer than two patients or draws.
    """
    if min(patients, draws) < 2:
        raise ValueError(f"{patients} patients and {draws} draws are too few for a study of both")
    seen = 0
    for _ in range(STUDIES):
        values = (
            difference
            + math.sqrt(found.patients) * rng.normal(size=(patients, 1))
            + math.sqrt(found.draws) * rng.normal(size=(1, draws))
            + math.sqrt(found.rest) * rng.normal(size=(patients, draws))
        )
        p = mean_p([values], rng)
        seen += p is not None and p < ALPHA
    return wilson(seen / STUDIES, STUDIES)


def smallest_design(
    found: Components,
    difference: float,
    patients: Sequence[int],
    draws: Sequence[int],
    rng: np.random.Generator,
) -> Design | None:
    """The first design with ``WANTED`` power among all pairs of the numbers given; None if there is none.

    Pairs are tried by their number of cells (patients x draws), the smallest first.
    """
    for cells in sorted(((n, k) for n in patients for k in draws), key=lambda pair: (math.prod(pair), pair)):
        share = power(found, *cells, difference, rng)
        if share.value >= WANTED:
            return Design(*cells, share)
    return None
