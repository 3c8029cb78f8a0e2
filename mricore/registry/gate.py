"""The gate: whether a candidate is shown to be better than the champion, on the same patients and draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mricore.config.promotion import DRAWN, PRIMARY, Promotion
from mricore.evaluation.comparison import ALL_TASKS, Difference, compare
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metrics.measure import MEAN
from mricore.evaluation.statistics import Interval

CANDIDATE, CHAMPION = "candidate", "champion"
"""Names of the two encoders in the rows that ``judge`` takes."""


@dataclass(frozen=True)
class Finding:
    """A paired difference, what the rule asks of it, and why it does not hold; empty if it does."""

    difference: Difference
    asked: str
    problem: str

    def __str__(self) -> str:
        one = self.difference
        amount = f"{one.amount.patients} patients x {one.amount.draws} draws"
        return f"{one.question}: {signed(one.interval)} ({amount}), {self.asked}: {self.problem or 'yes'}"


@dataclass(frozen=True)
class Verdict:
    """What the gate found; ``findings`` in the order of protocols and tasks."""

    findings: tuple[Finding, ...]

    @property
    def passes(self) -> bool:
        """Whether all that the rule asks for holds."""
        return bool(self.findings) and not any(one.problem for one in self.findings)

    @property
    def means(self) -> list[Finding]:
        """The differences in the mean over tasks, one for each protocol and mode."""
        return [one for one in self.findings if one.asked == BETTER]

    def __str__(self) -> str:
        if not self.findings:
            return "no protocol that decides judged both"
        if self.passes:
            gains = "; ".join(
                f"{one.difference.question} {signed(one.difference.interval)}" for one in self.means
            )
            return f"better in the mean and nowhere worse: {gains}"
        failed = [one for one in self.findings if one.problem]
        return "; ".join(f"{one.difference.question}: {one.problem}" for one in failed)


NOT_WORSE, BETTER = "not worse", "better in the mean"


def judge(rows: Iterable[Measurement], rule: Promotion) -> Verdict:
    """Hold the rule against rows of ``CANDIDATE`` and ``CHAMPION``; only primary scores count.

    Raises:
        UserError: they were not measured on the same patients and draws, or something was measured twice.
    """
    findings: list[Finding] = []
    for one in _groups(rows):
        labels = sorted({row.label for row in one})
        compared = compare(one, CHAMPION, [PRIMARY[one[0].protocol]], labels)
        findings += _findings(compared.differences, rule)
    return Verdict(tuple(findings))


def signed(interval: Interval | None) -> str:
    """A difference with its interval, e.g. ``+0.021 [+0.004, +0.040]``."""
    if interval is None:
        return "no interval"
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def _groups(rows: Iterable[Measurement]) -> Iterator[list[Measurement]]:
    """Primary rows by protocol and mode, of the mean over classes where there is one."""
    chosen = [row for row in rows if PRIMARY.get(row.protocol) == row.metric]
    for protocol, mode in sorted({(row.protocol, row.mode) for row in chosen}):
        group = [row for row in chosen if (row.protocol, row.mode) == (protocol, mode)]
        averaged = {row.task for row in group if row.label == MEAN}
        yield [row for row in group if row.label == MEAN or row.task not in averaged]


def _findings(differences: Sequence[Difference], rule: Promotion) -> list[Finding]:
    """Each task, and their mean; a single task is its own mean."""
    # with a baseline a difference is that of the other encoder minus it
    tasks = [one for one in differences if one.question.task != ALL_TASKS]
    means = [one for one in differences if one.question.task == ALL_TASKS] or tasks
    return [
        *(Finding(one, NOT_WORSE, _not_worse(one, rule)) for one in tasks),
        *(Finding(one, BETTER, _better(one)) for one in means),
    ]


def _not_worse(one: Difference, rule: Promotion) -> str:
    if one.interval is None:
        return f"cannot tell ({one.note})"
    if one.question.protocol in DRAWN and one.amount.draws < rule.fewest_draws:
        return f"too few draws, the rule asks for {rule.fewest_draws}"
    if one.interval.low < -rule.margin:
        beyond = "is worse" if one.interval.high < -rule.margin else "may be worse"
        return f"{beyond}, as the interval reaches {one.interval.low:+.3f} (margin {rule.margin:g})"
    return ""


def _better(one: Difference) -> str:
    if one.interval is None:
        return f"cannot tell ({one.note})"
    if one.interval.low <= 0:
        low, high = one.interval.low, one.interval.high
        return f"no, not beyond noise: the interval [{low:+.3f}, {high:+.3f}] holds 0" if high >= 0 else "no"
    return ""
