"""A study: arms trained on the same data, judged on the same patients, and what that answers."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mricore.config.recipes import recipe_named
from mricore.config.schema import Recipe
from mricore.config.study import ArmSpec, Study, arm_of, load_study, study_of
from mricore.data.cluster import ray_session
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.study_records import StudyResult
from mricore.training.place import Home, home
from mricore.training.telemetry import require_tracking
from mricore.workflows.dataset import curated_dataset, ready_dataset
from mricore.workflows.labelled_data import FOLDER, PHANTOMS
from mricore.workflows.study_folder import declared, noted, study_place, waiting
from mricore.workflows.study_forecast import StudyForecast, foretell, trainings_text
from mricore.workflows.study_judging import (
    DRAWS,
    MODE,
    Judge,
    Judging,
    is_of_judging,
    judges_of,
    task_names_of,
)
from mricore.workflows.study_launch import StudyRun
from mricore.workflows.study_run import run_all
from mricore.workflows.study_trainings import Training, apart, ready, recipes_of, trainings_of

DEFAULT, OWN_ARMS, OWN_RECIPE = "learning_rate", "arms", "tiny"
EXIT_OUR_FAULT = 1
_COMMA = re.compile(r",(?![^\[]*\])")  # not inside a list


@dataclass(frozen=True)
class AblationRequest:
    """The command line of ``tune/ablate.py``."""

    study: str | None
    recipe: str | None
    arms: tuple[ArmSpec, ...]
    assignments: tuple[str, ...]
    data: str | None
    out: str | None
    key_file: Path
    tasks: tuple[str, ...] = ()
    mode: str | None = None
    draws: int | None = None
    decoder: str | None = None
    max_concurrent: int = 1
    dry_run: bool = False


@dataclass(frozen=True)
class Declared:
    """A study with the recipes and judges of its arms.

    ``assignments`` are those of the recipe that came by ``--set``; ``told`` is what the command line said of
    the judging, as its words.
    """

    study: Study
    recipe: str
    assignments: tuple[str, ...]
    recipes: dict[str, Recipe]
    judges: tuple[Judge, ...]
    told: tuple[str, ...]


def ablate(request: AblationRequest) -> StudyResult:
    """Train every arm once, judge all, and write, print and log what came of it; or tell what it would take.

    Raises:
        UserError: a setting, a task, the data or the cluster does not allow the study; or, after all else is
            done, a training or a judgement failed by what was given.
        SystemExit: with code 1, after all else is done, if one failed by a fault of ours.
    """
    asked = _declared(request)
    if request.dry_run:
        return _dry_run(asked, request)
    where = home(request.out)
    where.outputs.require_writable()
    require_tracking(where)
    judging = _judging(asked, request, where)
    tasks = task_names_of(judging, where.outputs) if judging.tasks else ()
    if request.data is not None:
        place(request.data).require()
    recipes = ready(asked.recipes, where.outputs)
    trained, untrained = apart(asked.study, recipes)
    with ray_session():
        policy = next(iter(recipes.values())).curation
        dataset, manifest = curated_dataset(request.data, where.outputs, policy, request.key_file)
        run = StudyRun(
            study=asked.study,
            recipe=asked.recipe,
            assignments=asked.assignments,
            home=where,
            dataset=dataset,
            manifest=manifest,
            judging=judging,
            tasks=tasks,
            max_concurrent=request.max_concurrent,
            untrained=untrained,
            told=asked.told,
        )
        result, failures = run_all(run, trainings_of(trained))
    _end(failures)
    return result


def parse_arms(texts: Sequence[str]) -> tuple[ArmSpec, ...]:
    """``NAME=setting=value,setting=value`` for each arm.

    Raises:
        UserError: there is no name or no setting.
    """
    arms = []
    for text in texts:
        name, separator, settings = text.partition("=")
        if not separator or "=" not in settings:
            raise UserError(f"--arm {text!r} is not NAME=setting=value", "e.g. --arm low=optimizer.lr=1e-4")
        arms.append(arm_of(name, _COMMA.split(settings)))
    return tuple(arms)


def _declared(request: AblationRequest) -> Declared:
    """Arms of the command line alone are a study of their own, unless one is named."""
    if request.study is None and request.arms:
        recipe = request.recipe or OWN_RECIPE
        study = study_of(OWN_ARMS, "Arms of the command line", recipe, request.arms)
    else:
        study = load_study(request.study or DEFAULT).with_arms(request.arms)
    recipe = request.recipe or study.recipe
    recipe_named(recipe)
    judging = [one for one in request.assignments if is_of_judging(one)]
    settings = tuple(one for one in request.assignments if one not in judging)
    return Declared(
        study,
        recipe,
        settings,
        recipes_of(study, recipe, settings),
        judges_of(study, request.mode, request.draws, judging),
        _told(study, request, judging),
    )


def _told(study: Study, request: AblationRequest, judging: Sequence[str]) -> tuple[str, ...]:
    """Where the study does not say how it is judged, with what the command line may leave out."""
    usual = (None, None) if study.judges else (MODE, DRAWS)
    mode, draws = request.mode or usual[0], request.draws or usual[1]
    words = [*(["--mode", mode] if mode else []), *(["--draws", str(draws)] if draws else [])]
    words += ["--decoder", "FILE"] if request.decoder else []
    return (*words, *(word for one in judging for word in ("--set", one)))


def _judging(asked: Declared, request: AblationRequest, where: Home) -> Judging:
    """Phantoms come with a labelled task of phantoms; the user's own data only with those that are named."""
    tasks = request.tasks
    if not tasks and request.data is None:
        here = "" if where.outputs.is_remote else f"={where.outputs.joined(FOLDER)}"
        tasks = (f"{PHANTOMS}{here}",)
    if not tasks and asked.study.judges:
        raise UserError(
            f"study {asked.study.name} says how its arms are judged, but there is no labelled task",
            "add --task NAME=ROOT",
        )
    return Judging(tasks, asked.judges, asked.study.part, request.decoder)


def _dry_run(asked: Declared, request: AblationRequest) -> StudyResult:
    """Print what would be trained, and what that takes; ``forecast.json`` keeps it."""
    trained, untrained = apart(asked.study, asked.recipes)
    trainings = trainings_of(trained)
    print(f"study {asked.study.name}: {len(asked.study.arms)} arms, {len(trainings)} trainings")
    print(trainings_text(trainings, list(untrained), None), flush=True)
    outputs = home(request.out).outputs
    policy = trainings[0].recipe.curation
    found = ready_dataset(request.data, outputs, policy, request.key_file)
    if found is None:
        raise UserError(
            "what the study takes cannot be foretold before its data are curated",
            "curate them first (python jobs/curate.py SOURCE DESTINATION) and give --data DESTINATION",
        )
    forecast = foretell(trainings, found[0].uri, request.max_concurrent)
    print(trainings_text(trainings, list(untrained), forecast))
    where = study_place(outputs, asked.study.name)
    return noted(where, _foreseen(asked, trainings, forecast))


def _foreseen(asked: Declared, trainings: Sequence[Training], forecast: StudyForecast) -> StudyResult:
    known = {
        one.arm: {
            "epoch": one.epoch,
            "epochs": training.epochs,
            "seconds_predicted": forecast.arms[one.arm],
        }
        for training in trainings
        for one in training.readings
    }
    free = {"seconds_predicted": 0.0}
    arms = [waiting(spec, asked.recipe, **known.get(spec.name, free)) for spec in asked.study.arms]
    return declared(asked.study, asked.recipe, asked.assignments, asked.told, arms)


def _end(failures: Sequence[tuple[str, bool]]) -> None:
    """Exit codes: 2 if what the user gave made something fail, 1 if a fault of ours did."""
    if not failures:
        return
    told = f"{len(failures)} of the study's steps failed ({'; '.join(what for what, _ in failures)})"
    if not any(is_ours for _, is_ours in failures):
        raise UserError(
            f"{told}; all others are kept", "mend what is told above, then run the same command again"
        )
    with suppress(BrokenPipeError):
        print(f"error: {told}; all others are kept: run the same command again", file=sys.stderr)
    raise SystemExit(EXIT_OUR_FAULT)
