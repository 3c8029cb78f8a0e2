"""The main job: data, training, judgement, registry, report; each step is skipped if it is done already."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.config.schema import Recipe
from mricore.data.cluster import ray_session
from mricore.data.manifest import MANIFEST, Manifest
from mricore.data.progress import duration
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.objective.health import signs_in
from mricore.registry.publish import Version
from mricore.training import launch
from mricore.training.claim import claimed
from mricore.training.launch import RunRecord
from mricore.training.place import Home, home
from mricore.training.reading import steps_of
from mricore.training.short_runs import teacher_warning
from mricore.training.telemetry import Tracked, end_run, history, log_text, require_tracking
from mricore.training.validation import with_labelled_task
from mricore.workflows import summary
from mricore.workflows.candidates import JUDGEMENT
from mricore.workflows.curate import describe
from mricore.workflows.dataset import curated_dataset
from mricore.workflows.initial import with_weights
from mricore.workflows.judgement import Judgement, judge_run
from mricore.workflows.publication import Candidate, registered
from mricore.workflows.runs import open_run


@dataclass(frozen=True)
class Request:
    """The command line of ``jobs/pretrain.py``."""

    recipe: str
    assignments: tuple[str, ...]
    data: str | None
    out: str | None
    key_file: Path
    fresh: bool = False


@dataclass
class Stopwatch:
    """Wall seconds of each stage of this process."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start


@dataclass(frozen=True)
class Job:
    """All that the stages share."""

    recipe: Recipe
    home: Home
    dataset: Place
    manifest: Manifest
    record: RunRecord
    tracked: Tracked
    watch: Stopwatch

    @property
    def runs(self) -> Place:
        """Where runs live."""
        return self.home.runs

    def stored(self, **changes: object) -> Job:
        """The same job with a changed record, which is also written."""
        record = replace(self.record, **changes)  # type: ignore[arg-type]
        launch.write_record(self.runs, record)
        return replace(self, record=record)


def pretrain(request: Request) -> RunRecord:
    """Run or continue the main job and say where everything is.

    Raises:
        UserError: a setting, the data, the cluster or the tracking server is not usable.
    """
    recipe = apply_overrides(recipe_named(request.recipe), request.assignments)
    print(_first_line(request, recipe), flush=True)
    watch = Stopwatch()
    where = home(request.out)
    # what is wrong with the command is told before any long work begins
    if request.data is not None:
        place(request.data).require()
    where.outputs.require_writable()
    require_tracking(where)
    recipe = with_weights(with_labelled_task(recipe), where.outputs)
    with ray_session():
        launch.check_resources(recipe)
        with watch.stage("data"):
            dataset, manifest = curated_dataset(
                request.data, where.outputs, recipe.curation, request.key_file
            )
        print(describe(manifest))
        with claimed(launch.training(where.runs, recipe, manifest)):
            job = _opened(recipe, where, dataset, manifest, watch, request.fresh)
            if job.record.finished:
                print("this run is finished; use --fresh to train again")
            else:
                job = _finished(_trained(job))
    print(summary.last_lines(job.record, job.home, job.recipe, job.dataset.joined(MANIFEST), job.tracked))
    return job.record


def _first_line(request: Request, recipe: Recipe) -> str:
    what = (
        "your data"
        if request.data is not None
        else "generated phantoms, not patients (give your own with --data)"
    )
    return f"mricore: recipe {recipe.name} on {what}"


def _opened(
    recipe: Recipe, where: Home, dataset: Place, manifest: Manifest, watch: Stopwatch, fresh: bool
) -> Job:
    record, tracked = open_run(recipe, where, where.runs, manifest, fresh=fresh, dataset=dataset)
    return Job(recipe, where, dataset, manifest, record, tracked, watch)


def _trained(job: Job) -> Job:
    """Train unless the record already has the last checkpoint."""
    if job.record.checkpoint:
        return job
    if warning := teacher_warning(job.recipe, steps_of(job.recipe, job.manifest)):
        print(warning)
    with job.watch.stage("training"):
        try:
            checkpoint = launch.train(job.recipe, job.dataset, job.runs, job.record.name, job.tracked)
        except BaseException:
            with suppress(UserError):  # a tracking server that is down must not hide the cause
                end_run(job.tracked, "FAILED")
            raise
    return job.stored(checkpoint=Path(checkpoint.path).name)


def _finished(job: Job) -> Job:
    """Judge, publish and report."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = launch.open_checkpoint(job.runs, job.record)
        with checkpoint.as_directory() as files, job.watch.stage("evaluation"):
            judgement = judge_run(Path(files), job.recipe, job.dataset, job.manifest)
        rows = history(job.tracked)
        illness = ", ".join(signs_in(rows[-1])) if rows else ""
        with job.watch.stage("registry"):
            version = _published(job, Path(folder), judgement, illness)
    with job.watch.stage("report"):
        page = summary.page(job.recipe, job.manifest, rows, judgement, version, job.watch.seconds, illness)
        path = f"{job.record.name}/report.html"
        job.runs.write_bytes(path, page.encode())
        log_text(job.tracked, page, "report.html")
    end_run(job.tracked, "FINISHED")
    print("timings: " + ", ".join(f"{name} {duration(spent)}" for name, spent in job.watch.seconds.items()))
    return job.stored(
        finished=True,
        model_version=version.number,
        alias=version.alias,
        report=job.runs.joined(path),
        illness=illness,
    )


def _published(job: Job, folder: Path, judgement: Judgement, illness: str) -> Version:
    tracking = job.recipe.tracking
    scores = tuple(str(score) for score in judgement.scores)
    log_text(job.tracked, json.dumps({"scores": scores}, indent=1), JUDGEMENT)
    candidate = Candidate(
        name=job.record.name,
        embedder=judgement.after,
        recipe=job.recipe,
        manifest=job.manifest,
        run_id=job.tracked.run_id,
        steps=judgement.steps,
        own_scores=scores,
        illness=illness,
    )
    return registered(candidate, folder, job.home, tracking.model_name, tracking.alias)
