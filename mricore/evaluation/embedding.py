"""An encoder over a whole dataset, on Ray Data: each actor loads the encoder once and takes shards in turn.

Actors write what they make themselves, so that all nodes must reach the dataset and the place of the
embeddings; only what became of each shard travels back.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import torch

from mricore.config.embedding import Embedding
from mricore.data.cluster import cluster_cpus, cluster_gpus
from mricore.data.shared_folder import SharedFolder
from mricore.errors import UserError
from mricore.evaluation.shard_embedder import Embedded, ShardEmbedder, Work
from mricore.model.embedder import Embedder

SHARDS_PER_TASK = 16
"""Readers go on into the next shard of a task, and stop at its end."""
TASKS_PER_WORKER = 4
"""At least, where there are shards enough, so that workers end together."""


def embed(work: Work, encoder: SharedFolder, missing: Sequence[int]) -> Iterator[Embedded]:
    """Embed the shards of those numbers, as they get done. Needs a Ray session.

    Raises:
        UserError: a worker needs more of the cluster than there is, or cannot write or compute. A shard that
            cannot be read is told in its answer, and the others go on.
    """
    workers = min(_workers(work.settings), len(missing))
    each = max(1, min(SHARDS_PER_TASK, len(missing) // (workers * TASKS_PER_WORKER)))
    items = [{"shards": missing[first : first + each]} for first in range(0, len(missing), each)]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _Actor,
        fn_constructor_args=(encoder, work),
        batch_size=1,
        num_cpus=work.settings.cpus,
        num_gpus=work.settings.gpus or None,
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
    )
    dataset.context.target_max_block_size = 1  # an answer travels as soon as it is there
    for row in dataset.iter_rows():
        answer = pickle.loads(row["answer"])  # noqa: S301 - our own bytes, never a file's
        if isinstance(answer, UserError):
            raise answer
        yield answer


def _workers(settings: Embedding) -> int:
    """As many as were asked for or there is room for.

    Raises:
        UserError: there is no room for one, or for as many.
    """
    least, room = max(settings.workers, 1), []
    for needed, there, what in (
        (settings.cpus, cluster_cpus(), "cpus"),
        (settings.gpus, cluster_gpus(), "gpus"),
    ):
        if needed * least > there:
            raise UserError(
                f"{least} workers need {needed * least:g} {what[:-1].upper()}s and the cluster has {there:g}",
                f"lower --workers or --set embed.{what}",
            )
        if needed:
            room.append(int(there / needed))
    return settings.workers or min(room)


class _Actor:
    """An encoder in a process of its own. Errors of users travel as values, as Ray would wrap them."""

    def __init__(self, encoder: SharedFolder, work: Work) -> None:
        torch.set_num_threads(max(1, int(work.settings.cpus)))
        with tempfile.TemporaryDirectory() as folder:
            encoder.write_to(Path(folder))
            self.worker = ShardEmbedder(Embedder.load(Path(folder), work.settings.device), work)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        (shards,) = batch["shards"]
        try:
            for answer in self.worker.embedded([int(number) for number in shards]):
                yield {"answer": [pickle.dumps(answer)]}
        except UserError as error:
            yield {"answer": [pickle.dumps(error)]}
