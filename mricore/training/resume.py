"""Where a worker begins: at the newest checkpoint that all workers find whole, or at the first step."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import ray.train
import torch

from mricore.objective.communication import Communicator
from mricore.training.checkpoint import load_checkpoint
from mricore.training.state import TrainState
from mricore.training.stored import Stored, is_whole, no_whole_one

logger = logging.getLogger(__name__)


def resumed(stored: Stored, found: Sequence[str], state: TrainState, communicator: Communicator) -> bool:
    """Load the newest whole checkpoint into the state; whether there was one.

    All workers call this. Each verifies what it reads, and all come to the same checkpoint. What was reported
    before is waited for. ``found`` counts where the controller knows none.

    Raises:
        UserError: there were checkpoints and none is whole, or it is of another model.
    """
    reported = ray.train.get_all_reported_checkpoints()
    names = sorted((Path(one.checkpoint.path).name for one in reported), reverse=True) or found
    for name in names:
        with stored.opened(name) as folder:
            if _all(is_whole(folder), state, communicator):
                load_checkpoint(folder, state)
                return True
        logger.warning("checkpoint %s is damaged", name)
    if names:
        raise no_whole_one(stored.path)
    return False


def _all(is_so: bool, state: TrainState, communicator: Communicator) -> bool:
    """Whether it is so for every worker."""
    count = torch.tensor(float(is_so), device=state.anchor[0].device)
    return int(communicator.sum(count)) == communicator.world_size
