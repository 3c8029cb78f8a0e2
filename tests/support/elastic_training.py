"""A training on a cluster of three nodes, one of which is killed and another comes: a process of its own.

Arguments: a folder, and settings of the recipe. The head has no CPU, so that workers live on the other nodes.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import ray
from processes import kill
from ray.cluster_utils import Cluster
from records import small_dataset
from small import small_recipe
from training_faults import Run, checkpoints, train_workers, wait_until

from mricore.data.cluster import _quiet
from mricore.data.storage import place
from mricore.training import launch

SLICES = 75


def main(folder, assignments):
    launch.RESIZE_SECONDS = 4.0
    dataset = place(str(folder / "dataset"))
    manifest = small_dataset(dataset, SLICES)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 100_000_000}
    )
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=100_000_000) for _ in range(2)]
    ray.init(address=cluster.address, logging_level="WARNING", log_to_driver=False)
    _quiet()
    run, outputs = Run.begun(folder / "run", small_recipe(*assignments), dataset, manifest)
    saved, ledger = folder / "run" / "runs" / run.name, folder / "ledger"
    training = threading.Thread(
        target=launch.train,
        args=(run.recipe, run.dataset, outputs, run.name, run.tracked, str(ledger)),
        daemon=True,
    )
    training.start()

    def starts():
        return len({path.name.split("-")[0] for path in ledger.iterdir()}) if ledger.exists() else 0

    def newest():
        return checkpoints(saved)[-1:]

    wait_until(newest)
    before, files = newest(), starts()
    raylet = next(process.process.pid for process in nodes[1].all_processes["raylet"])
    # workers outlive their raylet by the seconds in which a fast machine would be done
    for lost in (*train_workers(raylet), raylet):
        kill(lost)
    wait_until(lambda: (starts() > files and newest() > before) or not training.is_alive())
    assert training.is_alive(), "the training ended without the node, or before it was lost"
    for worker in train_workers():  # else a fast machine is done before the node has come
        os.kill(worker, signal.SIGSTOP)
    cluster.add_node(num_cpus=1, object_store_memory=100_000_000)
    training.join()
    print(sorted(run.losses().items()))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
