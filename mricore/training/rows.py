"""Which metrics of a report leave the workers: few enough for a long run on a tracking server."""

from __future__ import annotations

from collections.abc import Sequence

from mricore.training.checkpoint import Row

AVERAGED = ("loss/", "gauge/")
LAST = ("schedule/", "health/", "time/", "progress/")


def thinned(rows: Sequence[Row]) -> list[Row]:
    """The total loss of every step; all else once, in the last row.

    There, losses and gauges are means over the rows that have them; schedules, health and times are as the
    last row has them. What is rare by itself, like a validation, stays where it is.
    """
    if not rows:
        return []
    last = dict(rows[-1])
    averaged = {name for row in rows for name in row if name.startswith(AVERAGED)} - {"loss/total"}
    for name in sorted(averaged):
        values = [row[name] for row in rows if name in row]
        last[name] = sum(values) / len(values)
    return [_kept(row) for row in rows[:-1]] + [last]


def _kept(row: Row) -> Row:
    return {
        name: value
        for name, value in row.items()
        if name == "loss/total" or not name.startswith((*AVERAGED, *LAST))
    }
