"""A run that loses a node goes on with fewer workers, and with all of them when a node has come."""

import ast
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from jobs_apart import ROOT, environment
from records import small_dataset
from small import losses, small_loop, small_recipe
from training_faults import effective_history

from mricore.data.storage import place

EPOCHS = 60
SETTINGS = (
    *(f"train.epochs={EPOCHS}", "train.workers=2", "train.min_workers=1", "train.log_every=4"),
    *("train.checkpoint_seconds=1", "train.checkpoint_share=1", "health.action=log"),
    "optimizer.lr=1e-5",  # large steps on slices of noise would magnify the rounding of other sums
)


@pytest.mark.faults
@pytest.mark.slow
def test_two_workers_then_one_then_two_feed_every_slice_once(short_folder):
    """kill -9 of one of two nodes (its raylet and its worker); another comes later."""
    paths = [ROOT, *(ROOT / "tests" / name for name in ("data", "support", "training"))]
    settings = environment(
        short_folder,
        PYTHONPATH=os.pathsep.join(map(str, paths)),
        RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S="8",
    )
    script = [sys.executable, str(Path(ROOT, "tests", "support", "elastic_training.py"))]
    result = subprocess.run(
        [*script, str(short_folder), *SETTINGS],
        env=settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    epochs, workers = effective_history(short_folder / "ledger")
    assert workers[0] == 2
    assert 1 in workers[1:-1]
    assert workers[-1] == 2
    every_slice = Counter({f"slice{number:06d}": 1 for number in range(75)})
    assert epochs == dict.fromkeys(range(EPOCHS), every_slice)

    dataset = place(str(short_folder / "again"))
    small_dataset(dataset, 75)
    alone = losses(small_loop(dataset, small_recipe(*SETTINGS)))
    logged = dict(ast.literal_eval(result.stdout.splitlines()[-1]))
    assert logged.keys() == alone.keys()
    assert max(abs(logged[step] / alone[step] - 1) for step in alone) < 1e-4
