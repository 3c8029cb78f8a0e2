"""What is left of a study for people: its page and its table, in its folder and in MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mricore.config.schema import Recipe
from mricore.data.manifest import Manifest
from mricore.evaluation.measurements import Measurement, to_csv
from mricore.evaluation.units import MEASUREMENTS, SUMMARY
from mricore.registry.studied import log_files
from mricore.report.study import StudyInputs, StudyPage
from mricore.study_records import EVALUATION, REPORT, STUDY
from mricore.training.checkpoint import Row
from mricore.training.telemetry import Tracked
from mricore.workflows.study_folder import StudyFolder

COMPARISON = "comparison.csv"


def write_page(
    folder: StudyFolder,
    parent: Tracked,
    recipes: Mapping[str, Recipe],
    histories: Mapping[str, Sequence[Row]],
    rows: Sequence[Measurement],
    manifest: Manifest,
) -> None:
    """Write page and table, log all that came of the study, and say where everything is.

    ``recipes`` are by arm, ``histories`` by run. Without ``rows`` of a labelled task there is no table.

    Raises:
        UserError: a place may not be written, or the tracking server does not answer.
    """
    page = StudyPage(
        StudyInputs(folder.result, rows, recipes, histories, manifest.counts, _summary(folder, rows))
    )
    files = {REPORT: page.html().encode()}
    if rows:
        files[COMPARISON] = page.csv()
    for name, content in files.items():
        folder.place.write_bytes(name, content)
    files[STUDY] = folder.result.to_json().encode()
    if rows:
        files[MEASUREMENTS] = to_csv(rows)
    log_files(parent, {name: content.decode() for name, content in files.items()})
    print(f"study:      {folder.place.joined(STUDY)}")
    if rows:
        print(f"comparison: {folder.place.joined(COMPARISON)}")
    print(f"report:     {folder.place.joined(REPORT)}", flush=True)


def _summary(folder: StudyFolder, rows: Sequence[Measurement]) -> dict[str, Any]:
    """The evaluation's own; empty where nothing was judged."""
    summary = f"{EVALUATION}/{SUMMARY}"
    if not rows or not folder.place.exists(summary):
        return {}
    return dict(json.loads(folder.place.read_bytes(summary)))
