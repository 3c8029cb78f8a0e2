"""The page, figures and tables of one or more evaluations, from the folders they wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.report.evaluation import Evaluation, EvaluationInputs
from mricore.report.evaluation_csv import differences_csv, summary_csv
from mricore.report.evaluation_results import Results, read_results
from mricore.report.looks import Checkpoint

REPORT = "report.html"
RANDOM = "random"
TITLE = "Evaluation of MRI encoders"


def report_evaluation(
    folders: Sequence[str],
    baseline: str | None = None,
    title: str = TITLE,
    out: str | None = None,
    figures: str | None = None,
) -> list[str]:
    """Write the page into the first folder or to ``out``; figures and tables into ``figures`` if given.

    Without a baseline it is the one that an evaluation was told, else an encoder without pretraining.

    Returns:
        One line per thing that was written.

    Raises:
        UserError: a folder has no results, the baseline took no part, or a place may not be written.
    """
    places = [place(folder) for folder in folders]
    target, name = (places[0], REPORT) if out is None else _file(out)
    evaluation = Evaluation(inputs_of(read_results(places), baseline, title))
    target.write_bytes(name, evaluation.page().encode())
    lines = [f"report:  {target.joined(name)}"]
    if figures is not None:
        chosen = place(figures)
        files = evaluation.figures()
        files["summary.csv"] = summary_csv(evaluation.blocks)
        files["differences.csv"] = differences_csv(evaluation.blocks)
        for file, content in files.items():
            chosen.write_bytes(file, content)
        lines.append(f"figures: {len(files)} files in {chosen.uri}")
    return lines


def inputs_of(results: Results, baseline: str | None, title: str) -> EvaluationInputs:
    """What the page is made of.

    Raises:
        UserError: the baseline took no part.
    """
    encoders = sorted({row.encoder for row in results.rows})
    if baseline is not None and baseline not in encoders:
        raise UserError(f"no encoder is named {baseline!r}", f"choose one of: {', '.join(encoders)}")
    origins = {
        str(name): str(one.get("origin", ""))
        for summary in results.summaries
        for name, one in summary.get("encoders", {}).items()
    }
    return EvaluationInputs(
        title=title,
        results=results,
        baseline=baseline or _baseline(results, encoders, origins),
        origins=origins,
        checkpoints=_checkpoints(results.units),
    )


def _baseline(results: Results, encoders: Sequence[str], origins: Mapping[str, str]) -> str | None:
    """What an evaluation was told, else the encoder without pretraining."""
    told = [str(summary["baseline"]) for summary in results.summaries if summary.get("baseline")]
    without = [name for name in encoders if origins.get(name, name).startswith(RANDOM)]
    return next(iter([name for name in told if name in encoders] + without), None)


def _checkpoints(units: Sequence[Mapping[str, Any]]) -> dict[str, Checkpoint]:
    """Epochs that the units tell of, where the names of encoders do not."""
    return {
        str(unit["encoder"]): Checkpoint(str(unit.get("run", "run")), "epoch", int(unit["epoch"]))
        for unit in units
        if unit.get("epoch") is not None
    }


def _file(out: str) -> tuple[Place, str]:
    folder, _, name = out.rpartition("/")
    if not name.endswith(".html"):
        raise UserError(f"{out!r} is no page", "give a file that ends in .html")
    return place(folder or ("/" if out.startswith("/") else str(Path.cwd()))), name
