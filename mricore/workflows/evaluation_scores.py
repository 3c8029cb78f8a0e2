"""What an evaluation found, compared, and logged as scores beside the versions that it judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mricore.errors import UserError
from mricore.evaluation.comparison import Comparison, compare
from mricore.evaluation.contender import Contender
from mricore.evaluation.measurements import Measurement, to_csv
from mricore.evaluation.metrics.measure import MEAN
from mricore.registry.judged import Judged, Score, is_version, record
from mricore.revision import code_revision
from mricore.training.place import Home


def compared(rows: Sequence[Measurement], baseline: str | None) -> Comparison | str:
    """Encoders side by side, by the mean over classes where there is one; or why they cannot be compared."""
    averaged = any(row.label == MEAN for row in rows)
    chosen = [row for row in rows if row.label == MEAN or not averaged]
    try:
        return compare(chosen, baseline, labels=sorted({row.label for row in chosen}))
    except UserError as error:
        return f"{error.problem} ({error.remedy})"


def log_scores(
    digests: Mapping[str, str],
    contenders: Sequence[Contender],
    rows: Sequence[Measurement],
    comparison: Comparison,
    leaks: Mapping[str, str],
    where: Home,
    code: str | None = None,
) -> None:
    """Log the scores of versions of the registry beside them; without MLflow one line is told.

    ``digests`` are those of the data by name. What rests on several has the digests of all.
    ``code`` is the revision that evaluated, by default this one.
    """
    for contender in contenders:
        if not is_version(contender.origin):
            continue
        own = [row for row in rows if row.encoder == contender.name]
        for protocol, task in sorted({(row.protocol, row.task) for row in own}):
            judged = Judged(
                version=contender.origin,
                protocol=protocol,
                task=task,
                data_digest=digests.get(task, " ".join(digests.values())),
                encoder_digest=contender.digest,
                scores=_scores(comparison, task, contender.name),
                facts={
                    "leaks": leaks.get(task, "; ".join(leaks.values())),
                    "code_revision": code or code_revision(),
                },
            )
            table = to_csv(row for row in own if row.task == task).decode()
            try:
                record(judged, where, {"measurements.csv": table})
            except UserError as error:
                print(f"scores are not logged: {error.problem}; the results stay, {error.remedy}")
                return
        print(f"scores of {contender.origin} are logged in {where.shown}")


def _scores(comparison: Comparison, task: str, encoder: str) -> list[Score]:
    """All numbers of an encoder on a task that have an interval."""
    found = []
    for one in comparison.scores:
        asked = one.question
        if one.encoder == encoder and asked.task == task and one.interval is not None:
            metric = asked.metric if asked.label == MEAN else f"{asked.metric}.{asked.label}"
            found.append(Score(asked.mode, metric, one.interval))
    return found
