"""One command at a time trains a run, or holds a search.

A second one would take the first one's newest checkpoint for what a kill left behind, and remove it. What
holds a place ends with the process that holds it, however it ends: a lock of the operating system on a file,
in the place itself or, for a bucket, on this machine; and in a cluster that commands share an actor with the
place's name. Commands on two machines without a common cluster that train one run in one bucket are not told
apart.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import ray
from ray.exceptions import ActorAlreadyExistsError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mricore.data.cluster import is_shared
from mricore.data.storage import Place, readable_errors
from mricore.errors import UserError

logger = logging.getLogger(__name__)
FILE = "in_use"
NAMESPACE = "mricore"
PATIENCE = 30.0
"""Seconds in which what a killed command held is given back."""
LOOK_EVERY = 0.5
"""Seconds between two tries."""
_CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
Held = TypeVar("Held")


class InUseError(UserError):
    """Another command holds the place."""


@contextmanager
def claimed(place: Place) -> Iterator[None]:
    """Hold a place for the time of the body. Needs a Ray session.

    Raises:
        InUseError: another command holds it, and does not end within half a minute.
        UserError: no file can be written there.
    """
    with _by_file(place), _by_actor(place) if is_shared() else nullcontext():
        yield


@contextmanager
def _by_file(place: Place) -> Iterator[None]:
    path = _file_of(place)
    with readable_errors(place.uri):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    with file:

        def lock() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno not in _CANNOT_LOCK:
                    raise
                logger.warning("the disk has no locks: only commands of one Ray cluster are told apart")
            return True

        with readable_errors(place.uri):
            _patiently(lock, place)
        yield


def _file_of(place: Place) -> Path:
    if place.is_remote:
        return Path(tempfile.gettempdir()) / f"mricore-{os.getuid()}" / _digest(place)
    return Path(place.uri) / FILE


@contextmanager
def _by_actor(place: Place) -> Iterator[None]:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options: dict[str, Any] = {
        "name": f"mricore {_digest(place)}",
        "namespace": NAMESPACE,
        "num_cpus": 0,
        "scheduling_strategy": here,
    }

    def create() -> Any:
        try:
            return ray.remote(_Holder).options(**options).remote()
        except ActorAlreadyExistsError:
            return None

    holder = _patiently(create, place)
    try:
        yield
    finally:
        ray.kill(holder)


class _Holder:
    """Does nothing: that it is there is all. It ends with the process that made it."""


def _digest(place: Place) -> str:
    return hashlib.sha256(place.uri.encode()).hexdigest()[:16]


def _patiently(take: Callable[[], Held], place: Place) -> Held:
    """What ``take`` gives, as soon as it is true."""
    name, end = place.uri.rsplit("/", 1)[-1], time.monotonic() + PATIENCE
    told = False
    while not (held := take()):
        if time.monotonic() > end:
            raise InUseError(
                f"another command works on {name}",
                "wait for its end, or stop it; if its machine was lost, wait two minutes; the same command "
                "then continues",
            )
        if not told:
            print(f"another command works on {name}: waiting {PATIENCE:.0f} s for its end", flush=True)
            told = True
        time.sleep(LOOK_EVERY)
    return held
