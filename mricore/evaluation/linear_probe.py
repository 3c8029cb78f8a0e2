"""Linear probe: what a linear classifier reads off frozen features of whole slices (paper section 2.2).

Patients are split anew in each draw, the same way for all encoders. Categories that too few patients have to
be taught and judged are left out, as are slices of unknown category.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mricore.config.probes import LinearProbe, PaperProbe, StrictProbe
from mricore.errors import UserError
from mricore.evaluation.features import Array, FeaturesOf
from mricore.evaluation.logistic import Scaling, fitted, one_hot, path
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.protocol import UNKNOWN, LabelledSlices
from mricore.evaluation.tasks.labelled_task import LabelledTask

PROTOCOL = "linear_probe"
CALLED = "called "
"""Metric "called X" of a slice: 1 if it was taken for class X, else 0; its label is the true class."""
TRIES = 200
"""Random splits, of which the one with the most even shares of classes is taken."""
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Probed:
    """Features (n, C) of slices, the category (n,) and patient (n,) of each, and its case as "case/index"."""

    features: Array
    labels: NDArray[np.str_]
    patients: NDArray[np.str_]
    cases: NDArray[np.str_]

    def only(self, kept: NDArray[np.bool_]) -> Probed:
        """Some of the slices."""
        return Probed(self.features[kept], self.labels[kept], self.patients[kept], self.cases[kept])


def run_draw(
    encoder: str,
    task: str,
    slices: Probed,
    draw: int,
    seed: int,
    settings: LinearProbe,
    device: str = "cpu",
) -> list[Measurement]:
    """Accuracy of every judged slice (label "mean"), and what each was taken for ("called X", by true class).

    Logistic regression is computed on ``device``. The paper's epochs are on the CPU: their steps of a few
    slices are too small for a GPU.

    Raises:
        UserError: fewer than two categories have enough patients.
    """
    slices = judgeable(slices, 2 if settings.mode == "paper" else 3)
    classes, codes = np.unique(slices.labels, return_inverse=True)
    rng = np.random.default_rng([seed, draw])
    training = balanced_split(codes, slices.patients, settings.training_share, rng)
    if isinstance(settings, PaperProbe):
        predicted = _best_epoch(slices.features, codes, training, settings, rng)
    else:
        predicted = _nested(slices, codes, training, settings, rng, device)
    return rows_of(
        (PROTOCOL, task, settings.mode, encoder, draw), slices.only(~training), classes[predicted], classes
    )


def rows_of(
    head: tuple[str, str, str, str, int],
    slices: Probed,
    called: NDArray[np.str_],
    classes: Sequence[str] | NDArray[np.str_],
) -> list[Measurement]:
    """Accuracy of every slice (label "mean"), and which of the ``classes`` it was ``called`` (n,).

    ``head`` are protocol, task, mode, encoder and draw of the rows.
    """
    rows = []
    places = zip(slices.patients, slices.cases, slices.labels, called, strict=True)
    for patient, case, label, name in places:
        row = Measurement(*head, str(patient), str(case), "mean", "accuracy", float(name == label))
        rows.append(row)
        rows += [
            replace(row, label=str(label), metric=f"{CALLED}{other}", value=float(name == other))
            for other in classes
        ]
    return rows


def confusion(rows: Sequence[Measurement]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Classes, and how many slices (K, K) of each (row) were taken for each (column), over all draws."""
    called = [row for row in rows if row.metric.startswith(CALLED)]
    classes = sorted({row.label for row in called} | {row.metric.removeprefix(CALLED) for row in called})
    place = {name: index for index, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for row in called:
        counts[place[row.label], place[row.metric.removeprefix(CALLED)]] += int(row.value)
    return tuple(classes), counts


def balanced_accuracy(counts: NDArray[np.int64]) -> float:
    """Mean over classes of the share of their slices that was recognised; classes never seen do not count."""
    seen = counts.sum(1) > 0
    return float((counts.diagonal()[seen] / counts.sum(1)[seen]).mean())


def of_task(labelled: LabelledTask, category: str, features: FeaturesOf, per_volume: int = 0) -> Probed:
    """Slices of a task with a category of their volumes; at most ``per_volume`` of each, evenly; 0: all.

    Raises:
        UserError: no volume of the task has that category.
    """
    known = sorted({name for one in labelled.volumes for name in one.categories})
    if category not in known:
        raise UserError(
            f"task {labelled.task.name} has no category {category!r}",
            f"declare it with the task; it has: {', '.join(known) or 'none'}",
        )
    return _gathered(
        labelled,
        {one.case: one.categories.get(category, UNKNOWN) for one in labelled.volumes},
        features,
        per_volume,
    )


def of_curated(slices: LabelledSlices, category: str, features: Array) -> Probed:
    """Slices of a curated dataset with a category of theirs, and features (n, C) of them; cases are numbers.

    Raises:
        UserError: there is no such category.
    """
    if category not in slices.categories:
        raise UserError(
            f"curated slices have no category {category!r}", f"valid names: {', '.join(slices.categories)}"
        )
    cases = np.array([f"slice_{number:06d}" for number in range(len(features))])
    return Probed(features, slices.categories[category], slices.patients, cases)


def across_tasks(tasks: Sequence[tuple[LabelledTask, FeaturesOf]], per_volume: int) -> Probed:
    """Slices of several tasks, whose category is the task itself (its body part)."""
    found = []
    for labelled, features in tasks:
        name = labelled.task.name
        one = _gathered(labelled, {volume.case: name for volume in labelled.volumes}, features, per_volume)
        patients, cases = (
            np.array([f"{name}:{text}" for text in column]) for column in (one.patients, one.cases)
        )
        found.append(Probed(one.features, one.labels, patients, cases))
    parts = [(one.features, one.labels, one.patients, one.cases) for one in found]
    return Probed(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def judgeable(slices: Probed, patients: int) -> Probed:
    """Slices of known categories that so many patients have.

    Raises:
        UserError: fewer than two categories remain.
    """
    owners = {
        label: len(np.unique(slices.patients[slices.labels == label])) for label in np.unique(slices.labels)
    }
    kept = [label for label, count in owners.items() if count >= patients and label != UNKNOWN]
    if len(kept) < 2:
        raise UserError(
            f"{len(kept)} categories occur in {patients} patients or more, and two are needed",
            "give more patients, or another category",
        )
    return slices.only(np.isin(slices.labels, kept))


def balanced_split(
    codes: Codes, patients: NDArray[np.str_], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which slices (n,) are for training: all of some patients, and of each class an even share if found.

    A split that leaves a class without training or without other slices is taken only if all tried ones do.
    """
    owners, owner = np.unique(patients, return_inverse=True)
    totals = np.bincount(codes).astype(np.float64)
    counts = np.zeros((len(owners), len(totals)))
    np.add.at(counts, (owner, codes), 1.0)
    chosen = round(share * len(owners))
    best, least = np.zeros(len(owners), bool), np.inf
    for _ in range(TRIES):
        trial = np.zeros(len(owners), bool)
        trial[rng.permutation(len(owners))[: min(max(chosen, 1), len(owners) - 1)]] = True
        shares = counts[trial].sum(0) / totals
        lost = np.count_nonzero((shares == 0) | (shares == 1))
        unevenness = lost + np.abs(shares - share).mean()
        if unevenness < least:
            best, least = trial, unevenness
    return best[owner]


def folds(
    codes: Codes, patients: NDArray[np.str_], count: int, rng: np.random.Generator
) -> list[NDArray[np.bool_]]:
    """Which slices (n,) each of ``count`` folds holds out: each patient in one, classes dealt out evenly.

    There are fewer folds if there are fewer patients.
    """
    owners, owner = np.unique(patients, return_inverse=True)
    main = np.array([np.bincount(codes[owner == index]).argmax() for index in range(len(owners))])
    shuffled = rng.permutation(len(owners))
    dealt = shuffled[np.argsort(main[shuffled], kind="stable")]  # patients of a class follow each other
    fold = np.empty(len(owners), np.int64)
    fold[dealt] = np.arange(len(owners)) % count
    return [fold[owner] == index for index in range(min(count, len(owners)))]


def _best_epoch(
    features: Array, codes: Codes, training: NDArray[np.bool_], settings: PaperProbe, rng: np.random.Generator
) -> Codes:
    """Codes of the slices that are not for training, at the epoch that does best on them, first of equals."""
    scaling = Scaling.of(features[training])
    inputs = scaling.apply(features).astype(np.float32) if settings.standardize else features
    learn, judge = torch.from_numpy(inputs[training]), torch.from_numpy(inputs[~training])
    targets, truth = torch.from_numpy(codes[training]), torch.from_numpy(codes[~training])
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    weights = torch.empty(int(codes.max()) + 1, features.shape[1]).normal_(0, 0.01, generator=generator)
    bias = torch.zeros(len(weights))
    optimizer = torch.optim.Adam(
        [weights.requires_grad_(), bias.requires_grad_()], settings.lr, weight_decay=settings.l2
    )
    best, most = truth, -1
    for _ in range(settings.epochs):
        for batch in torch.randperm(len(learn), generator=generator).split(settings.batch_size):
            optimizer.zero_grad()
            F.cross_entropy(F.linear(learn[batch], weights, bias), targets[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            called = F.linear(judge, weights, bias).argmax(1)
        right = int((called == truth).sum())
        if right > most:
            best, most = called, right
    return best.numpy()


def _nested(
    slices: Probed,
    codes: Codes,
    training: NDArray[np.bool_],
    settings: StrictProbe,
    rng: np.random.Generator,
    device: str,
) -> Codes:
    """Codes of the slices that are not for training; they take no part in choosing L2."""
    classes = int(codes.max()) + 1
    features, targets = slices.features[training], one_hot(codes[training], classes)
    right = np.zeros(len(settings.l2))
    strongest_first = sorted(settings.l2, reverse=True)
    for held in folds(codes[training], slices.patients[training], settings.folds, rng):
        for place, found in enumerate(path(features[~held], targets[~held], strongest_first, device)):
            right[place] += (found.logits(features[held]).argmax(1) == codes[training][held]).sum()
    chosen = strongest_first[int(right.argmax())]
    return fitted(features, targets, chosen, device=device).logits(slices.features[~training]).argmax(1)


def _gathered(
    labelled: LabelledTask, category: dict[str, str], features: FeaturesOf, per_volume: int
) -> Probed:
    columns: list[tuple[Array, str, str, str]] = []
    for volume in labelled.volumes:
        found = features(volume.case)
        for index in evenly(len(found), per_volume):
            columns.append((found[index], category[volume.case], volume.patient, f"{volume.case}/{index}"))
    vectors, labels, patients, cases = zip(*columns, strict=True)
    return Probed(np.stack(vectors), np.array(labels), np.array(patients), np.array(cases))


def evenly(count: int, wanted: int) -> list[int]:
    """Indices of at most ``wanted`` of ``count`` slices, evenly over them; of all if ``wanted`` is 0."""
    if not wanted or count <= wanted:
        return list(range(count))
    return [int((place + 0.5) * count / wanted) for place in range(wanted)]
