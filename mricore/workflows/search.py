"""A search for settings: many trainings on the same data, scored by the segmentation proxy on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.config.schema import Recipe
from mricore.config.search import Settings, Space, assignments, default_space, load_space
from mricore.data.cluster import ray_session
from mricore.data.manifest import Manifest
from mricore.data.storage import Place, place
from mricore.errors import UserError, shareable
from mricore.revision import code_revision
from mricore.training import launch
from mricore.training.claim import claimed
from mricore.training.place import Home, home
from mricore.training.reading import plan_of
from mricore.training.telemetry import Tracked, require_tracking
from mricore.training.validation import with_labelled_task
from mricore.tuning.search import Search, results_in, run_search
from mricore.tuning.search_halving import trial_folder
from mricore.tuning.search_results import (
    ENDED,
    Proposal,
    TrialResult,
    ranked,
    read_end,
    read_proposal,
    write_proposal,
)
from mricore.tuning.search_trial import SearchTrial
from mricore.workflows.dataset import curated_dataset
from mricore.workflows.initial import with_weights
from mricore.workflows.labelled_data import FOLDER, PHANTOMS, task_folder
from mricore.workflows.runs import latest_run, open_run, reopened
from mricore.workflows.search_text import NOTE, commands, line, table

RESULT, TABLE = "search.json", "search.txt"
JUDGEMENTS = 8
"""How often a training is judged, unless ``train.validate_steps`` says."""


@dataclass(frozen=True)
class SearchRequest:
    """The command line of ``tune/search.py``; ``task`` is NAME or NAME=ROOT."""

    recipe: str
    data: str | None
    out: str | None
    task: str | None
    scheduler: Literal["none", "asha"]
    searcher: Literal["random", "bayes"]
    samples: int
    max_concurrent: int
    space: str | None
    seed: int
    assignments: tuple[str, ...]
    key_file: Path


def search(request: SearchRequest) -> list[TrialResult]:
    """Run or continue a search, and say what was best; the trials, the best first.

    Raises:
        UserError: a setting, the space, the task, the data or the cluster does not allow it; or, after all
            else is done, trials failed.
    """
    where = home(request.out)
    base = _with_task(apply_overrides(recipe_named(request.recipe), request.assignments), request, where)
    space = load_space(request.space) if request.space else default_space(base)
    _check(space, base)
    where.outputs.require_writable()
    require_tracking(where)
    if request.data is not None:
        place(request.data).require()
    with ray_session():
        dataset, manifest = curated_dataset(request.data, where.outputs, base.curation, request.key_file)
        steps = plan_of(base, manifest).steps * base.train.epochs
        recipe = with_weights(with_labelled_task(_judged(base, steps)), where.outputs)
        name = search_name(request, recipe, space, manifest)
        folder = Place(where.outputs.joined(f"searches/{name}"))
        asked = Search(
            space,
            request.searcher,
            request.scheduler,
            request.samples,
            request.max_concurrent,
            request.seed,
            folder,
        )
        run = _Run(request, asked, recipe, where, dataset, manifest)
        print(f"search: {name}: {request.samples} trials of {steps:,} steps", flush=True)
        with claimed(folder):
            run_search(asked, recipe, where.tracking_uri, run.prepare, run.tell)
    return run.told()


@dataclass
class _Run:
    """A search while it runs: makes trials of settings, and writes what is known."""

    request: SearchRequest
    asked: Search
    recipe: Recipe
    home: Home
    dataset: Place
    manifest: Manifest

    def prepare(self, number: int, settings: Settings) -> dict[str, Any] | None:
        """The configuration of a trial; None where the recipe refuses the settings together."""
        try:
            recipe = apply_overrides(self.recipe, assignments(settings))
        except UserError:
            return None
        runs = self.home.runs
        run, tracked = self._run(number, settings, recipe, runs)
        trial = SearchTrial(
            number=number,
            recipe=recipe.model_dump(mode="json"),
            steps=plan_of(recipe, self.manifest).steps * recipe.train.epochs,
            run=run,
            experiment_id=tracked.experiment_id,
            mlflow_run_id=tracked.run_id,
            dataset=self.dataset.uri,
            runs=runs.uri,
            folder=self.asked.folder.uri,
        )
        return asdict(trial)

    def _run(self, number: int, settings: Settings, recipe: Recipe, runs: Place) -> tuple[str, Tracked]:
        """The trial's run; that of a trial which has ended stays closed.

        A run of these settings that is judged on another task, or on none, has no scores for this search.
        """
        folder = trial_folder(self.asked.folder, number)
        before, end = read_proposal(folder), read_end(folder)
        if before and end and end.state in ENDED:
            return before.run, Tracked(self.home.tracking_uri, "", before.mlflow_run_id)
        known = launch.read_record(runs, before.run) if before else None
        if known:
            return known.name, reopened(known, self.home, runs)
        _, latest = latest_run(recipe, runs, self.manifest)
        others = latest is not None and latest.judged_by != recipe.train.validate_digest
        record, tracked = open_run(recipe, self.home, runs, self.manifest, fresh=others, dataset=self.dataset)
        write_proposal(folder, Proposal(number, settings, record.name, record.mlflow_run_id))
        return record.name, tracked

    def tell(self, number: int) -> None:
        """Say how a trial ended, in one line."""
        one = next(one for one in self.write() if one.proposal.number == number)
        print(f"search: {line(one)}", flush=True)

    def write(self) -> list[TrialResult]:
        """Store all that is known of the trials; the best first."""
        results = ranked(results_in(self.asked.folder)[: self.asked.samples])
        text = json.dumps(self._document(results), indent=1) + "\n"
        self.asked.folder.write_bytes(RESULT, text.encode())
        return results

    def told(self) -> list[TrialResult]:
        """Write, print and return what came of it; files hold no path of the user.

        Raises:
            UserError: no trial could use any settings, or trials failed.
        """
        results = self.write()
        if not results:
            raise UserError("the recipe refuses all settings of the space", "change the space")
        stored = "\n".join([table(results), *commands(results, self.request.recipe, ()), NOTE])
        self.asked.folder.write_bytes(TABLE, (stored + "\n").encode())
        print(table(results), *commands(results, self.request.recipe, self._given()), NOTE, sep="\n")
        if len(results) < self.asked.samples:
            print(f"the space has no more than these {len(results)} usable settings")
        print(f"search:   {self.asked.folder.joined(RESULT)}")
        _end(results)
        return results

    def _given(self) -> list[str]:
        """Arguments that the commands for the winner take over."""
        request = self.request
        given = [*(["--data", request.data] if request.data else [])]
        given += ["--out", request.out] if request.out else []
        return given + [part for one in request.assignments for part in ("--set", one)]

    def _document(self, results: Sequence[TrialResult]) -> dict[str, Any]:
        request, recipe = self.request, self.recipe
        return {
            "recipe": request.recipe,
            "settings": list(request.assignments),
            "searcher": request.searcher,
            "scheduler": request.scheduler,
            "samples": request.samples,
            "seed": request.seed,
            "space": self.asked.space.model_dump(mode="json", exclude_none=True),
            "score": "Dice of patch probes on pool and development patients (train.validate_task)",
            "task": _task_name(request),
            "validate_steps": recipe.train.validate_steps,
            "manifest_digest": self.manifest.digest,
            "generated_phantoms": self.manifest.generated_phantoms,
            "code": code_revision(),
            "note": NOTE,
            "trials": [
                {
                    **asdict(one.proposal),
                    **asdict(one.end),
                    "problem": shareable(one.end.problem),
                    "score": one.end.score,
                }
                for one in results
            ],
        }


def _end(results: Sequence[TrialResult]) -> None:
    failed = [one for one in results if one.end.state in ("failed", "waiting")]
    if failed:
        why = failed[0].end.problem or "its process died"
        told = f"{len(failed)} of {len(results)} trials failed ({why})"
        raise UserError(told, "all others are kept; run the same command to try again")


def search_name(request: SearchRequest, recipe: Recipe, space: Space, manifest: Manifest) -> str:
    """The same for the same search on the same slices, however many trials and however many at once."""
    train = recipe.train
    parts = [
        *(launch.identity(recipe), manifest.digest, space.model_dump_json(), request.searcher),
        *(request.scheduler, str(request.seed), _task_name(request), str(train.validate_steps)),
        train.validate_digest,
    ]
    return f"{recipe.name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:10]}"


def _task_name(request: SearchRequest) -> str:
    """The name of a shipped task, or of a file without its folder."""
    return Path((request.task or PHANTOMS).partition("=")[0]).name


def _with_task(recipe: Recipe, request: SearchRequest, where: Home) -> Recipe:
    """The recipe with the labelled task; phantoms for phantoms, if none is named.

    Raises:
        UserError: the user's data are searched without a task, or it is named by settings.
    """
    if recipe.train.validate_task:
        raise UserError("train.validate_task is set by the search", "use --task NAME=ROOT instead")
    if request.task is None and request.data is not None:
        raise UserError("trials need a labelled task to be judged on", "add --task NAME=ROOT (docs/tasks.md)")
    name, _, root = (request.task or PHANTOMS).partition("=")
    if name.partition(":")[0] == PHANTOMS and not root and not where.outputs.is_remote:
        root = where.outputs.joined(FOLDER)
    changed = {"validate_task": name, "validate_data": str(task_folder(name, root or None))}
    return recipe.model_copy(update={"train": recipe.train.model_copy(update=changed)})


def _judged(recipe: Recipe, steps: int) -> Recipe:
    """The recipe, judged some times and at its end."""
    every = recipe.train.validate_steps or max(1, steps // JUDGEMENTS)
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"validate_steps": every})})


def _check(space: Space, recipe: Recipe) -> None:
    """Refuse settings that would need other data, or that change nothing that is learned.

    Raises:
        UserError: there is one, or a path or value is refused.
    """
    space.check(recipe)
    for path, dimension in space.settings.items():
        low, high, *_ = dimension.extremes
        both = [apply_overrides(recipe, assignments({path: value})) for value in (low, high)]
        if both[0].curation != both[1].curation:
            raise UserError(f"{path} is of the dataset, which trials share", "leave it out of the space")
        if launch.identity(both[0]) == launch.identity(both[1]):
            raise UserError(f"{path} does not change what is learned", "leave it out of the space")
