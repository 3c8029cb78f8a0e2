"""One self-contained HTML page about an evaluation, with the paper's figures and tables; it loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mricore.report import evaluation_figures as drawn
from mricore.report.drawing import Chart, Drawing
from mricore.report.evaluation_facts import asked, facts, leaks, revisions, warnings_of
from mricore.report.evaluation_numbers import Block, block_mode, blocks, metric_title
from mricore.report.evaluation_pictures import Sheet, cluster_sheets, overlay_sheets
from mricore.report.evaluation_results import Picture, Results
from mricore.report.evaluation_sheets import sheet_drawing
from mricore.report.evaluation_tables import (
    ClusterTable,
    DifferenceTable,
    TaskTable,
    cluster_tables,
    difference_table,
    task_tables,
)
from mricore.report.evaluation_texts import Text, text_of
from mricore.report.looks import Checkpoint, looks
from mricore.report.paper_numbers import SOURCE
from mricore.report.templates import render_template

Titled = tuple[str, Drawing]
"""What a figure shows, and the figure."""


@dataclass(frozen=True)
class EvaluationInputs:
    """What a page is made of.

    ``baseline`` is the encoder that others are compared with. ``origins`` tell what is behind the name of an
    encoder, ``checkpoints`` which epoch or step of a run it is, where its name does not.
    """

    title: str
    results: Results
    baseline: str | None = None
    origins: Mapping[str, str] = field(default_factory=dict)
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class View:
    """A block as the page shows it; whatever is empty is left out."""

    block: Block
    text: Text
    anchor: str
    radar: Drawing | None
    means: Drawing | None
    bars: Drawing | None
    left_out: list[str]
    tables: list[TaskTable]
    forest: Drawing | None
    differences: DifferenceTable
    checkpoints: list[Drawing]
    clusters: list[Titled]
    cluster_tables: list[ClusterTable]
    confusions: list[Titled]
    adaptation: list[Titled]
    overlays: list[Sheet]
    cluster_sheets: list[Sheet]

    @property
    def main_title(self) -> str:
        """The metric of its figures."""
        return metric_title(self.block.main)

    @cached_property
    def drawings(self) -> list[Drawing]:
        """All its figures, in the order of the page."""
        single = [one for one in (self.radar, self.means, self.bars, self.forest) if one]
        return [
            *single,
            *self.checkpoints,
            *(one for _, one in (*self.clusters, *self.confusions, *self.adaptation)),
        ]


class Evaluation:
    """An evaluation as a page and as files of figures."""

    def __init__(self, inputs: EvaluationInputs) -> None:
        self.inputs = inputs
        self.looks = looks({row.encoder for row in inputs.results.rows}, inputs.baseline)
        self.blocks = blocks(inputs.results.rows, tuple(self.looks), inputs.baseline)
        self.views = [self._view(block) for block in self.blocks]

    def page(self) -> str:
        """The page as HTML text; all given text is escaped."""
        results = self.inputs.results
        return render_template(
            "evaluation.html",
            title=self.inputs.title,
            given=self.inputs,
            facts=facts(results),
            views=self.views,
            looks=self.looks,
            chart=_chart,
            warnings=warnings_of(results, self.blocks),
            leaks=leaks(results),
            asked=asked(results),
            revisions=revisions(results),
            paper=SOURCE,
        )

    def figures(self) -> dict[str, bytes]:
        """Each figure and sheet of pictures of the page as SVG and as PDF, by file name."""
        files: dict[str, bytes] = {}
        for view in self.views:
            sheets = [
                sheet_drawing(drawn.figure_name(view.block, f"pictures_{number}_{sheet.task}"), sheet)
                for number, sheet in enumerate((*view.overlays, *view.cluster_sheets), 1)
            ]
            for drawing in (*view.drawings, *sheets):
                files |= drawing.files()
        return files

    def _view(self, block: Block) -> View:
        inputs, ordered = self.inputs, block.encoders
        radar = drawn.task_radar(block, self.looks)
        several = drawn.complete(block)
        return View(
            block=block,
            text=text_of(block.protocol, block.mode),
            anchor=f"block-{self.blocks.index(block) + 1}",
            radar=radar,
            means=drawn.mean_bars(block, self.looks),
            bars=None if radar else drawn.task_bars(block, self.looks),
            left_out=[name for name in ordered if name not in several],
            tables=[] if block.counts else task_tables(block, inputs.origins),
            forest=drawn.forest(block, self.looks),
            differences=difference_table(block),
            checkpoints=drawn.checkpoint_curves(block, inputs.checkpoints),
            clusters=drawn.cluster_curves(block, self.looks),
            cluster_tables=cluster_tables(block),
            confusions=drawn.confusion_figures(block, ordered),
            adaptation=drawn.adaptation_curves(block, inputs.results.units, self.looks),
            overlays=overlay_sheets(block, self._pictures(block), ordered),
            cluster_sheets=cluster_sheets(block, self._pictures(block), ordered),
        )

    def _pictures(self, block: Block) -> list[Picture]:
        """The pictures of a block, if it is the first mode of its protocol with any: others look alike."""
        chosen = [one for one in self.inputs.results.pictures if one.protocol == block.protocol]
        modes = {block_mode(one.mode) for one in chosen}
        first = next(
            (one for one in self.blocks if one.protocol == block.protocol and one.mode in modes), None
        )
        return chosen if first is block else []


def _chart(drawing: Drawing) -> Chart:
    return drawing.chart()
