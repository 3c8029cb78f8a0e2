"""Nearest neighbours on a curated dataset as units: an encoder, and all categories at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mricore.config.probes import CuratedSample, NearestNeighbours
from mricore.data.sample import sample_slices
from mricore.errors import UserError
from mricore.evaluation.contender import Contender
from mricore.evaluation.features import at_size
from mricore.evaluation.labelled import TASKS, category_of, labelled, patients_of
from mricore.evaluation.linear_probe import Probed, judgeable, of_curated
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.nearest import PROTOCOL, run
from mricore.evaluation.protocol import embed_slices
from mricore.evaluation.runner import Inputs
from mricore.evaluation.units import Made, Unit
from mricore.records import SliceRecord
from mricore.workflows.curated import Curated
from mricore.workflows.evaluate import Plan, encoder_input

VERSION = 1
"""Raised when the same settings give other numbers."""
SECTION = "sample"
SLICES = "slices of the dataset"


@dataclass(frozen=True)
class CuratedWork:
    """Embeds the slices once and names each category by neighbours of all other patients."""

    name: str
    categories: tuple[str, ...]
    settings: NearestNeighbours
    image_size: int

    def __call__(self, contender: Contender, samples: Sequence[SliceRecord], *, device: str) -> Made:
        """The unit's result; embeddings are computed on ``device``."""
        embedder = contender.embedder.to(device)
        if self.image_size:
            embedder = at_size(embedder, self.image_size)
        slices = labelled(samples, embedder.normalization)
        _, numbers = np.unique(slices.patients, return_inverse=True)
        slices = replace(slices, patients=np.array([f"patient_{number:05d}" for number in numbers]))
        features = embed_slices(embedder, slices.images)
        judged = np.ones(len(features), bool)
        rows: list[Measurement] = []
        for category in self.categories:
            named = of_curated(slices, category, features)
            rows += run(contender.name, f"{category} of {self.name}", named, judged, self.settings)
        return Made(rows)


def curated_units(plan: Plan, curated: Curated, chosen: NearestNeighbours) -> tuple[list[Unit], Inputs]:
    """A unit for each encoder; a line for each category tells what it rests on, or why it is not judged.

    Raises:
        UserError: there is no such category, or none that can be judged.
    """
    sample = plan.section(SECTION, CuratedSample)
    samples = sample_slices(curated.source, curated.manifest, sample.slices, plan.request.seed)
    judged = _judged(samples, plan.request.category)
    named = {
        "data": curated.manifest.digest,
        "seed": plan.request.seed,
        "version": VERSION,
        "categories": judged,
        "settings": chosen.model_dump(mode="json"),
        "sample": sample.model_dump(mode="json"),
    }
    found = [
        Unit(
            PROTOCOL,
            curated.name,
            contender.name,
            0,
            {**named, "encoder_digest": contender.digest},
            CuratedWork(curated.name, judged, chosen, sample.image_size),
            (encoder_input(contender), SLICES),
            {"origin": contender.origin},
        )
        for contender in plan.contenders
    ]
    return found, {SLICES: lambda: samples}


def _judged(samples: Sequence[SliceRecord], wanted: str | None) -> tuple[str, ...]:
    if wanted is not None and wanted not in TASKS:
        raise UserError(f"curated slices have no category {wanted!r}", f"valid names: {', '.join(TASKS)}")
    found = []
    for category in (wanted,) if wanted else TASKS:
        try:
            told = _told(samples, category)
            found.append(category)
        except UserError as error:
            told = f"not judged; {error.problem}"
        print(f"category: {category}: {told}", flush=True)
    if not found:
        raise UserError("no category of the dataset can be judged", "give a dataset with more patients")
    return tuple(found)


def _told(samples: Sequence[SliceRecord], category: str) -> str:
    """What a score rests on.

    Raises:
        UserError: fewer than two classes occur in two patients or more.
    """
    nothing = np.empty((len(samples), 0), np.float32)
    patients = patients_of(samples)
    kept = judgeable(Probed(nothing, category_of(samples, category), patients, patients), 2)
    _, counts = np.unique(kept.labels, return_counts=True)
    return (
        f"{len(kept.labels):,} of {len(samples):,} slices, {len(np.unique(kept.patients)):,} patients, "
        f"{len(counts)} classes; always naming the most frequent gives {counts.max() / counts.sum():.3f}"
    )
