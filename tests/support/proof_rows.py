"""A made-up study of several protocols on test patients, with untrained arms; nothing of patients."""

from dataclasses import replace

import numpy as np
import study_rows

from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metrics.measure import MEAN
from mricore.report.study import StudyInputs
from mricore.report.study_numbers import Judgement
from mricore.study_records import ArmResult, Asked, Evaluated, StudyResult

ARMS = {
    "SAM untrained": ((), 0, 0.50),
    "1 epoch": (("train.epochs=1", "train.schedule_epochs=8"), 1, 0.56),
    "2 epochs": (("train.epochs=2", "train.schedule_epochs=8"), 2, 0.60),
    "4 epochs": (("train.epochs=4", "train.schedule_epochs=8"), 4, 0.64),
    "8 epochs": (("train.epochs=8", "train.schedule_epochs=8"), 8, 0.63),
    "random untrained": (("initial.layout=none",), 0, 0.30),
    "from random": (("initial.layout=none", "train.epochs=4"), 4, 0.45),
    "MAE": (("train.epochs=4",), 4, 0.57),
    "lr 4e-3": (("optimizer.lr=4e-3", "train.epochs=4"), 4, 0.505),
}
"""Settings, epoch, and what an arm scores but for noise."""
UNTRAINED = tuple(name for name in ARMS if "untrained" in name)
TASKS = ("abdomen", "hippocampus", "kidney", "vertebrae:any")
QUESTIONS = (
    Asked("pretraining", "Does training help", "SAM untrained", ("4 epochs", "MAE", "lr 4e-3"), "bars"),
    Asked("random", "And from random weights", "random untrained", ("from random",), "bars"),
    Asked("epochs", "Length", "SAM untrained", ("1 epoch", "2 epochs", "4 epochs", "8 epochs"), "curve"),
)
JUDGES = (
    Evaluated("few_shot", "cpu", 3, TASKS, arms=("SAM untrained", "4 epochs", "MAE")),
    Evaluated("patch_probe", "linear", 5, TASKS),
    Evaluated("linear_probe", "strict", 5, TASKS),
    Evaluated("knn", "strict", 1, TASKS),
    Evaluated("zero_shot", "paper", 1, TASKS),
)
METRICS = {
    "few_shot": ("dice_2d", "dice_3d"),
    "patch_probe": ("dice_2d", "dice_3d"),
    "linear_probe": ("accuracy",),
    "knn": ("accuracy",),
    "zero_shot": ("dice_2d_best_cluster",),
}
CLUSTERS = (4, 8)


def arms():
    """Four lengths are read from one run, untrained arms from none."""
    made = []
    for number, (name, (settings, epoch, _)) in enumerate(ARMS.items()):
        run = "vitb16_mri-bbbbbbbbbb" if name.endswith(("epoch", "epochs")) else f"vitb16_mri-{number:010x}"
        length = 0 if name in UNTRAINED else 8 if run.endswith("b" * 10) else 4
        made.append(
            ArmResult(
                *(name, "vitb16_mae" if name == "MAE" else "vitb16_mri", settings),
                run=run if length else "",
                mlflow_run_id=f"{number:032x}" if length else "",
                epoch=epoch,
                epochs=length,
                state="finished",
                steps=100 * epoch,
                checkpoint=f"/home/somebody/secret/runs/{run}" if length else "",
                encoder=f"{number:016x}",
                seconds_predicted=100.0 * epoch if length else None,
                seconds_measured=110.0 * length if length else None,
            )
        )
    return tuple(made)


def study(**changes):
    """The whole study."""
    values = {
        "name": "proof",
        "title": "Does pretraining make a better encoder",
        "recipe": "vitb16_mri",
        "baseline": "SAM untrained",
        "settings": (),
        "arms": arms(),
        "questions": QUESTIONS,
        "manifest_digest": "cd" * 32,
        "slices": 20000,
        "part": "test",
        "evaluations": JUDGES,
    }
    return StudyResult(**{**values, **changes})


def judgements(result, patients=12, seed=0, scores=None):
    """Rows of each evaluation; k-NN and the linear probe tell the tasks apart: one task to them."""
    return [
        Judgement(how, _rows(result, how, patients, seed + at, scores))
        for at, how in enumerate(result.evaluations)
    ]


def inputs(result=None, **changes):
    """What the page of a study is made of."""
    result = result or study()
    values = {
        "judgements": judgements(result),
        "recipes": study_rows.recipes(result),
        "histories": study_rows.histories(result),
        "counts": {"slices": 20000, "volumes": 700, "patients": 150},
    }
    return StudyInputs(result, **{**values, **changes})


def _rows(result, how, patients, seed, scores):
    scores = scores or {name: score for name, (_, _, score) in ARMS.items()}
    rng = np.random.default_rng(seed)
    tasks = how.tasks if how.protocol in ("few_shot", "patch_probe", "zero_shot") else ("body part",)
    modes = [f"k={k}" for k in CLUSTERS] if how.protocol == "zero_shot" else [how.mode]
    names = [arm.name for arm in result.arms if arm.encoder and arm.name in (how.arms or ARMS)]
    found = []
    for task in tasks:
        easy, lucky = rng.normal(0, 0.05, patients), rng.normal(0, 0.02, how.draws)
        for name in names:
            for draw in range(how.draws):
                for patient in range(patients):
                    base = scores[name] + easy[patient] + lucky[draw] + rng.normal(0, 0.02)
                    found += [
                        Measurement(
                            *(
                                how.protocol,
                                task,
                                mode,
                                name,
                                draw,
                                f"p{patient}",
                                f"c{patient}",
                                MEAN,
                                metric,
                            ),
                            float(np.clip(base + 0.05 * at + rng.normal(0, 0.01), 0, 1)),
                        )
                        for at, mode in enumerate(modes)
                        for metric in METRICS[how.protocol]
                    ]
    return found


def only(result, *protocols):
    """The study as judged by these protocols alone."""
    return replace(result, evaluations=tuple(how for how in result.evaluations if how.protocol in protocols))
