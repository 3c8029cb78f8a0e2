"""The weights that a run begins with: found, named by their digest, kept where all machines reach them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mricore.config.schema import Initial, Recipe
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.model.weights.known import KNOWN
from mricore.registry.load import folder_of
from mricore.training.initial import initial_network
from mricore.training.initial_files import copied, digest_of, fetched

FOLDER = "weights"


def with_weights(recipe: Recipe, outputs: Place) -> Recipe:
    """The recipe with its initial weights copied into ``outputs`` and named by their digest.

    So every machine reaches them, and a run is known again by its weights wherever the user's file lies.
    Prints what became of every tensor.

    Raises:
        UserError: the weights cannot be had, are damaged, or do not fit the recipe.
    """
    if recipe.initial.layout == "none":
        return recipe
    with tempfile.TemporaryDirectory() as folder:
        local = fetched(_on_disk(recipe.initial), Path(folder))
        digest = digest_of(local)
        found = recipe.initial.model_copy(update={"weights": str(local), "sha256": digest})
        _, report = initial_network(recipe.model_copy(update={"initial": found}))
        print(report, flush=True)
        kept = outputs.joined(f"{FOLDER}/{digest[:16]}/{local.name}")
        if not _is_kept(kept, digest):
            copied(str(local), kept)
    return recipe.model_copy(update={"initial": found.model_copy(update={"weights": kept})})


def _on_disk(initial: Initial) -> Initial:
    """Versions of the registry become folders."""
    if not initial.weights.startswith("models:/"):
        return initial
    if initial.layout != "mricore":
        raise UserError(
            f"{initial.weights} is an encoder of ours, not a file of layout {initial.layout}",
            "use --set initial.layout=mricore",
        )
    return initial.model_copy(update={"weights": str(folder_of(initial.weights))})


def _is_kept(uri: str, digest: str) -> bool:
    """Whether an earlier run has copied them; a copy of this machine is looked at again."""
    there = place(uri)
    return there.exists() and (there.is_remote or digest_of(Path(there.uri)) == digest)


def origin(initial: Initial) -> tuple[str, str]:
    """What a run began with, and under which licence, for the model card."""
    if initial.layout == "none":
        return "random", "none needed"
    published = KNOWN.get(Path(initial.weights).name)
    if published is None:
        return f"{initial.layout} file, sha256 {initial.sha256[:16]}", "that of its publisher"
    return f"{Path(initial.weights).name}, sha256 {initial.sha256[:16]}", published.licence
