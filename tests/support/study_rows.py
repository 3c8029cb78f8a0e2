"""A made-up study: arms of the paper's figure 2, their scores and trainings, and nothing of patients."""

import numpy as np

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.evaluation.measurements import Measurement
from mricore.report.study import StudyInputs
from mricore.report.study_numbers import Judgement
from mricore.study_records import ArmResult, Asked, Evaluated, StudyResult

REFERENCE = "MRI-CORE"
ARMS = {
    REFERENCE: ((), 4, 0.70),
    "SAM in the student": (("initial.into=student",), 4, 0.69),
    "random weights": (("initial.layout=none",), 4, 0.45),
    "lr 4e-3": (("optimizer.lr=4e-3",), 4, 0.55),
    "with replacement": (("data.replacement=true",), 4, 0.80),
    "volume-wise": (("data.normalization=volume",), 4, 0.698),
    "MAE": ((), 4, 0.60),
    "2 epochs": (("train.epochs=2", "train.schedule_epochs=8"), 2, 0.60),
    "4 epochs": (("train.epochs=4", "train.schedule_epochs=8"), 4, 0.72),
    "8 epochs": (("train.epochs=8", "train.schedule_epochs=8"), 8, 0.60),
}
"""Settings, epoch, and what an arm scores but for noise."""
QUESTIONS = (
    Asked("initial", "Initial weights", REFERENCE, ("SAM in the student", "random weights"), "bars"),
    Asked("rate", "Learning rate", REFERENCE, ("lr 4e-3",), "bars"),
    Asked("rest", "What else", REFERENCE, ("with replacement", "volume-wise", "MAE"), "bars"),
    Asked("epochs", "Length of training", "4 epochs", ("2 epochs", "8 epochs"), "curve"),
)
TASKS = ("bone", "breast")
METRICS = ("dice_2d", "dice_3d", "nsd_mm")


def arms():
    """The arms as trained: lengths are read from one run, all else from one run each."""
    made = []
    for number, (name, (settings, epoch, _)) in enumerate(ARMS.items()):
        long = "epochs" in name
        run = "vitb16_mri-aaaaaaaaaa" if long else f"vitb16_mri-{number:010x}"
        made.append(
            ArmResult(
                name=name,
                recipe="vitb16_mae" if name == "MAE" else "vitb16_mri",
                settings=settings,
                run=run,
                mlflow_run_id=f"{number:032x}",
                epoch=epoch,
                epochs=8 if long else 4,
                state="finished",
                steps=100 * epoch,
                checkpoint=f"/home/somebody/secret/runs/{run}",
                encoder=f"{number:016x}",
                seconds_predicted=100.0 * epoch,
                seconds_measured=880.0 if long else 420.0,
            )
        )
    return tuple(made)


def study(**changes):
    """The whole study."""
    values = {
        "name": "paper",
        "title": "Which choices of the training matter",
        "recipe": "vitb16_mri",
        "baseline": REFERENCE,
        "settings": ("train.batch_size=64",),
        "arms": arms(),
        "questions": QUESTIONS,
        "manifest_digest": "ab" * 32,
        "slices": 12000,
        "code_revision": "0.1.0+abc",
        "mlflow_run_id": "ef" * 16,
        "evaluations": (Evaluated("few_shot", "strict", 5, TASKS, ("few_shot.epochs=50",)),),
        "judging": ("--mode", "strict", "--draws", "5", "--set", "few_shot.epochs=50"),
    }
    return StudyResult(**{**values, **changes})


def rows(result, patients=14, draws=5, seed=0, tasks=TASKS, scores=None):
    """Rows of a few-shot evaluation, where patients and draws shift all arms alike."""
    rng = np.random.default_rng(seed)
    scores = scores or {name: score for name, (_, _, score) in ARMS.items()}
    found = []
    for task in tasks:
        easy, lucky = rng.normal(0, 0.05, patients), rng.normal(0, 0.02, draws)
        for arm in (one.name for one in result.arms if one.encoder):
            for draw in range(draws):
                for patient in range(patients):
                    base = scores[arm] + easy[patient] + lucky[draw] + rng.normal(0, 0.02)
                    start = ("few_shot", task, "strict", arm, draw, f"p{patient}", f"c{patient}", "mean")
                    found += [
                        Measurement(*start, metric, float(np.clip(base + rng.normal(0, 0.01), 0, 1)))
                        for metric in METRICS
                    ]
    return found


def judged(result, found, summary=None):
    """Rows as the judgement of a study that was judged in one way."""
    return [Judgement(how, found, summary or {}) for how in result.evaluations]


def recipes(result):
    """The recipe of each arm, as a study makes it."""
    return {
        arm.name: apply_overrides(recipe_named(arm.recipe), [*result.settings, *arm.settings])
        for arm in result.arms
    }


def histories(result, steps=60):
    """Losses and gauges of each run; one arm shows signs of illness."""
    found = {}
    for arm in (one for one in result.arms if one.is_trained):
        mae = arm.name == "MAE"
        made = []
        for step in range(1, steps + 1):
            row = {"step": step, "loss/total": (0.5 if mae else 12) * (0.6 + 0.4 / step)}
            if step % 10 == 0:
                row |= {"gauge/rank": 40.0, "gauge/gradient_norm": 1.5}
                row |= {"health/violent": 1.0} if arm.name == "lr 4e-3" else {}
            made.append(row)
        found[arm.run] = made
    return found


def inputs(result=None, **changes):
    """What the page of a study is made of."""
    result = result or study()
    values = {
        "judgements": judged(result, rows(result)) if result.evaluations else [],
        "recipes": recipes(result),
        "histories": histories(result),
        "counts": {"slices": 12000, "volumes": 400, "exams": 90, "patients": 90},
    }
    return StudyInputs(result, **{**values, **changes})
