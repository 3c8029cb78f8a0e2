"""Settings of nnU-Net, which competes on the slices that encoders are adapted on."""

from __future__ import annotations

from pydantic import Field

from mricore.config.fields import Frozen


class NnUnet(Frozen):
    """What nnU-Net is left to do by itself is not here: it plans patch, batch and network from the slices."""

    python: str = ""
    """Interpreter of an environment with nnunetv2; empty: the one that runs mricore."""
    epochs: int = Field(1000, ge=1)
    """nnU-Net's own number."""
    iterations: int = Field(250, ge=1)
    """Batches in an epoch; nnU-Net's own number."""
    validation_iterations: int = Field(50, ge=1)
    """Validation batches after an epoch; nnU-Net's own number."""
    mirroring: bool = True
    """Mean over mirrored slices in prediction, as nnU-Net does; off is about four times as fast."""
