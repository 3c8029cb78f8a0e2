"""What stands around the numbers of a study: facts, commands, and what may be concluded from them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from mricore.config.study import ADDED, study_names
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.protocol import FEW_PATIENTS
from mricore.report.study_trainings import by_run, label_of
from mricore.study_records import StudyResult

SHORT_DIGEST = 10
PHANTOMS = "phantoms"
"""The task whose data are generated, and judged by where nothing else is named."""
AGAIN = "The same study; it continues where it was stopped"
CHOSEN = "The arm that was chosen, on patients that no choice has seen; its encoder is told below"


def facts(
    result: StudyResult, counts: Mapping[str, int], rows: Sequence[Measurement]
) -> list[tuple[str, str]]:
    """Recipe, data and size of a study."""
    done = sum(arm.state == "finished" for arm in result.arms)
    found = [("recipe", result.recipe), ("arms finished", f"{done:,} of {len(result.arms):,}")]
    found += [("trainings", f"{len(by_run(result)):,}")]
    found += [(name, f"{count:,}") for name, count in counts.items()] or [("slices", f"{result.slices:,}")]
    if result.manifest_digest:
        found.append(("dataset", result.manifest_digest[:SHORT_DIGEST]))
    if result.evaluation:
        patients = {(row.task, row.patient) for row in rows}
        found += [("tasks", f"{len(result.evaluation.tasks):,}")]
        found += [(f"{result.evaluation.part} patients", f"{len(patients):,}")]
        found += [("draws", f"{result.evaluation.draws:,}"), ("mode", result.evaluation.mode)]
    return found + ([("code", result.code_revision)] if result.code_revision else [])


def commands(result: StudyResult) -> list[tuple[str, str]]:
    """The command that gives this study again, and one that judges an arm on test patients.

    Words in capitals are the user's own: the page does not tell where data lie.
    """
    judged = result.evaluation
    parts = ["python tune/ablate.py", *_study(result), f"--recipe {result.recipe}"]
    parts += [f"--set {shlex.quote(one)}" for one in result.settings]
    parts += [] if result.generated_phantoms else ["--data DATA"]
    if judged is None:
        return [(AGAIN, _lines(parts))]
    roots = [task if task == PHANTOMS else f"{task}=ROOT" for task in judged.tasks]
    if roots != [PHANTOMS]:
        parts += [f"--task {root}" for root in roots]
    settings = [f"--set {shlex.quote(one)}" for one in judged.settings]
    parts += [f"--mode {judged.mode}", f"--draws {judged.draws}", *settings]
    encoder = f"--encoder {shlex.quote(f'NAME=mricore:STUDY/encoders/{_encoder(result)}')}"
    test = ["python eval/few_shot.py", *roots, encoder, f"--mode {judged.mode}", *settings, "--part test"]
    return [(AGAIN, _lines(parts)), (CHOSEN, _lines(test))]


def allowed() -> list[str]:
    """What may be concluded."""
    return [
        "“Better” and “worse” mean that the corrected p is below 0.05 and the interval of the difference "
        "leaves out 0: with other patients like these, and with other labelled slices, the arm would score "
        "above or below the reference.",
        "“Too close to say” is no proof that two arms are alike. The interval of the difference tells how "
        "large a difference may still be; more draws or more patients make it narrower.",
    ]


def limits(result: StudyResult, rows: Sequence[Measurement]) -> list[str]:
    """What may not be concluded, in sentences."""
    return [*_of_data(result, rows), *_of_choice(result), *_of_trainings(result)]


def _of_data(result: StudyResult, rows: Sequence[Measurement]) -> Iterable[str]:
    if result.generated_phantoms:
        yield "The encoders learned from generated phantoms: nothing here speaks of patients."
    patients: dict[str, set[str]] = {}
    for row in rows:
        patients.setdefault(row.task, set()).add(row.patient)
    few = [
        f"{task} ({len(found):,})" for task, found in sorted(patients.items()) if len(found) <= FEW_PATIENTS
    ]
    if few:
        yield (
            f"Few patients judge: {', '.join(few)}. Intervals of so few are rough, and of one patient there "
            "are none."
        )
    if len({row.draw for row in rows}) == 1:
        yield "One draw: how much the choice of labelled slices matters is not known."
    if any(row.mode == "cpu" for row in rows):
        yield "Mode cpu adapts the encoders at a small size: scores compare within this study alone."
    yield (
        "The paper judged on private bone and breast data, and gives directions without numbers: that a "
        "study agrees with it does not mean that its scores are the paper's."
    )


def _of_choice(result: StudyResult) -> Iterable[str]:
    if result.evaluation and len(result.arms) > 1:
        yield (
            f"All scores are of {result.evaluation.part} patients, who are there for choices. Whoever takes "
            f"the best of {len(result.arms):,} arms takes its luck too, so its score here is optimistic: "
            "report it from test patients, who took no part in this study."
        )
    if len(result.questions) > 1:
        yield "p is corrected within each question, not over all questions of the page."


def _of_trainings(result: StudyResult) -> Iterable[str]:
    yield (
        "Each training was run once. Intervals cover patients and draws, not how much a second training "
        "with another seed would differ: a small difference may be that alone."
    )
    for arms in by_run(result).values():
        if len({arm.epoch for arm in arms}) > 1:
            yield (
                f"{label_of(arms)}: read from one training, whose schedules are laid out for its whole "
                "length. A complete training of fewer epochs is something else."
            )


def _study(result: StudyResult) -> list[str]:
    """How the study is named on the command line, with the arms that were added there."""
    asked = next((one for one in result.questions if one.name == ADDED), None)
    added = asked.arms if asked else ()
    shipped = result.name in study_names()
    # without a file, all arms but the first are added to it
    alone = not shipped and len(added) + 1 == len(result.arms)
    names = [arm.name for arm in result.arms] if alone else list(added)
    arms = [f"{name}={','.join(result.arm(name).settings)}" for name in names]
    study = [] if alone else [f"--study {result.name if shipped else 'STUDY.toml'}"]
    return [*study, *(f"--arm {shlex.quote(one)}" for one in arms)]


def _lines(parts: Sequence[str]) -> str:
    return " \\\n    ".join(parts)


def _encoder(result: StudyResult) -> str:
    """The folder of the baseline's encoder, or a place for it."""
    return result.arm(result.baseline).encoder or "ENCODER"
