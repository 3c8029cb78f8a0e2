"""The learning rate of few-shot adaptation."""

from __future__ import annotations

POWER = 0.9


def rate_at(step: int, total: int, warmup: int, peak: float) -> float:
    """Linear during ``warmup`` steps, then ``peak`` (1 - (step - warmup) / total)^0.9; ``step`` from 0.

    As published, the decay is divided by all steps, so that it ends above zero.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 - (step - warmup) / total) ** POWER
