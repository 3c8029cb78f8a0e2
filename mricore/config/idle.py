"""Settings that do nothing beside others: setting them is refused, since the user expects something else."""

from __future__ import annotations

from mricore.config.schema import Recipe, Train

_ONLY_SAM = ("model.window", "model.global_blocks", "model.neck_dim", "model.compat")
_ONLY_MAE = ("mae",)
_ONLY_DINOV2 = (
    *("head", "objective", "initial.into", "model.drop_path", "optimizer.freeze_prototypes_fraction"),
    *("augment.local_size", "augment.local_scale", "augment.local_crops"),
    *("augment.mask_probability", "augment.mask_ratio"),
)

Rule = tuple[tuple[str, ...], str]


def idle_because(recipe: Recipe, path: str) -> str | None:
    """The setting that makes ``path`` idle, as ``name=value``; None if ``path`` has an effect."""
    for groups, reason in _rules(recipe):
        if any(path == group or path.startswith(f"{group}.") for group in groups):
            return reason
    return None


def _rules(recipe: Recipe) -> list[Rule]:
    """Names of settings, and what makes them idle."""
    rules: list[Rule] = [
        (_ONLY_MAE if recipe.method == "dinov2" else _ONLY_DINOV2, f"method={recipe.method}")
    ]
    if recipe.model.kind == "plain":
        rules.append((_ONLY_SAM, "model.kind=plain"))
    if recipe.objective.centering != "center":
        rules.append((("objective.center_momentum",), f"objective.centering={recipe.objective.centering}"))
    if recipe.initial.layout == "none":
        rules.append((("initial.weights", "initial.sha256", "initial.into"), "initial.layout=none"))
    if not recipe.augment.local_crops:
        rules.append((("augment.local_size", "augment.local_scale"), "augment.local_crops=0"))
    if not recipe.augment.mask_probability:
        rules.append((("augment.mask_ratio",), "augment.mask_probability=0"))
    if recipe.health.action != "roll_back":
        names = ("health.roll_back_lr_scale", "health.max_roll_backs")
        rules.append((names, f"health.action={recipe.health.action}"))
    if recipe.augment.stages and recipe.augment.stages[-1].until == 1:
        rules.append((("augment.global_size", "augment.local_size"), "a last stage until 1"))
    if recipe.augment.foreground_candidates == 1:
        rules.append((("augment.foreground_share",), "augment.foreground_candidates=1"))
    return rules + _rules_of_place(recipe.train)


def _rules_of_place(train: Train) -> list[Rule]:
    rules: list[Rule] = []
    if train.workers == 1:
        rules.append((("train.parallel", "train.min_workers"), "train.workers=1"))
    if not train.gpu:
        rules.append((("train.gpus_per_worker",), "train.gpu=false"))
    if not train.validate_steps:
        names = ("train.keep_best", "train.validate_task", "train.validate_data")
        rules.append((names, "train.validate_steps=0"))
    return rules
