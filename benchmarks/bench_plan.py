"""The epoch plan of large datasets, simulated: start-up, memory, reading, evenness, and how well it shuffles.

    python benchmarks/bench_plan.py [--quick] [--json FILE]

No slice is read. For 6.1, 10 and 100 million slices in shards of 512 and row groups of 32, as curation writes
them, and 1 to 512 workers (``--quick``: one million, up to 64 workers):

manifest_s, manifest_mib   time and size of reading the manifest, once per worker and run
start_s                    an epoch: the plan, and the first window of each of a worker's lanes
plan_mib                   memory of plan and row groups in each worker
amplification              bytes read per byte fed: row groups that windows use in part are read whole
groups_per_window          row groups that a window touches
evenness                   the largest share of a worker in a batch over the smallest
tasks                      Ray tasks of an epoch for one worker

A batch has 512 slices, or 32 per worker if that is more; there are 8 lanes, or one per worker.

How well it shuffles is measured on a smaller dataset, against a perfect permutation: adjacent slices of a
volume that meet in a batch (1 is perfect), as curation lays slices out and in the worst case, which is whole
volumes in order; row groups per batch; correlation of the order of two epochs.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mricore.config.schema import Data
from mricore.data.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from mricore.data.plan import EpochPlan
from mricore.data.readers import MOST_TASKS, SLICES_PER_TASK
from mricore.data.shards import RowGroups, Shard
from mricore.data.storage import place

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from shuffle import correlation, groups_per_batch, meeting_chance, met, neighbours, steps_of

PER_SHARD, PER_GROUP, PER_VOLUME, SAMPLED_WINDOWS = 512, 32, 24, 50
WORKERS = (1, 8, 64, 512)
ENCODED_BYTES = 65_000
"""Of a slice of 256 x 256 with twelve bits of signal and noise."""


def manifest_of(slices: int) -> Manifest:
    """The manifest of a dataset that is not there."""
    groups = (PER_GROUP,) * (PER_SHARD // PER_GROUP)
    shards = tuple(
        Shard(f"shards/{n:06d}-{n:08x}.parquet", groups, PER_SHARD * ENCODED_BYTES, f"{n:064x}")
        for n in range(slices // PER_SHARD)
    )
    return Manifest(shards, {"slices": slices}, {}, {}, (), (), (), "none", True, {})


def manifest_costs(manifest: Manifest) -> tuple[Manifest, dict[str, float]]:
    """Seconds to read a manifest and its size."""
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(place(folder), manifest)
        start = time.perf_counter()
        found = read_manifest(place(folder))
        seconds = time.perf_counter() - start
        size = (Path(folder) / MANIFEST).stat().st_size
    return found, {"manifest_s": seconds, "manifest_mib": size / 2**20}


def plan_of(groups: RowGroups, workers: int) -> EpochPlan:
    """The plan of the first epoch."""
    return EpochPlan(
        groups.rows,
        seed=0,
        epoch=0,
        batch_size=max(512, 32 * workers),
        lanes=max(8, workers),
        window_steps=Data().window_steps,
    )


def costs(manifest: Manifest, workers: int) -> dict[str, float]:
    """What the plan costs one worker, and what it reads."""
    groups = RowGroups(manifest.shards)
    start = time.perf_counter()
    plan = plan_of(groups, workers)
    lanes = range(0, plan.lanes, workers)
    for key in next(plan.rounds(lanes)):
        plan.window(key)
    seconds = time.perf_counter() - start
    tracemalloc.start()
    kept = RowGroups(manifest.shards)
    kept_plan = plan_of(kept, workers)
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    windows = sum(len(round_) for round_ in kept_plan.rounds(lanes))
    return {
        "start_s": seconds,
        "plan_mib": memory / 2**20,
        **reading(plan, groups),
        "evenness": evenness(plan, workers),
        "tasks": min(windows, MOST_TASKS, -(-plan.total // workers // SLICES_PER_TASK)),
    }


def reading(plan: EpochPlan, groups: RowGroups) -> dict[str, float]:
    """What some windows over the whole epoch read."""
    rng = np.random.default_rng(0)
    rounds = -(-plan.steps // plan.window_steps)
    fed = read = touched = 0
    for number in rng.integers(0, rounds, SAMPLED_WINDOWS):
        (key,) = next(plan.rounds([int(rng.integers(plan.lanes))], int(number) * plan.window_steps))
        window = plan.window(key)
        used = np.unique(window.groups)
        fed += len(window.rows)
        read += int(groups.rows[used].sum())
        touched += len(used)
    return {"amplification": read / fed, "groups_per_window": touched / SAMPLED_WINDOWS}


def evenness(plan: EpochPlan, workers: int) -> float:
    """The largest share that a worker has in some batches, over the smallest."""
    steps = np.linspace(0, plan.steps - 1, SAMPLED_WINDOWS, dtype=np.int64).tolist()
    shares = np.array([plan.lane_sizes(step).reshape(-1, workers).sum(0) for step in steps])
    return float(shares.max() / shares.min())


def quality(slices: int) -> dict[str, float]:
    """How well two epochs of a dataset are shuffled; batches of 512 from 8 lanes."""
    groups = RowGroups(manifest_of(slices).shards)
    found, epochs = {"slices": float(slices)}, []
    for epoch in range(2):
        plan = EpochPlan(groups.rows, seed=0, epoch=epoch, batch_size=512, lanes=8, window_steps=16)
        epochs.append(steps_of(plan, groups.rows))
    chance = meeting_chance(epochs[0])
    for name, rng in (("curated", np.random.default_rng(0)), ("worst_case", None)):
        pairs = neighbours(slices, PER_VOLUME, rng)
        found[f"neighbours_{name}"] = met(epochs[0], pairs) / len(pairs[0]) / chance
    expected = chance * len(pairs[0])
    found["neighbours_sd"] = 1 / np.sqrt(expected)
    found["groups_per_batch"] = groups_per_batch(epochs[0], groups.rows)
    found["correlation_of_epochs"] = correlation(*epochs)
    found["correlation_sd"] = 1 / np.sqrt(len(groups))
    return found


def show(rows: Sequence[Mapping[str, float]], others: Mapping[str, float]) -> None:
    """Print the tables."""
    names = list(rows[0])
    print(" ".join(f"{name:>17s}" for name in names))
    for row in rows:
        print(" ".join(f"{row[name]:17,.3f}" for name in names))
    for name, value in others.items():
        print(f"{name:24s} {value:14,.4f}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one million slices, up to 64 workers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    options = parser.parse_args(arguments)
    rows: list[dict[str, float]] = []
    for slices in (1_000_000,) if options.quick else (6_100_000, 10_000_000, 100_000_000):
        manifest, once = manifest_costs(manifest_of(slices))
        for workers in WORKERS[:-1] if options.quick else WORKERS:
            rows.append({"slices": slices, "workers": workers, **once, **costs(manifest, workers)})
    shuffle = quality(PER_SHARD * (400 if options.quick else 4000))
    ratios = {
        "neighbours_vs_perfect": shuffle["neighbours_curated"],
        "amplification": max(row["amplification"] for row in rows),
        "evenness": max(row["evenness"] for row in rows),
        "slowest_start_s": max(row["start_s"] for row in rows),
    }
    show(rows, {**shuffle, **ratios})
    if options.json:
        report: dict[str, Any] = {
            "ratios": ratios,
            "plans": rows,
            "shuffle": shuffle,
            "compared": "epoch plans, simulated; the shuffle against a perfect permutation",
            "repeats": 1,
            "hardware": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
