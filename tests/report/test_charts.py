"""Curves show the numbers they are given, whatever their length and however odd they are."""

import base64
import re
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from mricore.evaluation.protocol import Score
from mricore.evaluation.statistics import Interval
from mricore.report.charts import BINS, MINUS, curve_chart, interval_chart, line_of, number
from mricore.report.panels import KNOWN, Panel, panels_of

LOSS = Panel("Loss", "nats", (("loss/a", "first"), ("loss/b", "second")))


def texts(chart):
    """All words in the picture, which must be well-formed XML."""
    svg = base64.b64decode(chart.source.partition(",")[2]).decode()
    return [
        "".join(element.itertext())
        for element in ElementTree.fromstring(svg).iter()  # noqa: S314 our own picture
        if element.tag.endswith("text")
    ]


def rows(count, **metrics):
    return [{"step": float(n + 1), **{key: make(n) for key, make in metrics.items()}} for n in range(count)]


@pytest.mark.numerics
def test_a_long_history_is_reduced_to_means_and_ranges():
    rng = np.random.default_rng(0)
    values = rng.normal(size=24 * BINS)
    line = line_of([{"step": n, "x": value} for n, value in enumerate(values)], "x")
    blocks = values.reshape(BINS, 24)
    np.testing.assert_allclose(line.means, blocks.mean(1))
    np.testing.assert_allclose(line.lows, blocks.min(1))
    np.testing.assert_allclose(line.highs, blocks.max(1))
    np.testing.assert_allclose(line.steps, np.arange(24 * BINS).reshape(BINS, 24).mean(1))
    assert line.ends == (values[0], values[-1])


def test_a_short_history_is_drawn_as_it_is():
    history = [{"step": 2.0, "x": 5.0}, {"step": 4.0}, {"step": 6.0, "x": 7.0}]
    line = line_of(history, "x")
    assert line.steps.tolist() == [2, 6]
    assert line.means.tolist() == line.lows.tolist() == line.highs.tolist() == [5, 7]


def test_lines_are_named_at_their_ends_with_the_last_value():
    chart = curve_chart([{"step": n, "loss/a": 9 - n, "loss/b": 4.0} for n in range(6)], LOSS)
    assert {"first 4", "second 4"} <= set(texts(chart))
    assert chart.alt == "Loss over steps: first from 9 to 4; second from 4 to 4"


@pytest.mark.parametrize("length", [1, 2, 5000])
def test_any_length_makes_a_small_picture(length):
    chart = curve_chart([{"step": n, "loss/a": np.sin(n), "loss/b": 1e-9} for n in range(length)], LOSS)
    assert texts(chart)
    assert len(chart.source) < 120_000


def test_values_that_are_not_finite_do_not_stop_the_page():
    history = [{"step": n, "loss/a": float("nan"), "loss/b": float("inf")} for n in range(3)]
    assert "no finite value" in curve_chart(history, LOSS).alt
    history.append({"step": 3, "loss/a": 2.5})
    assert "2.5" in curve_chart(history, LOSS).alt


def test_numbers_are_written_for_people():
    assert [number(value) for value in (12345.6, 0.123456, 3e-05, -2.0, 0)] == [
        "12,346",
        "0.1235",
        f"3e{MINUS}5",
        f"{MINUS}2",
        "0",
    ]


def test_text_is_never_parsed_as_mathematics_and_no_setting_leaks():
    before = dict(mpl.rcParams)
    chart = curve_chart([{"step": 1, "x": 1.0}], Panel("<b>&", "", (("x", r"$\frac{<&"),)))
    assert any(r"$\frac{<&" in text for text in texts(chart))
    assert dict(mpl.rcParams) == before


def test_the_same_history_gives_the_same_picture():
    history = [{"step": n, "loss/a": float(n)} for n in range(5)]
    assert curve_chart(history, LOSS) == curve_chart(history, LOSS)


def test_every_metric_gets_a_panel_known_ones_first():
    history = [
        {"step": 1, "gauge/novel_thing": 1, "gauge/rank": 2},
        {"step": 2, "gauge/agreement": 1, "loss/total": 1},
    ]
    assert [panel.title for panel in panels_of(history, "gauge/")] == ["RankMe", "Agreement", "Novel thing"]
    assert panels_of([], "loss/") == []
    schedules = [{"step": n, "schedule/lr": n, "schedule/trunk_scale": 1.0} for n in (1, 2)]
    assert [panel.title for panel in panels_of(schedules, "schedule/")] == ["Learning rate"]
    keys = [key for panel in KNOWN for key, _ in panel.lines]
    assert len(keys) == len(set(keys))


def test_the_panels_know_what_training_measures():
    from mricore.config.recipes import tiny
    from mricore.training.rates import rates_at

    keys = {key for panel in KNOWN for key, _ in panel.lines}
    assert {f"schedule/{name}" for name in rates_at(0, 10, tiny()).logged(with_teacher=True)} <= keys


def test_intervals_are_drawn_to_scale():
    score = Score("knee", 10, 5, 2, 0.5, Interval(0.25, 0.2, 0.3), Interval(0.75, 0.5, 1.0))
    chart = interval_chart([score, Score("none", 0, 0, 0, note="no class")])
    assert {"knee", "0.25 → 0.75"} <= set(texts(chart))
    assert "none" not in texts(chart)
    svg = base64.b64decode(chart.source.partition(",")[2]).decode()
    spans = [
        (float(a), float(b))
        for a, b in re.findall(
            r'd="M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ \n" clip-path="[^"]*" style="fill: none; stroke', svg
        )
        if a != b
    ]
    widths = sorted(b - a for a, b in spans)
    assert widths[-1] == pytest.approx(5 * widths[-2], rel=1e-3)
    assert "0.750 [0.500, 1.000] after" in chart.alt
