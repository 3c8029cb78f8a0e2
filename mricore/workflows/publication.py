"""An encoder with all that its version in the registry tells: what a run or a study leaves for publishing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mricore.config.overrides import setting_paths, value_at
from mricore.config.recipes import RECIPES, recipe_named
from mricore.config.schema import Recipe
from mricore.data.manifest import Manifest
from mricore.evaluation.contenders import digest_of
from mricore.model.embedder import Embedder
from mricore.registry.card import CardFacts, card
from mricore.registry.lineage import run_tags, weights_tags
from mricore.registry.publish import HEALTH, WELL, Version, publish
from mricore.training.launch import identity
from mricore.training.place import Home
from mricore.workflows.initial import origin

REVISIONS = ("code_revision", "git_revision")
"""Tags of a run for the code that trained."""


@dataclass(frozen=True)
class Candidate:
    """An encoder and where it comes from; ``name`` is what ``jobs/publish.py`` calls it.

    ``own_scores`` are lines of the run's own judgement. ``illness`` names the signs at its end, if any.
    ``read_at`` tells where in a longer training the encoder was read; empty: at its end.
    """

    name: str
    embedder: Embedder
    recipe: Recipe
    manifest: Manifest
    run_id: str
    steps: int
    own_scores: tuple[str, ...]
    illness: str = ""
    read_at: str = ""

    @cached_property
    def digest(self) -> str:
        """What the encoder is known by in evaluations and in the registry."""
        return digest_of(self.embedder, {})

    @property
    def health(self) -> str:
        """ "well", or the signs of illness."""
        return f"ill at the end: {self.illness}" if self.illness else WELL

    @property
    def is_phantom(self) -> bool:
        """Whether it was trained on generated phantoms."""
        return self.manifest.generated_phantoms


def registered(
    candidate: Candidate,
    folder: Path,
    where: Home,
    name: str,
    alias: str,
    scores: Sequence[str] = (),
    leaks: Sequence[str] = (),
) -> Version:
    """Write the encoder into ``folder`` and register it; the alias moves only where no gate is needed.

    Raises:
        UserError: the registry does not answer or refuses.
    """
    candidate.embedder.save(folder)
    (folder / "recipe.json").write_text(candidate.recipe.model_dump_json(indent=1))
    return publish(
        folder,
        tracking_uri=where.tracking_uri,
        run_id=candidate.run_id,
        name=name,
        alias=alias,
        card=model_card(candidate, name, scores, leaks),
        tags=_tags(candidate, run_tags(where.tracking_uri, candidate.run_id)),
        generated_phantoms=candidate.is_phantom,
        may_lead=not candidate.illness,
    )


def model_card(candidate: Candidate, name: str, scores: Sequence[str], leaks: Sequence[str]) -> str:
    """The card of the version ``name``."""
    recipe, manifest = candidate.recipe, candidate.manifest
    weights, licence = origin(recipe.initial)
    return card(
        CardFacts(
            name=name,
            recipe=recipe.name,
            settings=[*changed(recipe), *([candidate.read_at] if candidate.read_at else [])],
            steps=candidate.steps,
            counts=manifest.counts,
            distributions=manifest.distributions,
            manifest_digest=manifest.digest,
            generated_phantoms=candidate.is_phantom,
            own_scores=candidate.own_scores,
            method=recipe.method,
            initial_weights=weights,
            initial_weights_licence=licence,
            health=candidate.health,
            scores=scores,
            leaks=leaks,
        )
    )


def weights_of(recipe: Recipe) -> dict[str, str]:
    """Tags for the weights that a run began with."""
    name, licence = origin(recipe.initial)
    return weights_tags(name, recipe.initial.sha256, licence)


def changed(recipe: Recipe) -> list[str]:
    """Settings of learning that differ from the recipe of that name, as with ``--set``."""
    if recipe.name not in RECIPES:
        return []
    was, now = (json.loads(identity(one)) for one in (recipe_named(recipe.name), recipe))
    paths = [path for path in setting_paths() if not path.startswith("tracking.")]
    return [
        f"{path}={json.dumps(value_at(now, path))}"
        for path in paths
        if _has(now, path) and value_at(now, path) != value_at(was, path)
    ]


def _has(document: Mapping[str, Any], path: str) -> bool:
    """Whether a setting is there: those of where a run happens are not."""
    value: Any = document
    for part in path.split("."):
        if part not in value:
            return False
        value = value[part]
    return True


def _tags(candidate: Candidate, of_run: Mapping[str, str]) -> dict[str, str]:
    return {
        "recipe": candidate.recipe.name,
        "method": candidate.recipe.method,
        "manifest_digest": candidate.manifest.digest,
        "steps": str(candidate.steps),
        HEALTH: candidate.health,
        **weights_of(candidate.recipe),
        **{name: of_run[name] for name in REVISIONS if name in of_run},
    }
