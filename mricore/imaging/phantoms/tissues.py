"""Tissues and the signal they give: relaxation at 1.5 T and the spin-echo equations."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Tissue(IntEnum):
    """Labels of a phantom's mask."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    CORTEX = 4
    MARROW = 5
    CARTILAGE = 6
    FLUID = 7
    VESSEL = 8
    LIVER = 9
    SPLEEN = 10
    KIDNEY = 11
    DISC = 12
    CORD = 13
    BOWEL = 14
    TENDON = 15
    GREY_MATTER = 16
    WHITE_MATTER = 17


RELAXATION: dict[Tissue, tuple[float, float, float]] = {
    Tissue.AIR: (0.0, 1000, 50),
    Tissue.SKIN: (0.65, 900, 30),
    Tissue.FAT: (0.95, 260, 80),
    Tissue.MUSCLE: (0.80, 900, 40),
    Tissue.CORTEX: (0.08, 900, 8),
    Tissue.MARROW: (0.85, 330, 65),
    Tissue.CARTILAGE: (0.75, 1060, 42),
    Tissue.FLUID: (1.00, 3600, 800),
    Tissue.VESSEL: (0.20, 1500, 120),  # flowing blood leaves the slice before it is read
    Tissue.LIVER: (0.75, 580, 46),
    Tissue.SPLEEN: (0.85, 1060, 79),
    Tissue.KIDNEY: (0.85, 960, 87),
    Tissue.DISC: (0.85, 1150, 110),
    Tissue.CORD: (0.80, 750, 78),
    Tissue.BOWEL: (0.80, 1000, 90),
    Tissue.TENDON: (0.25, 700, 12),
    Tissue.GREY_MATTER: (0.86, 1100, 95),
    Tissue.WHITE_MATTER: (0.77, 660, 75),
}
"""Proton density, T1 and T2 in ms; textbook orders of magnitude at 1.5 T."""
T1_GROWTH_AT_3T = 1.25


@dataclass(frozen=True)
class Timing:
    """Repetition, echo and inversion time in ms; inversion 0 means none."""

    repetition: float
    echo: float
    inversion: float = 0.0


def signals(timing: Timing, field_strength: float) -> NDArray[np.float32]:
    """Signal of each tissue (number of tissues,), spin echo or inversion recovery, arbitrary units."""
    density, t1, t2 = np.array([RELAXATION[tissue] for tissue in Tissue]).T
    t1 = t1 * (T1_GROWTH_AT_3T if field_strength > 2 else 1.0)
    recovered = 1 - np.exp(-timing.repetition / t1)
    if timing.inversion:
        recovered = np.abs(1 - 2 * np.exp(-timing.inversion / t1) + np.exp(-timing.repetition / t1))
    return (density * recovered * np.exp(-timing.echo / t2)).astype(np.float32)
