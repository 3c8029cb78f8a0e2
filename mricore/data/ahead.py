"""The first batch of an epoch is made while the last steps of the one before are trained on.

Without that, a worker waits at the beginning of each epoch until its reader has started and a window of each
of its lanes is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from mricore.data.batch import Batch
from mricore.data.stream import BatchSource


@dataclass
class EpochsAhead:
    """A ``BatchSource`` that begins the next of ``epochs`` when ``lead`` steps of an epoch are left.

    It gives the same batches as ``source``. Two windows of each lane are in memory at such a time.
    """

    source: BatchSource
    epochs: int
    lead: int
    _begun: _Begun | None = field(default=None, init=False)

    def steps(self, epoch: int) -> int:
        """Number of steps of an epoch."""
        return self.source.steps(epoch)

    def batches(self, epoch: int, first_step: int) -> Iterator[Batch]:
        """Batches of an epoch from ``first_step`` on."""
        begun, self._begun = self._begun, None
        if begun is not None and (epoch, first_step) == (begun.epoch, 0):
            batches = begun.batches()
        else:  # the run went back to an earlier step
            if begun is not None:
                begun.give_up()
            batches = self.source.batches(epoch, first_step)
        begin_at = max(self.source.steps(epoch) - self.lead, first_step)
        for step, batch in enumerate(batches, first_step):
            if step == begin_at and epoch + 1 < self.epochs:
                self._begun = _Begun.of(self.source, epoch + 1)
            yield batch


@dataclass(frozen=True)
class _Begun:
    """An epoch whose first batch is being made in a thread."""

    epoch: int
    rest: Iterator[Batch]
    first: Future[list[Batch]]

    @classmethod
    def of(cls, source: BatchSource, epoch: int) -> _Begun:
        rest = source.batches(epoch, 0)
        pool = ThreadPoolExecutor(1, thread_name_prefix="next-epoch")
        first = pool.submit(lambda: list(islice(rest, 1)))
        pool.shutdown(wait=False)  # the thread ends with its work
        return cls(epoch, rest, first)

    def batches(self) -> Iterator[Batch]:
        yield from self.first.result()
        yield from self.rest

    def give_up(self) -> None:
        """Wait for the reader, and end it."""
        self.first.exception()
        close = getattr(self.rest, "close", None)
        if close is not None:
            close()
