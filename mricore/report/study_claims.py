"""What the paper found in its ablations (section 2.1.1), and what a study says of it.

The paper gives directions and no numbers. Which comparison of a study is one of the paper's is told by what
the two recipes differ in, whatever their arms are called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mricore.config.overrides import setting_paths, value_at
from mricore.config.schema import Recipe
from mricore.evaluation.comparison import ALL_TASKS, Difference
from mricore.report.study_numbers import Answer, against, beyond_noise, judge_title
from mricore.study_records import StudyResult

AGREES, DISAGREES, OPEN = "agrees", "disagrees", "cannot tell"
PAPER_EPOCHS = 4
"""Where its score is highest (Fig. 2c)."""
EPOCHS = "The score is highest after 4 epochs; longer training makes it worse"
LENGTH = {"train.epochs", "train.schedule_epochs", "train.keep_epochs"}
_WEIGHTS = {"initial.layout", "initial.weights", "initial.sha256", "initial.into"}


@dataclass(frozen=True)
class Claim:
    """``says`` that the first of two recipes is better; ``holds`` tells whether two recipes are these.

    They may differ in ``settings`` alone; None: in everything, as another objective has its own settings.
    """

    says: str
    holds: Callable[[Recipe, Recipe], bool]
    settings: set[str] | None


CLAIMS = (
    Claim(
        "SAM's weights are a better start than none",
        lambda better, worse: better.initial.layout == "sam" and worse.initial.layout == "none",
        _WEIGHTS,
    ),
    Claim(
        "SAM's weights in student and teacher are better than in the student alone",
        lambda better, worse: (
            (better.initial.into, worse.initial.into) == ("both", "student")
            and better.initial.layout == "sam"
        ),
        {"initial.into"},
    ),
    Claim(
        "DINOv2 is better than MAE, both from SAM's weights",
        lambda better, worse: (
            (better.method, worse.method) == ("dinov2", "mae")
            and better.initial.layout == worse.initial.layout == "sam"
        ),
        None,
    ),
    Claim(
        "Sampling without replacement is better than with",
        lambda better, worse: worse.data.replacement and not better.data.replacement,
        {"data.replacement"},
    ),
    Claim(
        "A learning rate of 4e-4 is better than 4e-3",
        lambda better, worse: (better.optimizer.lr, worse.optimizer.lr) == (4e-4, 4e-3),
        {"optimizer.lr"},
    ),
    Claim(
        "Normalising by slice is better than by volume",
        lambda better, worse: (better.data.normalization, worse.data.normalization) == ("slice", "volume"),
        {"data.normalization"},
    ),
)


@dataclass(frozen=True)
class Finding:
    """A claim of the paper and this study's word on it, over all tasks and for each where there are several.

    ``arms`` are the better and the worse one by the paper; for a curve, the reference and "". ``judged``
    tells by which protocol and mode.
    """

    says: str
    judged: str
    arms: tuple[str, str]
    verdict: str
    by_task: Mapping[str, str]


def findings(result: StudyResult, recipes: Mapping[str, Recipe], answers: Sequence[Answer]) -> list[Finding]:
    """The paper's claims that a study bears on; ``recipes`` are of arms, ``answers`` of main metrics.

    They are about trained encoders, so an untrained arm is in none of them but the curve over epochs, where
    it may be the best.
    """
    found: list[Finding] = []
    for answer in answers:
        if answer.question.kind == "curve":
            found += _curve(result, answer)
            continue
        for arm in answer.question.arms:
            found += _pair(result, recipes, answer, arm)
    unique = list({(one.says, one.arms, one.judged): one for one in found}.values())
    order = list(dict.fromkeys((one.says, one.arms) for one in unique))
    return sorted(unique, key=lambda one: order.index((one.says, one.arms)))


def _pair(result: StudyResult, recipes: Mapping[str, Recipe], answer: Answer, arm: str) -> list[Finding]:
    reference = answer.question.reference
    trained = all(result.arm(one).is_trained for one in (reference, arm))
    if not trained or not {reference, arm} <= recipes.keys():
        return []
    alike = _length(result, recipes, reference) == _length(result, recipes, arm)
    found = []
    for better, worse in ((reference, arm), (arm, reference)):
        for claim in CLAIMS:
            if (alike or claim.settings is None) and _is_of(claim, recipes[better], recipes[worse]):
                sign = 1 if worse == arm else -1
                words = {task: _word(answer.difference(task, arm), -sign) for task in answer.groups}
                found.append(_finding(claim.says, answer, (better, worse), words))
    return found


def _curve(result: StudyResult, answer: Answer) -> list[Finding]:
    """The claim about epochs, where the curve has the paper's epoch and a longer training."""
    epochs = {arm: result.arm(arm).epoch for arm in answer.arms if arm in answer.judged}
    paper = next((arm for arm, epoch in epochs.items() if epoch == PAPER_EPOCHS), None)
    if paper is None or max(epochs.values()) <= PAPER_EPOCHS:
        return []
    words = {task: _epoch_word(answer, task, paper, epochs) for task in answer.groups}
    return [_finding(EPOCHS, answer, (paper, ""), words)]


def _epoch_word(answer: Answer, task: str, paper: str, epochs: Mapping[str, int]) -> str:
    """Agrees if no mean is higher and the longest training is worse beyond noise.

    Disagrees if some length is better beyond noise.
    """
    others = [arm for arm in epochs if arm != paper]
    words = {arm: _word(one, -1) for arm, one in against(answer, task, paper, others)}
    if DISAGREES in words.values():
        return DISAGREES
    scores = {arm: one.interval.value for arm in epochs if (one := answer.number(task, arm))}
    highest = bool(scores) and max(scores, key=lambda arm: scores[arm]) == paper
    longest = max(epochs, key=lambda arm: epochs[arm])
    return AGREES if highest and words.get(longest) == AGREES else OPEN


def _word(difference: Difference | None, expected: int) -> str:
    """``expected`` is the sign that the paper gives the difference."""
    return {expected: AGREES, -expected: DISAGREES}.get(beyond_noise(difference), OPEN)


def _finding(says: str, answer: Answer, arms: tuple[str, str], words: Mapping[str, str]) -> Finding:
    last = list(words.values())[-1] if words else OPEN
    return Finding(
        says,
        judge_title(answer.how),
        arms,
        last,
        {task: word for task, word in words.items() if task != ALL_TASKS},
    )


def _is_of(claim: Claim, better: Recipe, worse: Recipe) -> bool:
    return claim.holds(better, worse) and (
        claim.settings is None or differing(better, worse) <= claim.settings
    )


def _length(result: StudyResult, recipes: Mapping[str, Recipe], arm: str) -> tuple[int, int]:
    """After how many epochs an arm is read, and for how many its schedules are laid out.

    Its recipe may be that of a longer training that it is the beginning of.
    """
    train = recipes[arm].train
    return result.arm(arm).epoch, train.schedule_epochs or train.epochs


def differing(one: Recipe, other: Recipe) -> set[str]:
    """The settings that two recipes differ in, but for the length of training."""
    documents = [recipe.model_dump(mode="json") for recipe in (one, other)]
    paths = set(setting_paths()) - LENGTH
    return {path for path in paths if len({str(value_at(each, path)) for each in documents}) > 1}
