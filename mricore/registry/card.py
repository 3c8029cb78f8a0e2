"""The model card: what a version was made from, how well it does, what it is not good for, how to load it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

METHODS = {
    "dinov2": "DINOv2 (DINO, iBOT, KoLeo); the weights are those of the moving-average teacher",
    "mae": "masked autoencoding (MAE); the decoder is left out",
}


@dataclass(frozen=True)
class CardFacts:
    """Plain facts for a card; scores and leaks are ready-made lines, scores with intervals.

    ``distributions`` maps an attribute to slices per value. ``settings`` are those that differ from the named
    recipe, as with ``--set``. ``own_scores`` are the run's own judgement, ``scores`` those of evaluations.
    """

    name: str
    recipe: str
    settings: Sequence[str]
    steps: int
    counts: Mapping[str, int]
    distributions: Mapping[str, Mapping[str, int]]
    manifest_digest: str
    generated_phantoms: bool
    own_scores: Sequence[str]
    method: str
    initial_weights: str
    initial_weights_licence: str
    health: str
    scores: Sequence[str] = ()
    leaks: Sequence[str] = ()


def card(facts: CardFacts) -> str:
    """The card as Markdown."""
    counts = ", ".join(f"{count:,} {name}" for name, count in facts.counts.items())
    return f"""# MRI encoder, recipe `{facts.recipe}`
{_warnings(facts)}
## Data
{counts}. Dataset digest `{facts.manifest_digest[:16]}`.
{_lines(_distribution(name, facts.distributions) for name in ("location", "sequence", "vendor"))}

## Training
{facts.steps:,} steps of {METHODS[facts.method]}.
Settings other than the recipe's: {", ".join(f"`{one}`" for one in facts.settings) or "none"}.
Initial weights: {facts.initial_weights} (licence: {facts.initial_weights_licence}).

## Scores
Of the run's own judgement, nearest neighbours on slices of its own dataset:
{_lines(facts.own_scores) or "- none: the data have no category with two classes"}

Of evaluations on labelled tasks:
{_lines(facts.scores) or "- none yet"}

## Limits
{_lines(facts.leaks) or "- It was not looked for whether labelled tasks hold slices of the pretraining data."}
- Two-dimensional slices only. Anatomy that shows a face was left out by default.
- Not a medical device.

## How to load it
    import mricore
    encoder = mricore.load("models:/{facts.name}@champion")   # or models:/{facts.name}/NUMBER
    embeddings = encoder(images)                 # slices (N, H, W) of any numeric type -> (N, dim)
    patches = encoder.dense(images)              # (N, h, w, dim)

With MLflow alone: `mlflow.pyfunc.load_model("models:/{facts.name}/NUMBER").predict(images)`.
"""


def _warnings(facts: CardFacts) -> str:
    phantoms = "Trained on generated phantoms: a check of the machinery, of no use on patients."
    told = [phantoms] if facts.generated_phantoms else []
    told += [f"Training was {facts.health}."] if facts.health != "well" else []
    return "".join(f"\n**{one}**\n" for one in told)


def _distribution(name: str, distributions: Mapping[str, Mapping[str, int]]) -> str:
    counted = distributions.get(name, {})
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return f"slices by {name}: " + (
        ", ".join(f"{value} {count:,}" for value, count in ordered) or "not known"
    )


def _lines(texts: Iterable[str]) -> str:
    return "\n".join(f"- {text}" for text in texts)
