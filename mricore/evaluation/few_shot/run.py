"""One draw of few-shot segmentation: adapt an encoder on five slices, judge it on all patients of a part."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mricore.config.few_shot import FewShot
from mricore.config.task import FOREGROUND
from mricore.evaluation.contender import Contender
from mricore.evaluation.few_shot.fitting import CurvePoint, Fitted, fit
from mricore.evaluation.few_shot.judge import Judge, mean_dice
from mricore.evaluation.few_shot.segmenter import build_segmenter
from mricore.evaluation.few_shot.slices import prepared, spacing_at
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metrics.measure import Finding, measure_all
from mricore.evaluation.pictures import PREDICTION, Shown, shown, slices_to_show
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Draw, Part
from mricore.evaluation.tasks.volume import LabelledVolume, SliceKey

PROTOCOL = "few_shot"
_WEIGHTS = 0
_SLICES = 1
"""What a generator is for, the last number of its seed."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one draw gave: rows, the curve, some slices for pictures; the segmenter itself is not kept."""

    rows: list[Measurement]
    curve: tuple[CurvePoint, ...]
    predictions: tuple[Shown, ...]
    best_epoch: int
    steps: int
    seconds: float


def run_draw(
    contender: Contender, labelled: LabelledTask, draw: Draw, settings: FewShot, part: Part = "test"
) -> Outcome:
    """Adapt a copy of the contender on the draw's training slices and judge it on the volumes of ``part``.

    On CPU the same arguments and number of threads give the same bits; the contender is not changed.

    Raises:
        UserError: a decoder that does not fit, slices that are not finite, or a loss that diverges.
    """
    started = time.perf_counter()
    names = (FOREGROUND,) if settings.together else tuple(labelled.task.classes)
    judge, fitted = _adapted(contender, labelled, draw, settings, len(names))
    volumes = labelled.of(part)
    shared = (PROTOCOL, labelled.task.name, settings.name, contender.name, draw.number)
    rows = [
        Measurement(*shared, volume.patient, f"{volume.case}{suffix}", label, metric, value)
        for volume, findings in _findings(judge, volumes, names)
        for suffix, label, metric, value in findings
    ]
    pictures = tuple(_picture(judge, labelled, key) for key in slices_to_show(volumes))
    seconds = time.perf_counter() - started
    return Outcome(rows, fitted.curve, pictures, fitted.best_epoch, fitted.steps, seconds)


def _adapted(
    contender: Contender, labelled: LabelledTask, draw: Draw, settings: FewShot, classes: int
) -> tuple[Judge, Fitted]:
    """The contender with what it learned from the draw."""
    seed = (settings.seed, draw.number)
    weights_seed = int(np.random.default_rng([*seed, _WEIGHTS]).integers(2**63))
    judge = Judge(build_segmenter(contender, classes, settings, weights_seed), classes, settings)
    training = [labelled.slice(key) for key in draw.training]
    targets = [(image, judge.target(mask)) for image, mask in training]
    slices = prepared(targets, judge.side, settings.eight_bit)
    validate = _validation(judge, labelled, draw)
    return judge, fit(judge.segmenter, slices, validate, classes, settings, (*seed, _SLICES))


def _validation(judge: Judge, labelled: LabelledTask, draw: Draw) -> Callable[[], float]:
    """The mean Dice over the draw's validation slices, whenever it is asked for."""
    slices = [labelled.slice(key) for key in draw.validation]
    truths = [judge.truth(mask[None]) for _, mask in slices]
    predict = judge.repeatedly([image for image, _ in slices])
    return lambda: mean_dice(predict(), truths)


def _findings(
    judge: Judge, volumes: Sequence[LabelledVolume], names: Sequence[str]
) -> list[tuple[LabelledVolume, list[Finding]]]:
    """What the metrics find in each volume that has a slice to judge."""
    if judge.settings.drop_empty:
        volumes = [_without_empty(volume) for volume in volumes if volume.mask.any()]
    masks = ((judge.predicted(volume.image), judge.truth(volume.mask)) for volume in volumes)
    judged = [
        (found, truth, spacing_at(volume, truth))
        for volume, (found, truth) in zip(volumes, masks, strict=True)
    ]
    findings = measure_all(judged, names, judge.settings.metrics)
    return list(zip(volumes, findings, strict=True))


def _without_empty(volume: LabelledVolume) -> LabelledVolume:
    shows = volume.mask.any((1, 2))
    return replace(volume, image=volume.image[shows], mask=volume.mask[shows])


def _picture(judge: Judge, labelled: LabelledTask, key: SliceKey) -> Shown:
    """At the slice's own size, whatever is judged."""
    image, mask = labelled.slice(key)
    volume = next(one for one in labelled.volumes if one.case == key.case)
    layers = {PREDICTION: judge.at_own_size(image[None])[0]}
    return shown(labelled.task.name, key, image, judge.target(mask), layers, volume.spacing)
