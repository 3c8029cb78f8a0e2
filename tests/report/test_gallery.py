"""What a sample of slices shows of a dataset."""

import numpy as np
import pytest
from records import slice_record

from mricore.report.gallery import (
    FEW,
    MANY,
    MANY_LOCATIONS,
    TIMES,
    depth_bars,
    matrix_bars,
    quantities,
    shelves,
    unseen,
    varied,
)


def records(count, **columns):
    """Slices whose attributes are taken in turn from lists."""
    rng = np.random.default_rng(0)
    return [
        slice_record(n, rng, **{name: values[n % len(values)] for name, values in columns.items()})
        for n in range(count)
    ]


def test_examples_come_from_as_many_patients_as_there_are():
    patients = ["a"] * 20 + ["b"] * 2 + ["c"]
    chosen = varied(records(23, patient_id=patients), 6)
    assert sorted(one.patient_id for one in chosen) == ["a", "a", "a", "b", "b", "c"]
    assert len({one.slice_id for one in chosen}) == 6


def test_examples_of_one_patient_come_from_as_many_kinds_of_scan_as_there_are():
    sequences = ["T1"] * 20 + ["T2", "PD"]
    chosen = varied(records(22, patient_id=["a"], sequence=sequences), 3)
    assert {one.sequence for one in chosen} == {"T1", "T2", "PD"}


def test_fewer_slices_than_asked_for_are_all_shown():
    assert len(varied(records(2), 6)) == 2
    assert varied([], 6) == []


def test_each_location_has_its_examples_the_most_frequent_first_and_unknown_last():
    sample = records(40, location=["knee", "unknown", "lumbar_spine", "hip"])
    made = shelves(sample, {"hip": 70, "lumbar_spine": 3000, "unknown": 9000, "knee": 70, "foot": 1})
    assert [(shelf.location, shelf.slices) for shelf in made] == [
        ("lumbar spine", 3000),
        ("hip", 70),
        ("knee", 70),
        ("unknown", 9000),
    ]
    assert [len(shelf.examples) for shelf in made] == [MANY] * 4


def test_many_locations_show_fewer_slices_each():
    names = [f"place{n}" for n in range(MANY_LOCATIONS + 1)]
    made = shelves(records(20 * len(names), location=names), {})
    assert [len(shelf.examples) for shelf in made] == [FEW] * len(names)


def test_an_example_is_told_by_sequence_plane_and_vendor():
    sample = records(1, sequence=["T2star"], plane=["axial"], vendor=["unknown"])
    ((picture, caption),) = shelves(sample, {})[0].examples
    assert caption == "T2*, axial, vendor unknown"
    assert picture.shape == sample[0].pixels.shape
    assert (picture.min(), picture.max()) == (0, 1)


def test_locations_without_an_example_are_told():
    assert unseen(records(4, location=["hip"]), {"hip": 4, "upper_arm": 1200, "foot": 1}) == [
        "foot (1)",
        "upper arm (1,200)",
    ]


def test_sizes_are_counted_by_rows_and_columns():
    pixels = [np.arange(6, dtype=np.uint16).reshape(2, 3), np.zeros((3, 2), np.uint16)]
    bars = matrix_bars(records(6, pixels=[pixels[0], pixels[0], pixels[1]]))
    assert [(bar.name, bar.value) for bar in bars] == [(f"2 {TIMES} 3", "4"), (f"3 {TIMES} 2", "2")]


@pytest.mark.numerics
@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 255, 8), (100, 355, 8), (0, 256, 9), (-32768, 32767, 16), (-1, 0, 1), (0, 65535, 16), (7, 7, 0)],
)
def test_a_range_needs_so_many_bits(low, high, bits):
    pixels = np.array([[low, high]], np.int16 if low < 0 else np.uint16)
    assert [bar.name for bar in depth_bars(records(2, pixels=[pixels]))] == [f"{bits} bits"]


def test_bits_that_no_slice_needs_are_shown_between_those_that_one_does():
    pixels = [np.array([[0, top]], np.uint16) for top in (255, 4095)]
    bars = depth_bars(records(4, pixels=pixels))
    assert [bar.name for bar in bars] == ["8 bits", "9 bits", "10 bits", "11 bits", "12 bits"]
    assert [bar.value for bar in bars] == ["2", "0", "0", "0", "2"]
    assert depth_bars([]) == []


@pytest.mark.numerics
def test_quantities_are_percentiles_of_what_is_known():
    times = [float(n) for n in range(101)] + [float("nan")] * 101
    found = {one.name: one for one in quantities(records(202, echo_time=times, b_value=[float("nan")]))}
    echo, b_value = found["echo time"], found["b-value"]
    assert (echo.low, echo.median, echo.high, echo.unknown) == ("5", "50", "95", "50%")
    assert (b_value.low, b_value.median, b_value.high, b_value.unknown) == ("", "", "", "100%")
