"""Schedules as pure functions of the step (0-based) and the length of the run."""

from __future__ import annotations

import math


def cosine(step: float, total: float, start: float, end: float) -> float:
    """From ``start`` at step 0 to ``end`` at step ``total`` along half a cosine; constant after."""
    if total <= 0:
        return end
    progress = min(max(step / total, 0.0), 1.0)
    return end + 0.5 * (start - end) * (1.0 + math.cos(math.pi * progress))


def linear(step: float, total: float, start: float, end: float) -> float:
    """From ``start`` at step 0 to ``end`` at step ``total``; constant after."""
    if total <= 0:
        return end
    return start + (end - start) * min(max(step / total, 0.0), 1.0)


def warmup_cosine(step: float, total: float, warmup: float, peak: float, end: float) -> float:
    """From 0 to ``peak`` during ``warmup`` steps, then along a cosine to ``end`` at ``total``."""
    if step < warmup:
        return linear(step, warmup, 0.0, peak)
    return cosine(step - warmup, total - warmup, peak, end)
