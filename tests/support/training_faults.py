"""A training in this process that is hit by faults, and what must be left of it when all is over."""

import json
import os
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from processes import below

from mricore.data.storage import Place, place
from mricore.training import launch
from mricore.training.checkpoint import TENSORS
from mricore.training.place import Home
from mricore.training.telemetry import Tracked, history, start_run

BETWEEN_STARTS = 2.0
"""Workers of one start open their ledgers at the same moment, seconds after those of the start before."""


@dataclass(frozen=True)
class Run:
    """A run of a recipe on a dataset, with everything it leaves in one folder."""

    folder: Path
    recipe: object
    dataset: Place
    name: str
    tracked: Tracked

    @classmethod
    def begun(cls, folder, recipe, dataset, manifest, outputs=None):
        folder.mkdir(exist_ok=True)
        name = launch.run_name(recipe, manifest)
        where = Home(place(str(outputs or folder / "runs")), f"sqlite:///{folder / 'mlflow.db'}")
        return cls(folder, recipe, dataset, name, start_run(where, "test", name, {}, {})), where.outputs

    def losses(self):
        """{step: total loss}, of a step that was done again the last one."""
        return {int(row["step"]): row["loss/total"] for row in history(self.tracked)}


def checkpoints(run_folder):
    """Folders of checkpoints that Ray Train has taken, the newest last."""
    try:
        document = json.loads((run_folder / "checkpoint_manager_snapshot.json").read_text())
    except (OSError, ValueError):  # none yet, or it is being written
        return []
    return sorted(run_folder / result["checkpoint_dir_name"] for result in document["checkpoint_results"])


def truncate(checkpoint):
    tensors = checkpoint / TENSORS
    tensors.write_bytes(tensors.read_bytes()[: tensors.stat().st_size // 2])


def wait_until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def train_workers(pid=None):
    """Processes of Ray Train's workers below a process, the older first."""
    return sorted(one for one, title in below(pid or os.getpid()).items() if "RayTrainWorker" in title)


class Meanwhile:
    """A thread that does things to a training; what goes wrong in it is raised in the end."""

    def __init__(self, do):
        self.error = None

        def run():
            try:
                do()
            except BaseException as error:  # noqa: BLE001 - raised by the test's own thread
                self.error = error

        self.thread = threading.Thread(target=run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.thread.join()
        if self.error:
            raise self.error


def effective_history(ledger):
    """{epoch: {slice: times}} and the starts, where of a step that was done again the last time counts."""
    starts = []
    for path in sorted(ledger.iterdir()):
        began = float(path.name.split("-")[0])
        if not starts or began - starts[-1][0] > BETWEEN_STARTS:
            starts.append((began, []))
        starts[-1][1].append(path)
    done = {}
    for _, paths in starts:
        steps = defaultdict(list)
        for path in paths:
            for line in path.read_text().splitlines():
                epoch, step, name = line.split("\t")
                steps[int(epoch), int(step)].append(name)
        done |= steps
    epochs = defaultdict(Counter)
    for (epoch, _), names in done.items():
        epochs[epoch].update(names)
    return dict(epochs), [len(paths) for _, paths in starts]
