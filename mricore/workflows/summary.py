"""What a finished run tells: parameters for MLflow, the model card, the report, the last lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mricore.config.overrides import setting_paths, value_at
from mricore.config.schema import Recipe
from mricore.data.manifest import Manifest
from mricore.data.progress import duration
from mricore.imaging.intensity import normalize
from mricore.records import SliceRecord
from mricore.registry.publish import Version
from mricore.report.page import ReportInputs, render
from mricore.training.checkpoint import Row
from mricore.training.launch import RunRecord
from mricore.training.place import Home
from mricore.training.telemetry import Tracked
from mricore.workflows.crops import crop_pictures
from mricore.workflows.judgement import Judgement

CROPPED = 3
PICTURES = 8


def flat(recipe: Recipe) -> dict[str, Any]:
    """All settings by dotted path."""
    document = recipe.model_dump(mode="json")
    return {path: value_at(document, path) for path in setting_paths()}


def page(
    recipe: Recipe,
    manifest: Manifest,
    rows: Sequence[Row],
    judgement: Judgement,
    version: Version,
    seconds: Mapping[str, float],
    illness: str,
) -> str:
    """The report as HTML; ``illness`` names the signs that the last report of training showed."""
    last = rows[-1] if rows else {}
    rates = [row["progress/slices_per_s"] for row in rows if "progress/slices_per_s" in row]
    facts = [(name, f"{count:,}") for name, count in manifest.counts.items()]
    facts += [
        ("steps", f"{judgement.steps:,}"),
        ("final loss", f"{last.get('loss/total', float('nan')):.3f}"),
    ]
    facts += [("slices per second", f"{np.mean(rates):.1f}")] if rates else []
    facts += [("health", f"ill: {illness}")] if illness else []
    facts += [
        ("registered", f"{version.name} v{version.number}"),
        ("alias", version.alias or "stays where it was"),
    ]
    facts += [("time of this process", duration(sum(seconds.values())))]
    cropped = judgement.samples[:CROPPED]
    return render(
        ReportInputs(
            title=f"MRI encoder pretraining, recipe {recipe.name}",
            generated_phantoms=manifest.generated_phantoms,
            facts=facts,
            history=rows,
            examples=[(normalize(one, "slice"), _caption(one)) for one in judgement.samples[:PICTURES]],
            crops=[
                (_caption(one), pictures)
                for one, pictures in zip(cropped, crop_pictures(recipe, cropped), strict=True)
            ],
            features=judgement.features,
            scores=judgement.scores,
            distributions=manifest.distributions,
            funnel=manifest.funnel,
            rejected=manifest.rejected,
            timings=seconds,
            commands=_commands(version),
            recipe=recipe.model_dump(mode="json"),
        )
    )


def last_lines(record: RunRecord, home: Home, recipe: Recipe, manifest_path: str, tracked: Tracked) -> str:
    """Where everything is."""
    tracking = recipe.tracking
    model = f"models:/{tracking.model_name}/{record.model_version}"
    return "\n".join(
        [
            f"dataset manifest: {manifest_path}",
            f"MLflow run:       {tracked.run_id} (experiment {tracking.experiment}, {home.shown})",
            f"MLflow UI:        {_ui_command(home)}",
            f"model:            {model}{_alias(record, recipe, home)}",
            f"report:           {record.report}",
        ]
    )


def _alias(record: RunRecord, recipe: Recipe, home: Home) -> str:
    """Whether the version took the alias; if not, why, or how to let the gate decide."""
    tracking = recipe.tracking
    if record.alias:
        return f" = models:/{tracking.model_name}@{record.alias}"
    if record.illness:
        return f"; it takes no alias: the run was ill at the end: {record.illness}"
    alias = f" --alias {tracking.alias}" if tracking.alias != "champion" else ""
    return (
        f"; {tracking.alias} stays: python jobs/publish.py {record.name} --name {tracking.model_name}{alias} "
        f"--out {home.outputs.uri} tells how the two are compared"
    )


def _ui_command(home: Home) -> str:
    if home.tracking_uri.startswith("sqlite:"):
        return f".venv/bin/mlflow ui --backend-store-uri {home.tracking_uri}"
    return f"open {home.shown}"


def _commands(version: Version) -> list[tuple[str, str]]:
    return [
        (
            "Embed slices (N, H, W) of any size and type",
            f'import mricore\n\nencoder = mricore.load("{version.uri}")\nembeddings = encoder(images)'
            "       # (N, dim)\npatches = encoder.dense(images)     # (N, h, w, dim)",
        ),
        (
            "With MLflow alone",
            f'model = mlflow.pyfunc.load_model("{version.uri}")\nembeddings = model.predict(images)',
        ),
        ("Judge it on a dataset", f"python eval/knn.py --dataset DATASET --encoder {version.uri}"),
    ]


def _caption(record: SliceRecord) -> str:
    return ", ".join((record.location, record.sequence, record.plane, record.vendor))
