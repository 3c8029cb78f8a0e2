"""One command at a time trains a run.

A second one would take the first one's newest checkpoint for what a kill left behind, and remove it. What
holds a run ends with the process that holds it, however that ends: a lock of the operating system on a file
in the run's folder, on disks that have locks; and an actor with the run's name in the Ray cluster, wherever
the run is stored. Commands on two clusters that train one run in one bucket are not told apart.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import ray

from mricore.data.storage import Place
from mricore.errors import UserError

logger = logging.getLogger(__name__)
FILE = "in_use"
NAMESPACE = "mricore"
PATIENCE = 30.0
"""Seconds after which what a killed command held has surely been given back."""
LOOK_EVERY = 0.5
"""Seconds between two tries."""
_CANNOT_LOCK = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
Held = TypeVar("Held")


class InUseError(UserError):
    """Another command trains this run."""


@contextmanager
def claimed(run: Place) -> Iterator[None]:
    """Hold a run for the time of the body. Needs a Ray session.

    Raises:
        InUseError: another command holds it, and does not end within half a minute.
    """
    with _on_disk(run), _in_cluster(run):
        yield


@contextmanager
def _on_disk(run: Place) -> Iterator[None]:
    if run.is_remote:
        yield
        return
    path = Path(run.uri) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:

        def lock() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno not in _CANNOT_LOCK:
                    raise
                logger.warning("files cannot be locked here: a second command on this run is not noticed")
            return True

        _patiently(lock, run)
        yield


@contextmanager
def _in_cluster(run: Place) -> Iterator[None]:
    options: dict[str, Any] = {"name": f"training {run.uri}", "namespace": NAMESPACE, "num_cpus": 0}

    def create() -> Any:
        try:
            return ray.remote(_Holder).options(**options).remote()
        except ValueError:  # the name is taken
            return None

    holder = _patiently(create, run)
    try:
        yield
    finally:
        ray.kill(holder)


class _Holder:
    """Does nothing: that it is there is all. It ends with the process that made it."""


def _patiently(take: Callable[[], Held], run: Place) -> Held:
    """What ``take`` gives, as soon as it is true."""
    end = time.monotonic() + PATIENCE
    while not (held := take()):
        if time.monotonic() > end:
            raise InUseError(
                f"another command trains {run.uri.rsplit('/', 1)[-1]}",
                "wait for its end, or stop it; the same command then continues",
            )
        time.sleep(LOOK_EVERY)
    return held
