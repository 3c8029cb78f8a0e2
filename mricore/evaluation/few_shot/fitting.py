"""Adaptation on a few slices, until the validation slices say that it is enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import AdamW

from mricore.config.few_shot import FewShot
from mricore.errors import UserError
from mricore.evaluation.few_shot.augmentation import cropped, draw, with_other_intensities
from mricore.evaluation.few_shot.losses import dice_ce, one_hot
from mricore.evaluation.few_shot.schedule import rate_at
from mricore.evaluation.few_shot.segmenter import Segmenter
from mricore.evaluation.few_shot.slices import PreparedSlices, shrunken

_ORDER = 0
_CHOICES = 1
"""What a generator is for, the last number of its seed."""


@dataclass(frozen=True)
class CurvePoint:
    """Mean loss of the epochs since the last point, and the score of the validation slices."""

    epoch: int
    loss: float
    validation: float


@dataclass(frozen=True)
class Fitted:
    """How adaptation went; the segmenter is left as it was at ``best_epoch``."""

    curve: tuple[CurvePoint, ...]
    best_epoch: int
    steps: int


def fit(
    segmenter: Segmenter,
    slices: PreparedSlices,
    validate: Callable[[], float],
    classes: int,
    settings: FewShot,
    seed: tuple[int, ...],
) -> Fitted:
    """Train what has gradients, and keep the best by ``validate``.

    Everything random is a function of ``seed``, epoch and place in the epoch.

    Raises:
        UserError: the loss is not finite.
    """
    trained = segmenter.trained()
    optimizer = AdamW(trained.values(), lr=settings.lr, weight_decay=settings.weight_decay)
    total = settings.epochs * math.ceil(len(slices.images) / settings.batch_size)
    curve: list[CurvePoint] = []
    slices = slices.on(segmenter.encoder.pos_embed.device)
    best = CurvePoint(-1, math.inf, -math.inf)
    kept: dict[str, Tensor] = {}
    losses: list[Tensor] = []
    step = 0
    for epoch in range(settings.epochs):
        for images, target in batches(segmenter, slices, classes, epoch, settings, seed):
            _set_rate(optimizer, step, total, settings)
            losses.append(_step(segmenter, optimizer, images, target, settings))
            step += 1
        if epoch % settings.evaluate_every and epoch + 1 < settings.epochs:
            continue
        curve.append(CurvePoint(epoch, _finite_mean(losses), validate()))
        losses.clear()
        if curve[-1].validation > best.validation:
            best = curve[-1]
            kept = {name: parameter.detach().clone() for name, parameter in trained.items()}
        elif epoch >= settings.least_epochs and epoch - best.epoch >= settings.patience:
            break
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(kept[name])
    return Fitted(tuple(curve), best.epoch, step)


def batches(
    segmenter: Segmenter,
    slices: PreparedSlices,
    classes: int,
    epoch: int,
    settings: FewShot,
    seed: tuple[int, ...],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Augmented batches of an epoch: normalised images (B, 3, S, S), one-hot masks (B, 1 + classes, S, S)."""
    device = segmenter.encoder.pos_embed.device
    order = np.random.default_rng([*seed, epoch, 0, _ORDER]).permutation(len(slices.images))
    for start in range(0, len(order), settings.batch_size):
        rows = order[start : start + settings.batch_size]
        places = range(start, start + len(rows))
        choices = draw((np.random.default_rng([*seed, epoch, place, _CHOICES]) for place in places), settings)
        images = with_other_intensities(slices.images[rows].to(device), choices)
        masks = slices.masks[rows].to(device)
        images, masks = cropped(segmenter.input_norm(images), masks, choices, settings.nearest)
        yield images, one_hot(masks, classes)


def loss_of(logits: Tensor, target: Tensor, settings: FewShot) -> Tensor:
    """Dice and cross-entropy at the decoder's size (``judge_at_logits``) or the input's."""
    if settings.judge_at_logits:
        return dice_ce(logits, shrunken(target, logits.shape[-1]))
    size = (target.shape[2], target.shape[3])
    return dice_ce(F.interpolate(logits, size, mode="bilinear", align_corners=False), target)


def _step(
    segmenter: Segmenter, optimizer: AdamW, images: Tensor, target: Tensor, settings: FewShot
) -> Tensor:
    """One step; the loss stays on the device, so that nothing waits for it."""
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(segmenter(images), target, settings)
    loss.backward()
    optimizer.step()
    return loss.detach()


def _set_rate(optimizer: AdamW, step: int, total: int, settings: FewShot) -> None:
    lagging = max(step - 1, 0) if settings.late_rate else step
    for group in optimizer.param_groups:
        group["lr"] = rate_at(lagging, total, settings.warmup_steps, settings.lr)


def _finite_mean(losses: list[Tensor]) -> float:
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise UserError("few-shot adaptation diverged: its loss is not finite", "use a smaller lr")
    return mean
