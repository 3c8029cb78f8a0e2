"""Metrics of segmentations against MONAI's, which must also agree.

    python benchmarks/bench_metrics.py [--quick] [--json FILE]

Generated volumes of 30 x 256 x 256 voxels (3 x 0.8 x 0.8 mm) with 1 and with 4 classes, on one core, timed
by its CPU in turns. Ours begins with masks of class numbers; MONAI's with one-hot tensors made before
the clock starts. Ratios of times (larger is better), of all classes together; the plain name is the worse of
the two volumes:

- ``dice_vs_monai``: Dice of each slice and of the volume (MONAI's ``DiceHelper``, twice).
- ``nsd_vs_monai``: normalised surface Dice of the volume in mm, tolerance 2 mm (``compute_surface_dice``).
"""

import argparse
import json
import math
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

warnings.simplefilter("ignore")  # MONAI warns of its own deprecated arguments
from monai.metrics import DiceHelper, compute_surface_dice  # noqa: E402

from mricore.evaluation.metrics.overlap import class_counts, dice_of  # noqa: E402
from mricore.evaluation.metrics.surface import normalized_surface_dice  # noqa: E402

SHAPE = (30, 256, 256)
SPACING = (3.0, 0.8, 0.8)
TOLERANCE = 2.0
AGREEMENT = 1e-6
DICE = DiceHelper(include_background=False, apply_argmax=False, reduction="none", get_not_nans=False)


def masks(classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A predicted and a true mask of smooth structures in an otherwise empty volume."""
    rng = np.random.default_rng(seed)

    def smooth() -> np.ndarray:
        field = gaussian_filter(rng.normal(size=(classes, *SHAPE)), (0, 3, 12, 12))
        return field / field.std()

    truth = smooth()
    predicted = truth + 0.3 * smooth()
    empty = np.full((1, *SHAPE), 1.2)
    first, second = (np.concatenate([empty, one]).argmax(0).astype(np.uint8) for one in (predicted, truth))
    return first, second


def one_hot(mask: np.ndarray, classes: int) -> torch.Tensor:
    """(1, 1 + classes, S, R, C) of booleans."""
    return torch.from_numpy(np.stack([mask == label for label in range(classes + 1)]))[None]


def our_dice(predicted: np.ndarray, truth: np.ndarray, classes: int) -> list[float]:
    """Of all slices of each class, then of the volume."""
    counts = class_counts(predicted, truth, classes)
    return [dice_of(one) for own in counts for one in own] + [dice_of(own.sum(0)) for own in counts]


def their_dice(predicted: torch.Tensor, truth: torch.Tensor) -> list[float]:
    """The same from one-hot tensors."""
    slices = DICE(predicted[0].transpose(0, 1), truth[0].transpose(0, 1))
    return [*slices.T.flatten().tolist(), *DICE(predicted, truth).flatten().tolist()]


def our_surface(predicted: np.ndarray, truth: np.ndarray, classes: int) -> list[float]:
    """Of each class."""
    labels = range(1, classes + 1)
    return [normalized_surface_dice(predicted == one, truth == one, SPACING, TOLERANCE) for one in labels]


def their_surface(predicted: torch.Tensor, truth: torch.Tensor, classes: int) -> list[float]:
    """The same from one-hot tensors."""
    return compute_surface_dice(predicted, truth, [TOLERANCE] * classes, spacing=SPACING).flatten().tolist()


def seconds(function: Callable[[], list[float]]) -> tuple[float, list[float]]:
    """Seconds of this process's CPU, and what was measured."""
    start = time.process_time()
    values = function()
    return time.process_time() - start, values


def check(ours: list[float], theirs: list[float]) -> None:
    """Both sides must agree where MONAI defines a value (it has none for slices without the class).

    Raises:
        RuntimeError: they do not.
    """
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if not math.isnan(b)]
    worst = max(abs(a - b) for a, b in pairs)
    if not worst <= AGREEMENT:
        raise RuntimeError(f"the metrics differ by {worst}")


def ratio_of(ours: Callable[[], list[float]], theirs: Callable[[], list[float]], repeats: int) -> float:
    """Median of their time through ours, in turns; the first turn is not counted."""
    ratios = []
    for _ in range(repeats + 1):
        (own, mine), (other, reference) = seconds(ours), seconds(theirs)
        check(mine, reference)
        ratios.append(other / own)
    return statistics.median(ratios[1:])


def compare(classes: int, repeats: int) -> dict[str, float]:
    """Ratios for a volume of some classes."""
    predicted, truth = masks(classes, seed=0)
    first, second = one_hot(predicted, classes), one_hot(truth, classes)
    return {
        "dice_vs_monai": ratio_of(
            lambda: our_dice(predicted, truth, classes), lambda: their_dice(first, second), repeats
        ),
        "nsd_vs_monai": ratio_of(
            lambda: our_surface(predicted, truth, classes),
            lambda: their_surface(first, second, classes),
            repeats,
        ),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in turns, report medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios here")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    repeats = 2 if options.quick else 9
    found = {classes: compare(classes, repeats) for classes in (1, 4)}
    ratios = {name: min(one[name] for one in found.values()) for name in found[1]}
    for classes, one in found.items():
        ratios |= {f"{name}_{classes}_classes": value for name, value in one.items()}
    for name, value in ratios.items():
        print(f"{name:26s} {value:.2f}")
    if options.json:
        document = {
            "ratios": ratios,
            "compared": f"masks of {SHAPE} voxels, 1 and 4 classes, one core; values equal to {AGREEMENT}",
            "repeats": repeats,
            "hardware": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
