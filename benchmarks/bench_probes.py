"""Probes and clusters of frozen patch features: seconds on one CPU thread over seconds on a GPU.

    python benchmarks/bench_probes.py [--quick] [--rounds 3] [--threads 1] [--json FILE]

As in an evaluation at 1024 px with ViT-B, 64 x 64 patches of 768 channels in a slice; features are made up.

- ``logistic``: three strengths of L2 on the patches of five slices and five classes.
- ``kmeans_slice``: 64 clusters of a slice; ``kmeans_pooled``: of 20,000 patches. On the CPU scikit-learn's.
- ``patch_knn``: ten neighbours of each patch of a slice among those of five slices.

Times begin and end with arrays in the host's memory. Beside each ratio stands the share of patches that both
sides name alike. Without a GPU nothing is measured (exit code 2); ``--quick`` is a check of this program on
any machine, with torch on the CPU as the second side and small arrays.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from mricore.evaluation import kmeans
from mricore.evaluation.logistic import one_hot, path
from mricore.evaluation.patch_votes import PatchBank

CLASSES, STRENGTHS, SLICES = 5, (1e-1, 1e-2, 1e-3), 5
Case = Callable[[str, bool], np.ndarray]
"""What patches are called, computed on a device; the flag: by torch, also where the CPU has another way."""


def cases(quick: bool) -> dict[str, Case]:
    """What is measured, by the name of its ratio."""
    patches, channels, clusters, pooled = (256, 32, 8, 600) if quick else (4096, 768, 64, 20_000)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, CLASSES, (SLICES + 1) * patches)
    noise = rng.normal(size=(len(codes), channels))
    drawn = (noise + 0.3 * rng.normal(size=(CLASSES, channels))[codes]).astype(np.float32)
    one, features, targets = drawn[:patches], drawn[patches:], one_hot(codes[patches:], CLASSES)

    def logistic(device: str, by_torch: bool) -> np.ndarray:
        return path(features, targets, STRENGTHS, device)[-1].logits(one).argmax(1)

    def clusters_of(points: np.ndarray) -> Case:
        def found(device: str, by_torch: bool) -> np.ndarray:
            way = kmeans.by_torch if by_torch else kmeans.clustering
            return way(points, clusters, 1, 0, device)(one)

        return found

    def patch_knn(device: str, by_torch: bool) -> np.ndarray:
        return PatchBank.of(features, targets, 10, 0.07, device).votes(one).argmax(1)

    kinds = {"kmeans_slice": clusters_of(one), "kmeans_pooled": clusters_of(features[:pooled])}
    return {"logistic": logistic, **kinds, "patch_knn": patch_knn}


def seconds(once: Callable[[], np.ndarray], rounds: int) -> float:
    """The median of some rounds, after one that does not count. Answers on the host end a GPU's work."""
    once()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        once()
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def measured(case: Case, device: str, rounds: int) -> dict[str, float]:
    """Seconds of both sides, their ratio, and the share of equal answers."""
    cpu = seconds(lambda: case("cpu", False), rounds)
    other = seconds(lambda: case(device, True), rounds)
    alike = float((case("cpu", False) == case(device, True)).mean())
    return {"cpu_seconds": cpu, "other_seconds": other, "ratio": cpu / other, "alike": alike}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--quick", action="store_true", help="small arrays, torch on the CPU without a GPU")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; default: 1, as a unit has")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not options.quick:
        print("no CUDA device: nothing to compare the CPU with; --quick checks this program", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    results: dict[str, dict[str, float]] = {}
    with threadpool_limits(options.threads):
        for name, case in cases(options.quick).items():
            results[name] = measured(case, device, options.rounds)
            print(f"{name:14s} " + "  ".join(f"{key} {one:8.3f}" for key, one in results[name].items()))
    card = torch.cuda.get_device_name() if device == "cuda" else "torch on the CPU"
    report = {
        "ratios": {name: one["ratio"] for name, one in results.items()},
        "measured": results,
        "compared": f"seconds on {options.threads} CPU thread(s) over seconds on {card}, transfers included",
        "repeats": options.rounds,
        "hardware": f"{card}, {platform.machine()}, {platform.python_version()}, torch {torch.__version__}",
    }
    print(f"{report['compared']}; {report['hardware']}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
