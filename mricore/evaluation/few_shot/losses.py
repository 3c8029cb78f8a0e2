"""Dice and cross-entropy of classes that exclude each other, as pure functions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTH = 1e-5
"""MONAI's default, in numerator and denominator."""


def with_background(logits: Tensor) -> Tensor:
    """Logits (B, C, ...) of classes -> (B, 1 + C, ...): those of the background are zero.

    The softmax of 0 and z is the sigmoid of z, so one class alone is the published binary case.
    """
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)


def one_hot(masks: Tensor, classes: int) -> Tensor:
    """Masks (B, H, W) of 0..``classes`` -> (B, 1 + classes, H, W) float32."""
    return F.one_hot(masks.long(), 1 + classes).movedim(-1, 1).float()


def dice_ce(logits: Tensor, target: Tensor) -> Tensor:
    """Dice plus cross-entropy, each the mean over the batch; a scalar.

    ``logits`` (B, C, H, W) of classes; ``target`` (B, 1 + C, H, W) one-hot with background. Dice is of each
    image and class without background, sums not squared. With one class this is MONAI's
    ``DiceCELoss(sigmoid=True)``, with more its ``DiceCELoss(softmax=True, include_background=False)``.
    """
    log_shares = with_background(logits).log_softmax(1)
    return dice_loss(log_shares.exp()[:, 1:], target[:, 1:]) - (target * log_shares).sum(1).mean()


def dice_loss(shares: Tensor, target: Tensor) -> Tensor:
    """One minus the soft Dice of (B, C, H, W), the mean over images and classes (arXiv 1606.04797)."""
    shares, target = shares.flatten(2), target.flatten(2)
    overlap = 2 * (shares * target).sum(2) + SMOOTH
    return (1 - overlap / (shares.sum(2) + target.sum(2) + SMOOTH)).mean()
