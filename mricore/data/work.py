"""Work of curation in Ray tasks: bounded in memory, in order, and not stopped by a file that kills a process.

Plain tasks and not Ray Data: the items come from a generator whose end nobody knows, and a codec may
abort the process that it runs in.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray.exceptions import RayError, WorkerCrashedError

from mricore.data.cluster import cluster_cpus
from mricore.errors import UserError

Item = TypeVar("Item")
Part = TypeVar("Part")
Result = TypeVar("Result")
WAITING_PER_CPU = 3
"""Items under way for each CPU: enough that no CPU waits for the one whose turn it is."""


@dataclass(frozen=True)
class Work(Generic[Item, Part, Result]):
    """What to do with each item, and how to find the part of it that killed the process.

    ``do`` gets an item and the numbers of its parts that must not be touched. ``parts`` lists the parts of
    an item, ``probe`` touches one of them as ``do`` would.
    """

    do: Callable[[Item, frozenset[int]], Result]
    parts: Callable[[Item], Sequence[Part]] = lambda _: ()
    probe: Callable[[Part], object] = lambda _: None


class Runner(Protocol):
    """A way to do work: in Ray tasks, or in this process."""

    def __call__(
        self, work: Work[Item, Part, Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with its result, in the order of the items."""


def in_process(work: Work[Item, Part, Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, one after the other and without Ray; what kills a process kills this one."""
    for item in items:
        yield item, work.do(item, frozenset())


@dataclass(frozen=True)
class _Fault:
    """A fault of ours: where it happened. Its message may quote a file, so it stays behind."""

    place: str


def in_tasks(work: Work[Item, Part, Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Each item with its result, in the order of the items, of which only a few are taken at a time.

    Raises:
        UserError: the work raised it.
        RuntimeError: the work raised anything else, or kills its process whatever is left out.
    """
    waiting: deque[tuple[Item, Any]] = deque()
    most = max(2, round(WAITING_PER_CPU * cluster_cpus()))
    for item in items:
        waiting.append((item, _do.remote(work, item, frozenset())))
        if len(waiting) == most:
            yield _result(work, *waiting.popleft())
    while waiting:
        yield _result(work, *waiting.popleft())


def _result(work: Work[Item, Part, Result], item: Item, running: Any) -> tuple[Item, Result]:
    try:
        found = ray.get(running)
    except RayError:  # the process died: memory, a codec's abort, a node
        found = _again(work, item)
    if isinstance(found, UserError):
        raise found
    if isinstance(found, _Fault):
        raise RuntimeError(f"fault in a task of curation: {found.place}")
    return item, found


def _again(work: Work[Item, Part, Result], item: Item) -> Any:
    """Do the work once more, and if that fails too without the parts that kill a process touched alone."""
    try:
        return ray.get(_do.remote(work, item, frozenset()))
    except RayError:
        probes = [_probe.remote(work, part) for part in work.parts(item)]
        killers = frozenset(number for number, probe in enumerate(probes) if _kills(probe))
    try:
        return ray.get(_do.remote(work, item, killers))
    except RayError as error:
        return _Fault(type(error).__name__)


def _kills(probe: Any) -> bool:
    """Whether a part crashes its process; that memory or a node is gone is no fault of a part."""
    try:
        ray.get(probe)
    except WorkerCrashedError:
        return True
    except RayError:
        return False
    return False


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def _do(work: Work[Any, Any, Any], item: Any, skipped: frozenset[int]) -> Any:
    try:
        return work.do(item, skipped)
    except UserError as error:
        return error
    except Exception as error:  # noqa: BLE001 - whatever it is, its message must not reach a log
        last = traceback.extract_tb(error.__traceback__)[-1]
        return _Fault(f"{type(error).__name__} in {last.name}, line {last.lineno} of {last.filename}")


@ray.remote(max_retries=1)  # type: ignore[untyped-decorator]
def _probe(work: Work[Any, Any, Any], part: Any) -> None:
    try:
        work.probe(part)
    except Exception:  # noqa: BLE001 - it only must not kill the process
        return
