"""What is left of a study for people: its page, tables and figures, in its folder and in MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mricore.config.schema import Recipe
from mricore.data.manifest import Manifest
from mricore.evaluation.measurements import to_csv
from mricore.evaluation.units import MEASUREMENTS
from mricore.registry.studied import log_files
from mricore.report.study import StudyInputs, StudyPage
from mricore.report.study_markdown import figures, tables
from mricore.report.study_numbers import Judgement
from mricore.study_records import FIGURES, REPORT, STUDY, TABLES
from mricore.training.checkpoint import Row
from mricore.training.telemetry import Tracked
from mricore.workflows.study_folder import StudyFolder

COMPARISON = "comparison.csv"


def write_page(
    folder: StudyFolder,
    parent: Tracked,
    recipes: Mapping[str, Recipe],
    histories: Mapping[str, Sequence[Row]],
    judgements: Sequence[Judgement],
    manifest: Manifest,
) -> None:
    """Say what each question comes to, write and log all that came of the study, and say where it is.

    ``recipes`` are by arm, ``histories`` by run. Without ``judgements`` there is the page alone.

    Raises:
        UserError: a place may not be written, or the tracking server does not answer.
    """
    page = StudyPage(StudyInputs(folder.result, judgements, recipes, histories, manifest.counts))
    files = {REPORT: page.html().encode()}
    if judgements:
        print(page.text(), flush=True)
        files |= {COMPARISON: page.csv(), TABLES: tables(page).encode()}
        files |= {f"{FIGURES}/{name}": svg.encode() for name, svg in figures(page).items()}
    for name, content in files.items():
        folder.place.write_bytes(name, content)
    files[STUDY] = folder.result.to_json().encode()
    if judgements:
        files[MEASUREMENTS] = to_csv([row for one in judgements for row in one.rows])
    log_files(parent, {name: content.decode() for name, content in files.items()})
    print(f"study:      {folder.place.joined(STUDY)}")
    if judgements:
        print(f"comparison: {folder.place.joined(COMPARISON)}")
        print(f"tables:     {folder.place.joined(TABLES)}")
    print(f"report:     {folder.place.joined(REPORT)}", flush=True)
