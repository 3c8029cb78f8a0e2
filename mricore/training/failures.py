"""What ends a run: a mistake that no restart mends, ctrl-C, or our own fault."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray.train import TrainingFailedError, UserCallback

from mricore.errors import UserError

_NETWORK = "AWS Error"


class EndsAtOnce(UserCallback):
    """Runs in Ray Train's controller: where a restart would not help, the run ends without one.

    What is raised here counts as the controller's own failure, which Ray Train does not retry.
    """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Look for a user's error among the failures of workers, by rank."""
        for failure in worker_exceptions.values():
            if (error := user_error_in(failure)) is not None:
                raise error


def cause_of(error: TrainingFailedError) -> Exception:
    """The user's error inside a failed training, if that is what it was."""
    failures = [*getattr(error, "worker_failures", {}).values(), error]
    return next((found for one in failures if (found := user_error_in(one)) is not None), error)


def user_error_in(failure: BaseException) -> UserError | None:
    """The user's error among a failure and its causes; a full disk and storage that is away are some too."""
    seen: BaseException | None = failure
    while seen is not None:
        if isinstance(seen, UserError):
            return seen
        if isinstance(seen, OSError) and seen.errno == errno.ENOSPC:
            return UserError("a disk is full", "free some space; the same command then continues")
        if isinstance(seen, OSError) and _NETWORK in str(seen):
            return UserError(
                "the storage of the run does not answer", "check the server; the same command then continues"
            )
        inner = getattr(seen, "cause", None) or getattr(seen, "controller_failure", None)
        seen = inner or seen.__cause__
    return None


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C in the body is a KeyboardInterrupt, and afterwards it is what it was before.

    Ray Train puts a handler of its own in place, which ends the workers and then the process as if all were
    well or as a fault, and leaves it there.
    """
    if threading.current_thread() is not threading.main_thread():  # a trial of Tune: there is no handler
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if end.code == signal.SIGTERM:
            raise
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, handler)
