"""The arms of a study as trainings: equal ones once, shorter ones read from the longest where they can be.

An arm that differs from another in ``train.epochs`` alone, under the same ``train.schedule_epochs``, is the
beginning of it: the long run keeps a checkpoint at the end of that epoch, whose weights are, bit for bit, the
ones of a run that stops there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.config.schema import Recipe
from mricore.config.study import ArmSpec, Study
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.training.launch import identity
from mricore.training.validation import with_labelled_task
from mricore.workflows.initial import with_weights

ILL_ARMS_GO_ON = ("health.action=log",)
"""A study has losing arms; one that is ill is a result and must not stop the others."""


@dataclass(frozen=True)
class Reading:
    """An arm, and after how many epochs of its training the encoder is taken."""

    arm: str
    epoch: int


@dataclass(frozen=True)
class Training:
    """A run to train, and the arms that are read from it."""

    recipe: Recipe
    readings: tuple[Reading, ...]

    @property
    def epochs(self) -> int:
        """Of the whole run."""
        return self.recipe.train.epochs

    @property
    def read_after(self) -> list[int]:
        """The epochs after which arms are read from it."""
        return sorted({one.epoch for one in self.readings})


def recipes_of(study: Study, recipe: str, assignments: Sequence[str]) -> dict[str, Recipe]:
    """The recipe of each arm: the arm's settings over ``--set``, over the study's, over the recipe's.

    Raises:
        UserError: a setting is refused, an arm has no such recipe, or an arm would need data of its own.
    """
    shared = [*ILL_ARMS_GO_ON, *study.settings, *assignments]
    base = apply_overrides(recipe_named(recipe), shared)
    recipes = {arm.name: _recipe_of(arm, recipe, base, shared) for arm in study.arms}
    if len({one.curation for one in recipes.values()}) > 1:
        raise UserError(
            "arms differ in curation", "arms share one dataset: give curation settings with --set"
        )
    _require_apart({arm.name: recipes[arm.name] for arm in study.arms if not arm.untrained})
    return recipes


def _require_apart(recipes: Mapping[str, Recipe]) -> None:
    """Runs are known by what they learn, so arms may not differ in what is shipped of it alone.

    Raises:
        UserError: two arms would be one run, and differ.
    """
    first: dict[str, str] = {}
    for name, recipe in recipes.items():
        other = first.setdefault(identity(_stopped(recipe, recipe.train.epochs)), name)
        if _shipped(recipe) != _shipped(recipes[other]):
            raise UserError(
                f"arms {other} and {name} would be one run: they differ in health or the choice of its best "
                "checkpoint (train.keep_best, train.validate_*) alone",
                "give these settings to all arms with --set, or leave one of the two out",
            )


def _shipped(recipe: Recipe) -> tuple[object, ...]:
    """What may change on the way of a run, and yet decides which weights it ships."""
    train = recipe.train
    best = (train.validate_steps, train.validate_task, train.validate_data) if train.keep_best else None
    return recipe.health, best


def recipe_name(arm: ArmSpec, recipe: str) -> str:
    """The recipe that an arm begins with, where that of the study is ``recipe``.

    Raises:
        UserError: the arm has recipes of its own, and none beside that one.
    """
    if not arm.recipes:
        return recipe
    if recipe not in arm.recipes:
        raise UserError(
            f"arm {arm.name} has no recipe beside {recipe}",
            f"choose --recipe among {', '.join(arm.recipes)}, or name one in the study's file",
        )
    return arm.recipes[recipe]


def _recipe_of(arm: ArmSpec, recipe: str, base: Recipe, shared: Sequence[str]) -> Recipe:
    name = recipe_name(arm, recipe)
    try:
        if arm.recipes:  # what all arms share may do nothing in a recipe of another kind
            base = apply_overrides(recipe_named(name), shared, idle_too=True)
        return apply_overrides(base, arm.settings)
    except UserError as error:
        raise UserError(f"arm {arm.name}: {error.problem}", error.remedy) from None


def ready(recipes: Mapping[str, Recipe], outputs: Place) -> dict[str, Recipe]:
    """The recipes with their initial weights, and labelled task, where all machines reach them.

    Raises:
        UserError: they cannot be had.
    """
    known: dict[str, Recipe] = {}
    found = {}
    for name, recipe in recipes.items():
        checked = with_labelled_task(recipe)
        start = checked.initial.model_copy(update={"into": "both"})
        key = f"{start} {checked.method} {checked.model}"
        if key not in known:
            known[key] = with_weights(checked, outputs)
        initial = known[key].initial.model_copy(update={"into": checked.initial.into})
        found[name] = checked.model_copy(update={"initial": initial})
    return found


def apart(study: Study, recipes: Mapping[str, Recipe]) -> tuple[dict[str, Recipe], dict[str, Recipe]]:
    """The recipes of the arms that are trained, and of those that are not."""
    trained = {arm.name: recipes[arm.name] for arm in study.arms if not arm.untrained}
    return trained, {name: recipe for name, recipe in recipes.items() if name not in trained}


def trainings_of(recipes: Mapping[str, Recipe]) -> list[Training]:
    """As few trainings as give all arms, in the order of the arms."""
    groups: dict[str, list[tuple[str, Recipe]]] = {}
    for name, recipe in recipes.items():
        groups.setdefault(_run_of(recipe), []).append((name, recipe))
    return [_training(group) for group in groups.values()]


def alone(training: Training, epoch: int) -> Training:
    """The arms that are read after an epoch of a training, as a training that ends there."""
    readings = tuple(one for one in training.readings if one.epoch == epoch)
    return Training(_with_kept(_stopped(training.recipe, epoch), ()), readings)


def without(training: Training, epochs: Sequence[int]) -> Training:
    """The training without the arms that are read after ``epochs``."""
    readings = tuple(one for one in training.readings if one.epoch not in epochs)
    kept = tuple(epoch for epoch in training.recipe.train.keep_epochs if epoch not in epochs)
    return Training(_with_kept(training.recipe, kept), readings)


def _training(group: Sequence[tuple[str, Recipe]]) -> Training:
    longest = max((recipe for _, recipe in group), key=lambda one: one.train.epochs)
    readings = tuple(Reading(name, recipe.train.epochs) for name, recipe in group)
    whole = _stopped(longest, longest.train.epochs)
    return Training(_keeping(whole, readings), readings)


def _run_of(recipe: Recipe) -> str:
    """What is the same for arms that are the beginning of the same run.

    Stages of crop sizes are laid out over a run, not over its schedule; and what a run ships that keeps its
    best checkpoint depends on its length.
    """
    train = recipe.train
    schedule = train.schedule_epochs or train.epochs
    is_prefix = not recipe.augment.stages and not train.keep_best
    changes = {
        "epochs": schedule if is_prefix else train.epochs,
        "schedule_epochs": schedule,
        "keep_epochs": (),
    }
    learned = identity(recipe.model_copy(update={"train": train.model_copy(update=changes)}))
    start = recipe.initial
    return learned if start.sha256 else f"{learned} {start.weights}"  # a dry run has not read the files


def _stopped(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with so many epochs of its schedule, written as a single run would have it."""
    train = recipe.train
    schedule = train.schedule_epochs or train.epochs
    changes = {
        "epochs": epochs,
        "schedule_epochs": None if schedule == epochs else schedule,
        "keep_epochs": tuple(epoch for epoch in train.keep_epochs if epoch <= epochs),
    }
    return recipe.model_copy(update={"train": train.model_copy(update=changes)})


def _keeping(recipe: Recipe, readings: Sequence[Reading]) -> Recipe:
    """The recipe that keeps what is read before its end, and what the user asked for besides."""
    before = {one.epoch for one in readings if one.epoch < recipe.train.epochs}
    return _with_kept(recipe, tuple(sorted(before.union(recipe.train.keep_epochs))))


def _with_kept(recipe: Recipe, epochs: tuple[int, ...]) -> Recipe:
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"keep_epochs": epochs})})
