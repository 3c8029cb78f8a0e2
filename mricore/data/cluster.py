"""One place that starts or joins Ray, with the same rules for every job."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from mricore.errors import UserError

OBJECT_STORE_BYTES = 512 * 1024**2
JOB_MARK = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this variable in the process that ``ray job submit`` starts."""
TOO_SLOW = ("timed out during startup", "Timed out waiting for file")
"""What Ray says, in plain Exceptions, where parts of a private cluster take too long to start."""


def submitted_as_job() -> bool:
    """Whether this process was started by ``ray job submit`` (its folder is then a temporary copy)."""
    return JOB_MARK in os.environ


def is_shared() -> bool:
    """Whether other commands can be in the cluster that ``ray_session`` joins."""
    return bool(os.environ.get("RAY_ADDRESS"))


@contextmanager
def ray_session(cpus: int | None = None) -> Iterator[None]:
    """Join the cluster that ``RAY_ADDRESS`` names, or start a private one on this machine and end it after.

    Inside an already initialised process the session is simply used. A private cluster takes ``cpus``
    CPUs (default: those this process may use), a small object store, no dashboard, and Ray's token
    authentication.

    Raises:
        UserError: ``RAY_ADDRESS`` names a cluster that cannot be joined, or this machine is too busy for one.
    """
    if ray.is_initialized():
        yield
        return
    # A new private cluster gets token authentication from Ray itself, which says so in three lines.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # else each line of a worker is shown twice
    if is_shared():
        _join(os.environ["RAY_ADDRESS"])
    else:
        _start(cpus)
    _quiet()
    try:
        yield
    finally:
        ray.shutdown()


def cluster_cpus() -> float:
    """CPUs of the whole cluster, used or not."""
    return float(ray.cluster_resources().get("CPU", 0.0))


def cluster_gpus() -> float:
    """GPUs of the whole cluster, used or not."""
    return float(ray.cluster_resources().get("GPU", 0.0))


def _join(address: str) -> None:
    try:
        ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the Ray cluster at RAY_ADDRESS={address} cannot be joined ({type(error).__name__})",
            "start it, correct RAY_ADDRESS, or unset it to run on this machine",
        ) from error


def _start(cpus: int | None) -> None:
    try:
        ray.init(
            address="local",
            num_cpus=cpus or len(os.sched_getaffinity(0)),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            logging_level=logging.WARNING,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": _package_root()}},
        )
    except Exception as error:
        if not any(sign in str(error) for sign in TOO_SLOW):
            raise
        raise UserError(
            "Ray did not start on this machine in half a minute",
            "wait until it is less busy; the same command then begins or continues",
        ) from error


def _package_root() -> str:
    """Workers must find the same mricore as the driver, also when it is not installed."""
    root = str(Path(__file__).parents[2])
    return os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)


def _quiet() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns that we switched its bars off
