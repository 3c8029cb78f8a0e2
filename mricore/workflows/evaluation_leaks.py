"""Whether tasks hold slices that an encoder was pretrained on: asked before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence

from mricore.data.manifest import MANIFEST, Manifest, has_manifest, read_manifest
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.evaluation.contenders import RANDOM
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.leaks import find_leaks
from mricore.registry.judged import is_version, trained_on
from mricore.training.place import Home


def leak_verdicts(
    tasks: Sequence[LabelledTask], pretraining: str | None, origins: Sequence[str], where: Home
) -> dict[str, str]:
    """A sentence for each task: compared with ``pretraining``, or with what versions say that they saw.

    ``origins`` are those of the encoders; the dataset of a version is looked for among ``where``'s datasets.

    Raises:
        UserError: ``pretraining`` is no curated dataset.
    """
    unknown: list[str] = []
    if pretraining is not None:
        datasets = [_given(pretraining)]
    else:
        datasets, unknown = _of_versions(origins, where)
    verdicts = {}
    for labelled in tasks:
        told = [str(find_leaks(labelled, source, manifest)) for source, manifest in datasets]
        if not told:
            name = labelled.task.name
            told = [f"{name}: not compared with any pretraining data (give --pretraining DATASET)"]
        verdicts[labelled.task.name] = "; ".join([*told, *unknown])
        print(f"leaks: {verdicts[labelled.task.name]}", flush=True)
    return verdicts


def _given(pretraining: str) -> tuple[Place, Manifest]:
    source = place(pretraining)
    return source, read_manifest(source)


def _of_versions(origins: Sequence[str], where: Home) -> tuple[list[tuple[Place, Manifest]], list[str]]:
    """The datasets of versions that lie where this machine keeps datasets, and of whom nothing is known."""
    wanted = {trained_on(origin, where): origin for origin in origins if is_version(origin)}
    wanted.pop("", None)
    there = (
        {manifest.digest: (source, manifest) for source, manifest in kept_datasets(where)} if wanted else {}
    )
    unknown = [
        f"{origin} was trained on dataset {digest[:16]}, which is not here"
        for digest, origin in wanted.items()
        if digest not in there
    ]
    found = [there[digest] for digest in wanted if digest in there]
    if found and not all(is_version(origin) or origin.startswith(RANDOM) for origin in origins):
        unknown.append("of encoders that are not in the registry it is not known")
    return found, unknown


def kept_datasets(where: Home) -> list[tuple[Place, Manifest]]:
    """The curated datasets that lie among the outputs, with their manifests."""
    names = {name.split("/")[1] for name in where.outputs.names("datasets") if name.endswith(f"/{MANIFEST}")}
    found = []
    for name in sorted(names):
        source = Place(where.outputs.joined(f"datasets/{name}"))
        if has_manifest(source):
            try:
                found.append((source, read_manifest(source)))
            except UserError:  # written by another version: not the dataset of this lineage
                continue
    return found
