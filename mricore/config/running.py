"""Where and how the units of an evaluation run; device and threads change numbers by rounding alone."""

from __future__ import annotations

from pydantic import Field

from mricore.config.fields import Frozen, Positive


class Running(Frozen):
    """What each unit gets of the cluster, and how many run at once."""

    cpus: Positive = 1.0
    """CPUs of a unit."""
    gpus: float = Field(0.0, ge=0)
    """GPUs of a unit, which then computes on one; 0: on the CPU, also where there are GPUs."""
    threads: int = Field(1, ge=1)
    """Threads of torch in a unit, whatever the number of units at once, which so never changes results.
    nnU-Net draws other random numbers with one thread than with several."""
    concurrency: int = Field(0, ge=0)
    """Units at once at most; 0: as many as the cluster has room for."""

    @property
    def device(self) -> str:
        """The device of torch that a unit computes on."""
        return "cuda" if self.gpus else "cpu"
