"""What stands around the numbers of a study: facts, commands, and what may be concluded from them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence

from mricore.config.study import ADDED, study_names
from mricore.evaluation.protocol import FEW_PATIENTS
from mricore.report.evaluation_facts import LEARNED, OPTIMISTIC
from mricore.report.evaluation_numbers import block_mode
from mricore.report.study_numbers import Judgement, judge_title
from mricore.report.study_trainings import by_run, label_of
from mricore.study_records import Evaluated, StudyResult

SHORT_DIGEST = 10
PHANTOMS = "phantoms"
"""The task whose data are generated, and judged by where nothing else is named."""
AGAIN = "The same study; it continues where it was stopped"
WHOLE = "All that was measured, with classes and pictures, as one page"
CHOSEN = "The arm that was chosen, on patients that no choice has seen; its encoder is told below"


def facts(
    result: StudyResult, counts: Mapping[str, int], judgements: Sequence[Judgement]
) -> list[tuple[str, str]]:
    """Recipe, data and size of a study."""
    done = sum(arm.state == "finished" for arm in result.arms)
    found = [("recipe", result.recipe), ("arms finished", f"{done:,} of {len(result.arms):,}")]
    found += [("trainings", f"{len(by_run(result)):,}")]
    found += [(name, f"{count:,}") for name, count in counts.items()] or [("slices", f"{result.slices:,}")]
    if result.manifest_digest:
        found.append(("dataset", result.manifest_digest[:SHORT_DIGEST]))
    if result.evaluations:
        tasks = {task for how in result.evaluations for task in how.tasks}
        patients = [{(row.task, row.patient) for row in one.rows} for one in judgements]
        found += [("tasks", f"{len(tasks):,}")]
        found += [(f"{result.part} patients", f"{max(map(len, patients), default=0):,}")]
        found += [("draws", _span([how.draws for how in result.evaluations]))]
        found += [("judged by", _judges(result.evaluations))]
    return found + ([("code", result.code_revision)] if result.code_revision else [])


def commands(result: StudyResult) -> list[tuple[str, str]]:
    """The command that gives this study again, one for whole reports, and one that judges on test patients.

    The last is for studies that were judged on others. Words in capitals are the user's own: the page does
    not tell where data lie.
    """
    parts = ["python tune/ablate.py", *_study(result), f"--recipe {result.recipe}"]
    parts += [f"--set {shlex.quote(one)}" for one in result.settings]
    parts += [] if result.generated_phantoms else ["--data DATA"]
    if not result.evaluations:
        return [(AGAIN, _lines(parts))]
    roots = _roots(result)
    if roots != [PHANTOMS]:
        parts += [f"--task {root}" for root in roots]
    parts += _pairs(result.judging)
    folders = [f"STUDY/{how.folder}" for how in result.evaluations]
    reports = ["python eval/report.py", *folders, f"--baseline {shlex.quote(result.baseline)}"]
    found = [(AGAIN, _lines(parts)), (WHOLE, _lines(reports))]
    return found if result.part == "test" else [*found, (CHOSEN, _lines(_on_test(result, roots)))]


def allowed() -> list[str]:
    """What may be concluded."""
    return [
        "“Better” and “worse” mean that the corrected p is below 0.05 and the interval of the difference "
        "leaves out 0: with other patients like these, and with other labelled slices, the arm would score "
        "above or below the reference.",
        "“Too close to say” is no proof that two arms are alike. The interval of the difference tells how "
        "large a difference may still be; more draws or more patients make it narrower.",
    ]


def limits(result: StudyResult, judgements: Sequence[Judgement]) -> list[str]:
    """What may not be concluded, in sentences."""
    return [
        *_of_data(result, judgements),
        *_of_protocols(judgements),
        *_of_choice(result),
        *_of_trainings(result),
    ]


def _of_data(result: StudyResult, judgements: Iterable[Judgement]) -> Iterable[str]:
    if result.generated_phantoms:
        yield "The encoders learned from generated phantoms: nothing here speaks of patients."
    patients: dict[str, set[str]] = {}
    for row in (row for one in judgements for row in one.rows):
        patients.setdefault(row.task, set()).add(row.patient)
    few = [
        f"{task} ({len(found):,})" for task, found in sorted(patients.items()) if len(found) <= FEW_PATIENTS
    ]
    if few:
        yield (
            f"Few patients judge: {', '.join(few)}. Intervals of so few are rough, and of one patient there "
            "are none."
        )
    yield (
        "The paper judged on private bone and breast data, and gives directions without numbers: that a "
        "study agrees with it does not mean that its scores are the paper's."
    )


def _of_protocols(judgements: Sequence[Judgement]) -> Iterable[str]:
    single = [judge_title(one.how) for one in judgements if _is_one_draw(one)]
    if single:
        yield (
            f"One draw ({'; '.join(single)}): how much the choice of labelled slices matters is not known."
        )
    if any(row.mode == "cpu" for one in judgements for row in one.rows):
        yield "Mode cpu adapts the encoders at a small size: scores compare within this study alone."
    for one in judgements:
        found = {(row.protocol, block_mode(row.mode)) for row in one.rows} & OPTIMISTIC.keys()
        yield from (f"{judge_title(one.how)}: {OPTIMISTIC[mode]}." for mode in sorted(found))
    if len(judgements) > 1:
        yield (
            "Each way of judging is a question of its own, and metrics of different ways do not compare: "
            "that an arm is better in one of them says nothing of the others."
        )


def _of_choice(result: StudyResult) -> Iterable[str]:
    if result.evaluations and len(result.arms) > 1:
        yield _on_test_patients(result) if result.part == "test" else _on_others(result)
    if len(result.questions) > 1 or len(result.evaluations) > 1:
        yield (
            "p is corrected over the arms and tasks of one question in one metric of one way of judging, not "
            "over all questions, metrics and ways of the page."
        )


def _on_others(result: StudyResult) -> str:
    return (
        f"All scores are of {result.part} patients, who are there for choices. Whoever takes "
        f"the best of {len(result.arms):,} arms takes its luck too, so its score here is optimistic: "
        "report it from test patients, who took no part in this study."
    )


def _on_test_patients(result: StudyResult) -> str:
    return (
        "All scores are of test patients. Arms, questions and ways of judging were fixed in a file before "
        "anybody was judged, so all of them may be reported, together. To choose the best of the "
        f"{len(result.arms):,} arms by these scores would make its score optimistic, and would use up the "
        "test patients for that choice."
    )


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


def _roots(result: StudyResult) -> list[str]:
    """Tasks as arguments."""
    tasks = dict.fromkeys(task for how in result.evaluations for task in how.tasks)
    return [task if task == PHANTOMS else f"{task}=ROOT" for task in tasks]


def _on_test(result: StudyResult, roots: Sequence[str]) -> list[str]:
    """The words that judge the baseline on test patients, in the first way that the study judged."""
    how = result.evaluations[0]
    settings = [f"--set {shlex.quote(one)}" for one in how.settings]
    encoder = f"--encoder {shlex.quote(f'NAME=mricore:STUDY/encoders/{_encoder(result)}')}"
    mode = f"--mode {how.mode}"
    return [f"python eval/{how.protocol}.py", *roots, encoder, mode, *settings, "--part test"]


def _pairs(words: Sequence[str]) -> list[str]:
    """Arguments as ``--name value``."""
    return [f"{name} {shlex.quote(value)}" for name, value in zip(words[::2], words[1::2], strict=True)]


def _judges(found: Sequence[Evaluated]) -> str:
    return judge_title(found[0]) if len(found) == 1 else f"{len(found):,} protocols"


def _span(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _is_one_draw(judgement: Judgement) -> bool:
    return judgement.how.protocol in LEARNED and len({row.draw for row in judgement.rows}) == 1


def _encoder(result: StudyResult) -> str:
    """The folder of the baseline's encoder, or a place for it."""
    return result.arm(result.baseline).encoder or "ENCODER"
