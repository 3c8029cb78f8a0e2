"""A curated dataset in the place of labelled tasks: its slices are judged by the categories of curation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mricore.data.manifest import Manifest, read_manifest
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.registry.judged import is_version, trained_on
from mricore.training.place import Home
from mricore.workflows.evaluation_arguments import EvaluationRequest

DIGITS = 8


@dataclass(frozen=True)
class Curated:
    """A dataset that curation wrote, known by its digest wherever it lies."""

    source: Place
    manifest: Manifest

    @property
    def name(self) -> str:
        """What tables call it; names of folders are the user's and may tell more than they should."""
        return f"dataset {self.manifest.digest[:DIGITS]}"


def open_curated(request: EvaluationRequest) -> Curated | None:
    """The dataset that was asked for, told in a line; None where tasks were.

    Raises:
        UserError: there is no such dataset, there are both or neither, or an argument is for tasks alone.
    """
    if request.dataset is None:
        if not request.tasks:
            raise UserError("nothing to judge on", "name a TASK")
        return None
    for given, what in (
        (request.tasks, "tasks"),
        (request.data, "--data"),
        (request.pretraining, "--pretraining"),
        (request.part != "test", "--part"),
    ):
        if given:
            raise UserError(f"--dataset and {what} do not go together", f"leave out --dataset or {what}")
    source = place(request.dataset)
    curated = Curated(source, read_manifest(source))
    counts = curated.manifest.counts
    told = f"{counts['slices']:,} slices of {counts['patients']:,} patients"
    print(f"dataset: {curated.name}: {told}, digest {curated.manifest.digest[:12]}", flush=True)
    return curated


def curated_verdict(curated: Curated, origins: Sequence[str], where: Home) -> str:
    """Which of the encoders of the registry were pretrained on this very dataset.

    Raises:
        UserError: the tracking server does not answer.
    """
    versions = [origin for origin in origins if is_version(origin)]
    seen = [origin for origin in versions if trained_on(origin, where) == curated.manifest.digest]
    if seen:
        return f"{curated.name}: {', '.join(seen)} saw its slices in pretraining, but no category of them"
    unknown = (
        "; of encoders that are not in the registry it is not known" if len(versions) < len(origins) else ""
    )
    return f"{curated.name}: no version of the registry was pretrained on this very dataset{unknown}"
