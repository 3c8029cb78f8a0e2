"""Compare encoders by the measurements that evaluations left: a table for people and one as CSV."""

from __future__ import annotations

from collections.abc import Sequence

from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.comparison import compare
from mricore.evaluation.comparison_text import as_csv, as_text, designs
from mricore.report.evaluation_results import read_results

COMPARISON = "comparison.csv"


def compare_results(
    results: Sequence[str],
    baseline: str | None = None,
    metrics: Sequence[str] | None = None,
    detect: float | None = None,
    seed: int = 0,
    out: str | None = None,
) -> list[str]:
    """The comparison as lines; its CSV is written to the folder ``out``, by default the first of ``results``.

    ``results`` are folders of evaluations, local or s3://. With ``detect`` the lines tell how many draws and
    patients show a difference of that size.

    Raises:
        UserError: a folder holds no measurements, they cannot be compared, or ``detect`` is not above 0.
    """
    if detect is not None and not detect > 0:
        raise UserError(f"a difference of {detect:g} cannot be looked for", "give one above 0, e.g. 0.02")
    places = [place(folder) for folder in results]
    comparison = compare(read_results(places).rows, baseline, metrics, seed=seed)
    target = places[0] if out is None else place(out)
    target.write_bytes(COMPARISON, as_csv(comparison))
    lines = as_text(comparison).splitlines()
    if detect is not None:
        lines += ["", *designs(comparison, detect, seed)]
    return [*lines, "", f"written: {target.joined(COMPARISON)}"]
