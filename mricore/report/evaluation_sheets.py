"""Sheets of pictures as figures for a publication (paper Figs. 2d, 4c, B1)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mricore.report.drawing import INK, Drawing, styled
from mricore.report.evaluation_pictures import Sheet, Tile
from mricore.report.looks import shortened
from mricore.report.overlays import pixels_of

WIDE = 7.6
CAPTION_INCHES = 0.22


@styled
def sheet_drawing(name: str, sheet: Sheet) -> Drawing:
    """Pictures side by side, each below its caption; pixels are kept as they are."""
    columns = max(len(row) for row in sheet.rows)
    side = WIDE / max(columns, 4)
    height = len(sheet.rows) * (side + CAPTION_INCHES) + 0.3
    figure = Figure(figsize=(columns * side, height), layout="constrained")
    grid = figure.subplots(len(sheet.rows), columns, squeeze=False)
    tiles = [tile for row in sheet.rows for tile in _filled(row, columns)]
    for axes, tile in zip(grid.flat, tiles, strict=True):
        axes.set_axis_off()
        if tile is not None:
            axes.imshow(pixels_of(tile.source), aspect=tile.stretch, interpolation="none")
            axes.set_title(shortened(tile.caption, 20), fontsize=7.5, color=INK, pad=2)
    if sheet.legend:
        handles = [Patch(facecolor=colour) for _, colour in sheet.legend]
        words = [word for word, _ in sheet.legend]
        figure.legend(handles, words, loc="outside lower left", ncols=len(words), frameon=False, fontsize=8)
    return Drawing(name, figure, sheet.task)


def _filled(row: Sequence[Tile | None], columns: int) -> list[Tile | None]:
    return [*row, *[None] * (columns - len(row))]
