"""An encoder over shards of a dataset in one process: threads read ahead, files of embeddings come out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from mricore.augment.crops import normalized
from mricore.augment.transfer import to_device
from mricore.config.embedding import Embedding
from mricore.data.batch import Image, Levels, unsigned
from mricore.data.embedding_parts import DESCRIBING, Identity, part_writer, table_of
from mricore.data.manifest import MANIFEST
from mricore.data.shards import Shard, read_pixels
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.imaging.intensity import LIMITS, levels
from mricore.model.embedder import Embedder


@dataclass(frozen=True)
class Work:
    """What is embedded, as which numbers, and where to."""

    dataset: Place
    shards: tuple[Shard, ...]
    out: Place
    identity: Identity
    settings: Embedding


@dataclass(frozen=True)
class Embedded:
    """What became of a shard; ``error`` says why there is no part of it.

    ``seconds`` went by, of which ``waited`` for readers and ``wrote`` into the file.
    """

    shard: int
    slices: int
    seconds: float
    waited: float
    wrote: float
    error: UserError | None = None


@dataclass(frozen=True)
class Group:
    """A row group that was read: images and levels of its slices, and what goes with them."""

    images: list[Image]
    levels: list[Levels]
    rows: list[dict[str, Any]]


class ShardEmbedder:
    """Embeds shards with an encoder of this process."""

    def __init__(self, embedder: Embedder, work: Work) -> None:
        """The encoder is applied at the size that the identity of the embeddings names."""
        self.embedder = embedder.at_size(work.identity.image_size)
        self.work = work

    def embedded(self, numbers: Sequence[int]) -> Iterator[Embedded]:
        """Write the parts of some shards; what became of each.

        Raises:
            UserError: ``out`` cannot be written, the dataset cannot be reached any more, the encoder gives
                numbers that are not finite, or the GPU's memory is too small.
        """
        with ThreadPoolExecutor(self.work.settings.readers, thread_name_prefix="reader") as pool:
            ahead = self._ahead(numbers, pool)
            for number in numbers:
                yield self._shard(number, ahead)

    def _ahead(self, numbers: Sequence[int], pool: ThreadPoolExecutor) -> Iterator[Future[Group]]:
        """The row groups of the shards in their order, each reader one ahead."""
        waiting: deque[Future[Group]] = deque()
        for number in numbers:
            shard = self.work.shards[number]
            for group, rows in enumerate(shard.row_groups):
                waiting.append(pool.submit(read_group, self.work, shard, group, rows))
                if len(waiting) > self.work.settings.readers:
                    yield waiting.popleft()
        yield from waiting

    def _shard(self, number: int, ahead: Iterator[Future[Group]]) -> Embedded:
        """Take the row groups of a shard out of those that are read ahead, also if one cannot be read."""
        work, shard, watch = self.work, self.work.shards[number], _Watch()
        groups = islice(ahead, len(shard.row_groups))
        try:
            with part_writer(work.out, shard, work.identity) as writer:
                for future in groups:
                    group = watch.read(future)
                    table = table_of(work.identity, group.rows, *self._features(group))
                    watch.write(writer, table)
        except UnreadError as error:
            for future in groups:
                future.cancel()
            work.dataset.read_bytes(MANIFEST)  # if all of the dataset is gone, this says so and ends the work
            return watch.answer(number, 0, error.cause)
        return watch.answer(number, sum(shard.row_groups))

    def _features(self, group: Group) -> tuple[NDArray[np.floating], NDArray[np.float16] | None]:
        """Vectors (n, dim) and, where they are kept, patch features (n, h, w, dim) of a row group."""
        vectors, patches = [], []
        try:
            with torch.inference_mode():
                for images in self._resized(group).split(self.work.settings.batch):
                    pooled, dense = self._encoded(images)
                    vectors.append(pooled.float().cpu().numpy())
                    if self.work.identity.grid:
                        patches.append(dense.to(torch.float16).cpu().numpy())
        except torch.cuda.OutOfMemoryError:
            raise UserError(
                f"the GPU has no room for {self.work.settings.batch} slices at once", "lower --batch"
            ) from None
        return np.concatenate(vectors), np.concatenate(patches) if patches else None

    def _encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        bfloat16 = self.work.identity.precision == "bfloat16"
        with torch.autocast(images.device.type, torch.bfloat16, bfloat16):
            return self.embedder.encoded(images)

    def _resized(self, group: Group) -> Tensor:
        """The slices of a row group (n, 1, size, size), normalised as in training, shape by shape."""
        device, size = self.embedder.device, self.embedder.image_size
        resized = torch.empty(len(group.images), 1, size, size, device=device)
        shapes = [image.shape for image in group.images]
        for shape in dict.fromkeys(shapes):
            some = [place for place, other in enumerate(shapes) if other == shape]
            images = to_device(np.stack([group.images[place] for place in some]), device)
            scales = to_device(np.array([group.levels[place] for place in some], np.float32), device)
            made = self.embedder.resized(normalized(images, scales)[:, None])
            resized.index_copy_(0, to_device(np.array(some), device), made)
        return resized


def read_group(work: Work, shard: Shard, group: int, rows: int) -> Group:
    """Fetch and decode a row group.

    Raises:
        UserError: the shard is missing or damaged.
    """
    of, *limits = LIMITS[work.identity.normalization]
    scaling = ("slope", "intercept", *(f"{of}_{limit}" for limit in limits))
    found = Group([], [], [])
    for pixels, row in read_pixels(work.dataset, shard.path, group, range(rows), (*DESCRIBING, *scaling)):
        slope, intercept, low, high = (row.pop(name) for name in scaling)
        image, scale = unsigned(pixels, levels(low, high, slope, intercept))
        found.images.append(image)
        found.levels.append(scale)
        found.rows.append(row)
    return found


class UnreadError(Exception):
    """A row group could not be read, unlike what else can go wrong with a shard."""

    def __init__(self, cause: UserError) -> None:
        super().__init__(cause)
        self.cause = cause


class _Watch:
    """Where the time of a shard goes."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.waited = self.wrote = 0.0

    def read(self, group: Future[Group]) -> Group:
        """Wait for a row group."""
        began = time.perf_counter()
        try:
            return group.result()
        except UserError as error:
            raise UnreadError(error) from None
        finally:
            self.waited += time.perf_counter() - began

    def write(self, writer: pq.ParquetWriter, table: pa.Table) -> None:
        """Write a row group."""
        began = time.perf_counter()
        writer.write_table(table, row_group_size=table.num_rows)
        self.wrote += time.perf_counter() - began

    def answer(self, shard: int, slices: int, error: UserError | None = None) -> Embedded:
        """What became of the shard."""
        seconds = time.perf_counter() - self.began
        return Embedded(shard, slices, seconds, self.waited, self.wrote, error)
