"""The model card: what a version was made from, how well it does, and what it is not good for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

METHODS = {
    "dinov2": "DINOv2 (DINO, iBOT, KoLeo); the weights are those of the moving-average teacher",
    "mae": "masked autoencoding (MAE); the decoder is left out",
}


@dataclass(frozen=True)
class CardFacts:
    """Plain facts for a card; ``scores`` are ready-made lines with intervals."""

    recipe: str
    steps: int
    counts: Mapping[str, int]
    locations: Mapping[str, int]
    manifest_digest: str
    generated_phantoms: bool
    scores: Sequence[str]
    method: str
    initial_weights: str
    initial_weights_licence: str


def card(facts: CardFacts) -> str:
    """The card as Markdown."""
    data = ", ".join(f"{count:,} {name}" for name, count in facts.counts.items())
    locations = ", ".join(f"{name} {count:,}" for name, count in facts.locations.items())
    scores = (
        "\n".join(f"- {line}" for line in facts.scores)
        or "- none: the data have no category with two classes"
    )
    warning = (
        "\n**Trained on generated phantoms: a check of the machinery, of no use on patients.**\n"
        if facts.generated_phantoms
        else ""
    )
    return f"""# MRI encoder, recipe `{facts.recipe}`
{warning}
## Data
{data}; slices by body location: {locations}. Dataset digest `{facts.manifest_digest[:16]}`.

## Training
{facts.steps:,} steps of {METHODS[facts.method]}.
Initial weights: {facts.initial_weights} (licence: {facts.initial_weights_licence}).

## Scores
{scores}

## Limits
Two-dimensional slices only. Anatomy that shows a face was left out by default. Not a medical device.
"""
