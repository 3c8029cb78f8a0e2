"""From what ``jobs/publish.py`` is given, a run or an arm of a study, to an encoder that can be published."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from mricore.config.overrides import validated
from mricore.config.schema import Recipe
from mricore.data.manifest import MANIFEST, Manifest, read_manifest
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.model.embedder import Embedder
from mricore.registry.lineage import run_file, run_tags
from mricore.study_records import ENCODERS, STUDY, StudyResult
from mricore.training.checkpoint import read_shipped
from mricore.training.initial_files import copied
from mricore.training.launch import open_checkpoint, read_record
from mricore.training.place import Home
from mricore.workflows.evaluation_leaks import kept_datasets
from mricore.workflows.publication import Candidate

RUN_NAME = "mricore.run"
"""Tag of a run in MLflow: its name under OUT/runs."""
JUDGEMENT = "judgement.json"
"""Artifact of a run: lines of its own judgement."""
STUDIES = "studies/"
_PLAIN = re.compile(r"[A-Za-z0-9][\w.-]*")
_MLFLOW_ID = re.compile(r"[0-9a-f]{32}")


def candidate_of(text: str, where: Home) -> Candidate:
    """The encoder of a run (its name or its MLflow id) or of ``studies/NAME/ARM``.

    Raises:
        UserError: there is no such run, it has not finished, or its files or records are not there.
    """
    if text.startswith(STUDIES):
        return _arm(text, where)
    name = run_tags(where.tracking_uri, text).get(RUN_NAME, "") if _MLFLOW_ID.fullmatch(text) else text
    runs = where.runs
    record = read_record(runs, name) if _PLAIN.fullmatch(name) else None
    if record is None:
        raise UserError(
            f"there is no run {text} in {runs.uri}",
            "give a run's name or MLflow id, and --out as in training",
        )
    if not record.finished:
        raise UserError(
            f"run {name} has not finished",
            "run the command of its training again; of a study publish studies/NAME/ARM",
        )
    with open_checkpoint(runs, record).as_directory() as folder:
        info, network = read_shipped(Path(folder))
    recipe = info.recipe
    size, mode = recipe.augment.global_size, recipe.data.normalization
    return Candidate(
        name=text,
        embedder=Embedder.from_network(network, recipe.model, size, mode),
        recipe=recipe,
        manifest=_manifest(where, record.mlflow_run_id, info.manifest_digest),
        run_id=record.mlflow_run_id,
        steps=info.step,
        own_scores=_own_scores(where, record.mlflow_run_id),
        illness=record.illness,
    )


def _arm(text: str, where: Home) -> Candidate:
    parts = text.removeprefix(STUDIES).split("/", 1)
    study = Place(where.outputs.joined(f"{STUDIES}{parts[0]}"))
    if len(parts) < 2 or not _PLAIN.fullmatch(parts[0]) or not study.exists(STUDY):
        raise UserError(f"there is no {text} in {where.outputs.uri}", "write studies/NAME/ARM")
    result = StudyResult.from_json(study.read_bytes(STUDY))
    names = [arm.name for arm in result.arms]
    if parts[1] not in names:
        raise UserError(
            f"study {parts[0]} has no arm {parts[1]!r}",
            f"give one of studies/{parts[0]}/{{{', '.join(names)}}}",
        )
    arm = result.arm(parts[1])
    if not arm.is_trained:
        raise UserError(f"arm {arm.name} is not trained: there is nothing to publish", "choose a trained arm")
    if not arm.encoder or arm.steps is None:
        raise UserError(
            f"arm {arm.name} has no encoder ({arm.problem or arm.state})",
            "run the command of the study again",
        )
    with tempfile.TemporaryDirectory() as folder:
        copied(study.joined(f"{ENCODERS}/{arm.encoder}"), folder)
        embedder = Embedder.load(Path(folder))
    at_end = arm.epoch == arm.epochs
    return Candidate(
        name=text,
        embedder=embedder,
        recipe=_recipe(where, arm.mlflow_run_id),
        manifest=_manifest(where, arm.mlflow_run_id, result.manifest_digest),
        run_id=arm.mlflow_run_id,
        steps=arm.steps,
        own_scores=_own_scores(where, arm.mlflow_run_id) if at_end else (),
        illness=arm.problem or "ill" if arm.state == "ill" else "",
        read_at="" if at_end else f"read after epoch {arm.epoch} of {arm.epochs}",
    )


def _manifest(where: Home, run_id: str, digest: str) -> Manifest:
    """The manifest that the run has, or the one of a dataset that lies here."""
    content = run_file(where.tracking_uri, run_id, MANIFEST)
    if content is None:
        found = next((one for _, one in kept_datasets(where) if one.digest == digest), None)
        if found is None:
            raise UserError(
                f"the manifest of dataset {digest[:16]} is neither with the run nor in {where.outputs.uri}",
                "give --out as in training",
            )
        return found
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST).write_bytes(content)
        return read_manifest(place(folder))


def _recipe(where: Home, run_id: str) -> Recipe:
    content = run_file(where.tracking_uri, run_id, "recipe.json")
    if content is None:
        raise UserError(f"MLflow run {run_id} has no recipe.json", "train again")
    return validated(json.loads(content))


def _own_scores(where: Home, run_id: str) -> tuple[str, ...]:
    content = run_file(where.tracking_uri, run_id, JUDGEMENT)
    return tuple(json.loads(content)["scores"]) if content is not None else ()
