"""What the paper reports on the datasets that anyone can get, to stand beside one's own numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass

SOURCE = "MRI-CORE, arXiv 2506.12186, appendix A"
METRICS = ("dice_2d", "dice_3d", "nsd_voxel")
"""The columns of its tables, by our names; the paper's NSD is in voxels and tells no tolerance."""


@dataclass(frozen=True)
class Published:
    """Mean and standard deviation in percent, as printed; the paper does not tell what it deviates over."""

    mean: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.mean:.1f} ({self.deviation:.1f})"


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper: method -> a value for each of ``METRICS``."""

    name: str
    dataset: str
    methods: dict[str, tuple[Published, Published, Published]]


def _row(*numbers: float) -> tuple[Published, Published, Published]:
    first, second, third = (Published(numbers[at], numbers[at + 1]) for at in (0, 2, 4))
    return first, second, third


TABLES = {
    "mmthigh": PaperTable(
        "Table A4",
        "MMThigh (there: Public-Leg)",
        {
            "Baseline": _row(56.85, 2.53, 56.61, 2.62, 38.25, 4.16),
            "nnU-Net": _row(64.86, 5.74, 67.05, 5.88, 63.30, 5.62),
            "SAM": _row(69.25, 2.29, 71.97, 2.32, 65.87, 4.31),
            "MedSAM": _row(57.29, 6.39, 58.61, 6.73, 54.24, 4.30),
            "MRI-CORE": _row(74.31, 1.82, 76.68, 2.02, 70.03, 3.34),
        },
    ),
    "piano": PaperTable(
        "Table A5",
        "PIANO hand MRI (there: Public-Hand)",
        {
            "Baseline": _row(32.99, 4.27, 35.61, 5.29, 30.45, 4.22),
            "nnU-Net": _row(64.58, 7.75, 67.94, 10.6, 67.76, 10.0),
            "SAM": _row(64.76, 5.20, 69.62, 6.01, 66.69, 6.12),
            "MedSAM": _row(53.66, 5.74, 58.21, 6.51, 54.65, 5.99),
            "MRI-CORE": _row(68.88, 3.76, 72.71, 4.33, 69.39, 5.62),
        },
    ),
}
"""By the name of the task that ships with mricore."""
METHODS = {
    "random": "Baseline",
    "nnunet": "nnU-Net",
    "nnunetv2": "nnU-Net",
    "sam": "SAM",
    "medsam": "MedSAM",
    "mricore": "MRI-CORE",
}
"""By the first word of where an encoder comes from, without case and signs."""


def paper_table(task: str) -> PaperTable | None:
    """The paper's table of the same dataset; None if it has none."""
    return TABLES.get(_plain(task))


def paper_method(encoder: str, origin: str) -> str | None:
    """The paper's name of the same competitor; None for all others.

    ``origin`` decides; where it is not known the name of the encoder does.
    """
    return METHODS.get(_plain(re.split(r"[ :]", origin, maxsplit=1)[0] if origin else encoder))


def _plain(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))
