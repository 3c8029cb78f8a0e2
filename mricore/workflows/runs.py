"""Find the run that the same command began earlier, or begin one."""

from __future__ import annotations

from mricore.config.schema import Recipe
from mricore.data.audit import AUDIT
from mricore.data.manifest import Manifest
from mricore.data.storage import Place
from mricore.registry.lineage import log_data
from mricore.revision import code_revision, git_revision
from mricore.training import launch
from mricore.training.launch import RunRecord
from mricore.training.place import Home
from mricore.training.telemetry import Tracked, log_kept_rows, log_text, reopen_run, start_run
from mricore.workflows.candidates import RUN_NAME
from mricore.workflows.publication import weights_of
from mricore.workflows.summary import flat


def open_run(
    recipe: Recipe,
    where: Home,
    runs: Place,
    manifest: Manifest,
    *,
    fresh: bool,
    dataset: Place | None = None,
) -> tuple[RunRecord, Tracked]:
    """The latest run of this recipe on this dataset; a new one if there is none or ``fresh`` asks for it.

    A new run is given what its lineage needs: data, code, settings, weights; of a ``dataset`` also its audit.

    Raises:
        UserError: the tracking server does not answer, or does not know the earlier run.
    """
    attempt, record = latest_run(recipe, runs, manifest)
    if fresh and record:
        attempt, record = attempt + 1, None
    if record:
        return record, reopened(record, where, runs)
    name = launch.run_name(recipe, manifest, attempt)
    tracked = start_run(where, recipe.tracking.experiment, name, flat(recipe), _tags(recipe, manifest, name))
    log_text(tracked, recipe.model_dump_json(indent=1), "recipe.json")
    audited = dataset is not None and dataset.exists(AUDIT)
    log_data(tracked, manifest, dataset.read_bytes(AUDIT) if dataset and audited else None)
    record = RunRecord(name, tracked.run_id, judged_by=recipe.train.validate_digest)
    launch.write_record(runs, record)
    return record, tracked


def reopened(record: RunRecord, where: Home, runs: Place) -> Tracked:
    """The run of a record in MLflow, which gets what is not logged yet.

    Raises:
        UserError: the tracking server does not answer, or does not know the run.
    """
    tracked = reopen_run(where, record.mlflow_run_id, not record.finished)
    log_kept_rows(tracked, Place(runs.joined(record.name)))
    if not record.checkpoint:
        print(f"continuing the interrupted run {record.name}")
    return tracked


def latest_run(recipe: Recipe, runs: Place, manifest: Manifest) -> tuple[int, RunRecord | None]:
    """The last attempt at this recipe on this dataset, and its record, if any was begun.

    Raises:
        UserError: a record is damaged.
    """
    attempt, record = 0, launch.read_record(runs, launch.run_name(recipe, manifest))
    while following := launch.read_record(runs, launch.run_name(recipe, manifest, attempt + 1)):
        attempt, record = attempt + 1, following
    return attempt, record


def _tags(recipe: Recipe, manifest: Manifest, name: str) -> dict[str, str]:
    commit = git_revision()
    return {
        "manifest_digest": manifest.digest,
        RUN_NAME: name,
        "code_revision": code_revision(),
        **({"git_revision": commit} if commit else {}),
        **weights_of(recipe),
    }
