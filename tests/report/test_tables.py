"""Rows of tables: sorted, complete, and adding up."""

import pytest

from mricore.evaluation.protocol import Score
from mricore.evaluation.statistics import Difference, Interval
from mricore.imaging.anatomy import LOCATIONS
from mricore.imaging.sequences import SEQUENCES, VENDORS
from mricore.report.charts import MINUS
from mricore.report.tables import (
    MOST_BARS,
    count_bars,
    distribution_bars,
    duration_bars,
    in_words,
    ordered_bars,
    score_row,
    step_bars,
)


def test_bars_are_sorted_with_unknown_last():
    bars = count_bars({"hip": 5, "unknown": 1000, "lumbar_spine": 1995})
    assert [bar.name for bar in bars] == ["lumbar spine", "hip", "unknown"]
    assert [bar.value for bar in bars] == ["1,995", "5", "1,000"]
    assert [bar.share for bar in bars] == ["66%", "< 1%", "33%"]
    assert [bar.length for bar in bars] == pytest.approx([100, 0.3, 50.1])


def test_rare_categories_are_added_up():
    counts = {f"c{n}": 100 - n for n in range(MOST_BARS + 4)}
    bars = count_bars(counts)
    assert len(bars) == MOST_BARS + 1
    assert bars[-1].name == "4 others"
    assert sum(int(bar.value) for bar in bars) == sum(counts.values())
    assert len(count_bars({f"c{n}": 1 for n in range(MOST_BARS + 1)})) == MOST_BARS + 1


def test_nothing_counted_is_no_error():
    assert count_bars({}) == []
    assert [bar.share for bar in count_bars({"knee": 0})] == [""]


def test_all_categories_are_shown_where_there_is_room():
    assert len(count_bars({f"c{n}": 1 for n in range(MOST_BARS + 9)}, most=40)) == MOST_BARS + 9


def test_distributions_follow_the_paper_and_keep_others():
    made = distribution_bars({"odd_one": {"a": 1}, "vendor": {"ge": 1}, "location": {"hip": 1}, "plane": {}})
    assert [one.heading for one in made] == ["Body location", "Vendor", "Odd one"]


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"ge": 5}, "known of all slices"),
        ({"ge": 700, "unknown": 1300}, "unknown of 1,300 of 2,000 slices (65%)"),
        ({"ge": 999, "unknown": 1}, "unknown of 1 of 1,000 slices (< 1%)"),
    ],
)
def test_a_distribution_tells_how_many_slices_are_unknown(counts, told):
    assert distribution_bars({"vendor": counts})[0].unknown == told


def test_no_category_is_shown_as_a_code():
    for category in (*VENDORS, *SEQUENCES, *LOCATIONS):
        assert "_" not in in_words(category)
    assert not [name for name in VENDORS if name != "unknown" and in_words(name).islower()]


def test_bars_of_a_scale_keep_its_order():
    bars = ordered_bars({"8 bits": 3, "9 bits": 0, "10 bits": 1000})
    assert [(bar.name, bar.value, bar.length) for bar in bars] == [
        ("8 bits", "3", 0.3),
        ("9 bits", "0", 0),
        ("10 bits", "1,000", 100),
    ]


def test_seconds_are_written_for_people():
    bars = duration_bars({"data": 7800.0, "training": 65.0})
    assert [bar.value for bar in bars] == ["2 h 10 min", "1 min 5 s"]
    assert [bar.share for bar in bars] == ["99%", "1%"]


def test_shares_of_a_step_are_means_over_the_rows_that_tell():
    history = [
        {"step": 1, "time/step_s": 0.5, "time/data_wait_s": 0.25, "time/odd_s": 0.0},
        {"step": 2},
        {"step": 3, "time/step_s": 1.0, "time/data_wait_s": 0.25},
    ]
    bars = step_bars(history)
    assert [bar.name for bar in bars] == ["waiting for data", "forward, backward, update", "odd"]
    assert [bar.value for bar in bars] == ["0.250 s", "0.750 s", "0.000 s"]
    assert [bar.share for bar in bars] == ["25%", "75%", "0%"]
    assert step_bars([]) == []


def test_time_between_workers_is_part_of_other_times_and_what_is_rare_weighs_little():
    history = [
        {"step": 1, "time/step_s": 1.0, "time/communication_s": 0.5},
        {"step": 2, "time/step_s": 0.5, "time/validation_s": 0.5, "time/communication_s": 0.3},
    ]
    bars = step_bars(history)
    assert [(bar.name, bar.value, bar.share) for bar in bars] == [
        ("forward, backward, update", "0.750 s", "75%"),
        ("judging the encoder", "0.250 s", "25%"),
        ("of all this, between workers", "0.400 s", "40%"),
    ]
    assert bars[-1].length == pytest.approx(53.3)


def test_a_score_tells_its_difference_with_sign_and_its_reason():
    loss = Difference(Interval(-0.1, -0.2, 0.05), 0.0004)
    score = Score("plane", 1200, 30, 3, 0.4, Interval(0.6, 0.5, 0.7), Interval(0.5, 0.4, 0.6), loss, "a note")
    row = score_row(score)
    assert row["difference"] == f"{MINUS}0.100 [{MINUS}0.200, +0.050]"
    assert (row["p"], row["slices"], row["note"]) == ("< 0.001", "1,200", "a note")
    alone = score_row(Score("plane", 5, 2, 2, 0.5, after=Interval(0.5, 0.4, 0.6)))
    assert (alone["before"], alone["difference"], alone["p"]) == ("", "", "")
    assert score_row(Score("x", 0, 0, 0, note="why"))["after"] == "not judged"
