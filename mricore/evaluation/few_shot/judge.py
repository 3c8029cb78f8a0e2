"""A segmenter asked for masks, and the masks that it is held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mricore.config.few_shot import FewShot
from mricore.evaluation.few_shot.losses import one_hot, with_background
from mricore.evaluation.few_shot.segmenter import Leading, Segmenter
from mricore.evaluation.few_shot.slices import prepared_images, resized_masks, shrunken
from mricore.evaluation.labels import strongest
from mricore.evaluation.metrics.overlap import Labels


@dataclass(frozen=True)
class Judge:
    """Predicted and true masks of slices, at the size at which the settings judge them."""

    segmenter: Segmenter
    classes: int
    settings: FewShot

    @property
    def side(self) -> int:
        """The multiple of the encoder's patch that is nearest to ``image_size``."""
        patch = self.segmenter.encoder.patch_embed.patch
        return max(round(self.settings.image_size / patch), 1) * patch

    def target(self, masks: Labels) -> Labels:
        """Classes as they are, or as one."""
        return (masks > 0).astype(np.uint8) if self.settings.together else masks

    def truth(self, masks: Labels) -> Labels:
        """Masks (N, R, C) of a task as they are judged: (N, R, C), or (N, g, g) with ``judge_at_logits``."""
        masks = self.target(masks)
        if not self.settings.judge_at_logits:
            return masks
        at_input = resized_masks(torch.from_numpy(np.ascontiguousarray(masks)), self.side)
        grid = self.side // self.segmenter.encoder.patch_embed.patch
        return strongest(shrunken(one_hot(at_input, self.classes), 4 * grid))

    def predicted(self, images: NDArray[Any]) -> Labels:
        """Masks of images (N, R, C), of the shape that ``truth`` has."""
        return self._judged(self._logits(images), images)

    def at_own_size(self, images: NDArray[Any]) -> Labels:
        """Masks (N, R, C) of images; logits are resized and then compared, so that no edge is a staircase."""
        return _resized(self._logits(images), images)

    def repeatedly(self, images: Sequence[NDArray[Any]]) -> Callable[[], list[Labels]]:
        """What ``predicted`` says of each slice (R, C) whenever it is asked, with the same bits.

        What frozen leading blocks make of slices is kept, for as many as ``kept_gib`` has room for.
        """
        kept = self._kept(images)

        def ask() -> list[Labels]:
            with torch.inference_mode():
                return [
                    self._judged([self.segmenter.following(found)], image[None])
                    if found is not None
                    else self.predicted(image[None])
                    for image, found in zip(images, kept, strict=True)
                ]

        return ask

    @torch.inference_mode()
    def _kept(self, images: Sequence[NDArray[Any]]) -> list[Leading | None]:
        """None for slices that there is no room for, and for all if the first block learns."""
        room = self.settings.kept_gib * 2**30 if self.segmenter.frozen_blocks() else 0.0
        kept: list[Leading | None] = []
        for image in images:
            found = self.segmenter.leading(self._input(image[None])) if room > 0 else None
            room -= found.tokens.nbytes if found is not None else 0
            kept.append(found if room >= 0 else None)
        return kept

    @torch.inference_mode()
    def _logits(self, images: NDArray[Any]) -> list[Tensor]:
        """Logits of images, batch by batch."""
        step = self.settings.evaluation_batch
        parts = (images[start : start + step] for start in range(0, len(images), step))
        return [self.segmenter(self._input(part)) for part in parts]

    def _input(self, images: NDArray[Any]) -> Tensor:
        """Images (N, R, C) as the encoder takes them, (N, 3, S, S)."""
        device = self.segmenter.encoder.pos_embed.device
        prepared: Tensor = prepared_images(images, self.side, self.settings.eight_bit).to(device)
        normed: Tensor = self.segmenter.input_norm(prepared)
        return normed

    def _judged(self, logits: Sequence[Tensor], images: NDArray[Any]) -> Labels:
        if not self.settings.judge_at_logits:
            return _resized(logits, images)
        return np.concatenate([strongest(with_background(part)) for part in logits])


def mean_dice(predictions: Sequence[Labels], truths: Sequence[Labels]) -> float:
    """Mean over slices and the classes that a slice shows: what validation looks at.

    Raises:
        ValueError: no slice shows a class.
    """
    scores = [
        2.0 * ((one == label) & (truth == label)).sum() / ((one == label).sum() + (truth == label).sum())
        for one, truth in zip(predictions, truths, strict=True)
        for label in np.unique(truth[truth > 0])
    ]
    if not scores:
        raise ValueError("no validation slice shows a class")
    return float(np.mean(scores))


def _resized(logits: Sequence[Tensor], images: NDArray[Any]) -> Labels:
    """Masks (N, R, C) of images (N, R, C), from logits of some of them each."""
    size = (images.shape[1], images.shape[2])
    resized = (F.interpolate(part, size, mode="bilinear", align_corners=False) for part in logits)
    return np.concatenate([strongest(with_background(part)) for part in resized])
