"""Volumes: what splits a series, what makes a stack unusable, and that the order of files is irrelevant."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from dicom_files import CORONAL
from frame_records import frame

from mricore.config.curation import Curation
from mricore.imaging.volumes import build_volumes
from mricore.records import Reason

POLICY = Curation()


def images(positions, series="1", first=1, **changes):
    """Images of a stack along z, one per position, numbered from ``first``."""
    return [
        frame(
            file=first + k,
            slice_id=f"{series}.{first + k:04d}",
            series_id=series,
            instance_number=first + k,
            **{"position": (0.0, 0.0, float(z)), **changes},
        )
        for k, z in enumerate(positions)
    ]


def positions_of(volume):
    return [frame.position[2] for frame in volume.frames]


def shapes_of(headers, policy=POLICY):
    volumes, tally = build_volumes(headers, policy)
    assert not tally
    return [len(volume.frames) for volume in volumes]


def test_a_plain_stack_is_one_volume_sorted_along_its_normal():
    volumes, tally = build_volumes(images([12, 0, 8, 4, 16]), POLICY)
    assert not tally
    assert [positions_of(volume) for volume in volumes] == [[0, 4, 8, 12, 16]]
    assert volumes[0].spacing_slice == 4


def test_the_distance_counts_along_the_normal_of_an_oblique_stack():
    tilt = math.radians(20)
    axes = (1.0, 0.0, 0.0, 0.0, math.cos(tilt), math.sin(tilt))
    normal = np.cross(axes[:3], axes[3:])
    stack = [
        replace(one, orientation=axes, position=tuple(3 * k * normal))
        for k, one in enumerate(images(range(6)))
    ]
    volumes, tally = build_volumes(stack, POLICY)
    assert not tally
    assert volumes[0].spacing_slice == pytest.approx(3)


def test_two_series_are_two_volumes():
    assert shapes_of(images(range(5), "1") + images(range(6), "2")) == [5, 6]


SPLITS = {
    "echo times": ({"echo_time": 12.0}, {"echo_time": 36.0}),
    "echo numbers": ({"echo_number": 1}, {"echo_number": 2}),
    "b-values": ({"b_value": 0.0}, {"b_value": 800.0}),
    "a missing b-value": ({"b_value": math.nan}, {"b_value": 800.0}),
    "temporal passes": ({"temporal_position": 1}, {"temporal_position": 2}),
    "pixel spacings": ({"spacing": (0.5, 0.5)}, {"spacing": (0.6, 0.5)}),
    "matrices": ({"rows": 64}, {"rows": 80}),
    "components": ({"component": "W"}, {"component": "F"}),
    "stacks": ({"stack": "1"}, {"stack": "2"}),
}


@pytest.mark.parametrize("case", SPLITS)
def test_what_differs_in_contrast_is_parted(case):
    one, other = SPLITS[case]
    headers = images(range(5), **one) + images(range(5), first=6, **other)
    volumes, tally = build_volumes(headers, POLICY)
    assert not tally
    assert len(volumes) == 2
    for volume, changes in zip(volumes, SPLITS[case], strict=True):
        name, value = next(iter(changes.items()))
        found = {str(getattr(frame, name)) for frame in volume.frames}
        assert found == {str(value)}
        assert positions_of(volume) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("case", SPLITS)
def test_what_differs_in_contrast_is_parted_though_its_images_were_numbered_in_turns(case):
    """Else the order of acquisition alone would tell the two volumes apart."""
    headers = []
    for side, changes in enumerate(SPLITS[case]):
        stack = images(range(5), first=6 * side + 1, **changes)
        headers += [replace(one, instance_number=2 * k + (k + side) % 2) for k, one in enumerate(stack)]
    volumes, tally = build_volumes(headers, POLICY)
    assert not tally
    name = next(iter(SPLITS[case][0]))
    assert [len({str(getattr(one, name)) for one in volume.frames}) for volume in volumes] == [1, 1]
    assert [positions_of(volume) for volume in volumes] == [[0, 1, 2, 3, 4]] * 2


def test_orientations_are_parted():
    coronal = [
        replace(one, orientation=tuple(map(float, CORONAL)), position=(0.0, 4.0 * k, 0.0))
        for k, one in enumerate(images(range(6), first=6))
    ]
    assert sorted(shapes_of(images(range(5)) + coronal)) == [5, 6]


def test_a_multi_echo_series_gives_one_volume_per_echo():
    headers = [one for e in range(8) for one in images(range(6), first=6 * e + 1, echo_time=10.0 * (e + 1))]
    volumes, tally = build_volumes(headers, POLICY)
    assert not tally
    assert [volume.frames[0].echo_time for volume in volumes] == [10.0 * (e + 1) for e in range(8)]
    assert [len(volume.frames) for volume in volumes] == [6] * 8


def test_echo_times_that_hardly_differ_are_parted_all_the_same():
    assert shapes_of(images(range(5), echo_time=2.3) + images(range(5), first=6, echo_time=2.46)) == [5, 5]


def test_temporal_positions_part_even_against_the_order_of_acquisition():
    forth = images(range(5), temporal_position=1)
    back = [replace(one, instance_number=6 - k) for k, one in enumerate(images(range(5), first=6))]
    back = [replace(one, temporal_position=2) for one in back]
    volumes, tally = build_volumes(forth + back, POLICY)
    assert not tally
    assert [{frame.temporal_position for frame in volume.frames} for volume in volumes] == [{1}, {2}]


def test_what_an_export_rounds_is_not_parted():
    stack = images(range(6))
    rounded = [
        replace(
            one,
            orientation=(1.0, 1e-4 * (k % 2), 0.0, 0.0, 1.0, 0.0),
            echo_time=10.0 + 0.01 * (k % 3),
            spacing=(0.5 + 1e-5 * (k % 2), 0.5),
            b_value=800.0 + 0.4 * (k % 2),
        )
        for k, one in enumerate(stack)
    ]
    assert shapes_of(rounded) == [6]


def test_repeats_without_a_label_become_passes_in_acquisition_order():
    headers = [one for p in range(3) for one in images(range(5), first=5 * p + 1)]
    volumes, tally = build_volumes(headers[::-1], POLICY)
    assert not tally
    numbers = [[frame.instance_number for frame in volume.frames] for volume in volumes]
    assert numbers == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14, 15]]


def test_the_acquisition_number_comes_before_the_instance_number():
    first = images(range(5), first=101, acquisition_number=1)
    second = images(range(5), first=1, acquisition_number=2)
    volumes, _ = build_volumes(second + first, POLICY)
    assert [{frame.acquisition_number for frame in volume.frames} for volume in volumes] == [{1}, {2}]


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        ([0, 1, 2, 3, 5, 6], Reason.GAP),
        ([0, 1, 2, 3, 4, 5.2], Reason.GAP),
        ([0, 1, 2, 3], Reason.TOO_FEW_SLICES),
        ([0], Reason.TOO_FEW_SLICES),
        ([0, 1, 5], Reason.TOO_FEW_SLICES),
    ],
)
def test_a_stack_that_is_not_continuous_is_left_out_as_a_whole(positions, reason):
    volumes, tally = build_volumes(images(positions), POLICY)
    assert not volumes
    assert tally == Counter({("volume", reason): 1})


@pytest.mark.parametrize("again", [4, 4.005])
def test_a_slice_that_was_scanned_again_does_not_cost_its_volume(again):
    volumes, tally = build_volumes(images([0, 1, 2, 3, 4, again]), POLICY)
    assert [[frame.instance_number for frame in volume.frames] for volume in volumes] == [[1, 2, 3, 4, 5]]
    assert tally == Counter({("volume", Reason.DUPLICATE_POSITION): 1})


def dynamic(passes, slices=6, **numbers):
    """Images of repeated scans, one pass after the other; the k-th argument of ``numbers`` counts from 0."""
    return [
        replace(one, **{name: value(p, k) for name, value in numbers.items()})
        for p in range(passes)
        for k, one in enumerate(images(range(slices), first=slices * p + 1))
    ]


def test_an_aborted_pass_is_left_out_and_the_whole_ones_are_kept():
    volumes, tally = build_volumes(dynamic(4)[:-2], POLICY)
    numbers = [[frame.instance_number for frame in volume.frames] for volume in volumes]
    assert numbers == [list(range(6 * p + 1, 6 * p + 7)) for p in range(3)]
    assert tally == Counter({("volume", Reason.DUPLICATE_POSITION): 1})


def test_acquisition_numbers_tell_passes_apart_where_one_lacks_a_slice():
    stack = dynamic(4, acquisition_number=lambda p, _: p)
    volumes, tally = build_volumes(stack[:8] + stack[9:], POLICY)
    assert [{frame.acquisition_number for frame in volume.frames} for volume in volumes] == [{0}, {2}, {3}]
    assert tally == Counter({("volume", Reason.DUPLICATE_POSITION): 1})


def test_passes_that_nothing_tells_apart_are_left_out():
    """Scanned position by position, one image is missing: its successor would slip into the wrong pass."""
    stack = dynamic(4, instance_number=lambda p, k: 10 * k + p)
    volumes, tally = build_volumes(stack[:8] + stack[9:], POLICY)
    assert not volumes
    assert tally == Counter({("volume", Reason.DUPLICATE_POSITION): 1})


def test_trigger_times_order_the_phases_of_a_cine():
    stack = dynamic(3, instance_number=lambda _, k: k, trigger_time=lambda p, _: 40.0 * p)
    volumes, tally = build_volumes(stack[::-1], POLICY)
    assert not tally
    assert [{frame.trigger_time for frame in volume.frames} for volume in volumes] == [{0}, {40}, {80}]


def test_blocks_far_apart_are_volumes_of_their_own():
    """Two breasts in one sagittal series."""
    both = images([*range(0, 30, 5), *range(100, 130, 5)])
    assert shapes_of(both) == [6, 6]


@pytest.mark.parametrize("places", [[0, 5, 10, 15, 20, 25, 35, 40], [0, 5, 10, 15, 20, 25, 100, 105]])
def test_a_missing_slice_and_a_crumb_far_away_are_gaps(places):
    volumes, tally = build_volumes(images(places), POLICY)
    assert not volumes
    assert tally == Counter({("volume", Reason.GAP): 1})


@pytest.mark.parametrize("name", ["flip_angle", "echo_time", "inversion_time", "temporal_position"])
def test_what_changes_from_slice_to_slice_does_not_part_a_volume(name):
    """Ramped flip angles; scanners that count slices as time points."""
    stack = [replace(one, **{name: 10 + 5 * k}) for k, one in enumerate(images(range(6)))]
    assert shapes_of(stack) == [6]


def test_a_flaw_is_counted_once_per_volume():
    twice = images([0, 1, 2, 3, 9], "1") + images([0, 1, 2, 3, 9], "1", first=6)
    volumes, tally = build_volumes(twice, POLICY)
    assert not volumes
    assert tally == Counter({("volume", Reason.GAP): 2})


def test_small_jitter_and_the_policy_s_limits_are_obeyed():
    assert shapes_of(images([0, 1, 2.05, 3, 4])) == [5]
    assert shapes_of(images([0, 1, 2, 3, 5, 6]), Curation(spacing_tolerance=1.0)) == [6]
    assert shapes_of(images([0, 1]), Curation(min_slices=2)) == [2]


def test_one_slice_has_no_spacing():
    volumes, tally = build_volumes(images([7]), Curation(min_slices=1))
    assert not tally
    assert math.isnan(volumes[0].spacing_slice)


def test_a_flawed_stack_does_not_take_others_with_it():
    headers = images([0, 1, 2, 3, 9], "1") + images(range(5), "2")
    volumes, tally = build_volumes(headers, POLICY)
    assert [volume.frames[0].series_id for volume in volumes] == ["2"]
    assert tally == Counter({("volume", Reason.GAP): 1})


@pytest.mark.parametrize(
    ("attribute", "first", "second"),
    [("flip_angle", 5.0, 15.0), ("inversion_time", 100.0, 800.0), ("b_value", math.nan, 0.0)],
)
def test_a_series_is_split_by_physics_whatever_the_order_of_acquisition(attribute, first, second):
    """First and second contrast change places from slice to slice."""
    values = [first, second, second, first] * 3
    stack = [
        replace(one, position=(0.0, 0.0, float(k // 2)), **{attribute: values[k]})
        for k, one in enumerate(images(range(12)))
    ]
    volumes, tally = build_volumes(stack, POLICY)
    assert not tally
    found = [{str(getattr(frame, attribute)) for frame in volume.frames} for volume in volumes]
    assert sorted(found, key=str) == sorted([{str(first)}, {str(second)}], key=str)


def test_left_and_right_stacks_are_two_volumes():
    left = [replace(one, position=(-100.0, 0.0, 2.0 * k)) for k, one in enumerate(images(range(5)))]
    right = [
        replace(one, position=(100.0, 0.0, 2.0 * k + 1)) for k, one in enumerate(images(range(5), first=6))
    ]
    volumes, tally = build_volumes(left + right, POLICY)
    assert not tally
    assert [{frame.position[0] for frame in volume.frames} for volume in volumes] == [{-100.0}, {100.0}]


def test_repeats_without_numbers_of_acquisition_cannot_be_told_apart():
    """Their UIDs sort as text, which is no order of time."""
    stack = [replace(one, instance_number=None) for one in images(list(range(5)) * 3)]
    volumes, tally = build_volumes(stack, POLICY)
    assert not volumes
    assert tally == Counter({("volume", Reason.DUPLICATE_POSITION): 1})


def test_copies_of_an_image_are_counted_and_kept_as_spares():
    """The first one may turn out to be damaged."""
    stack = images(range(5))
    copies = [replace(one, file=100 + k) for k, one in enumerate(stack[:2])] + [replace(stack[0], file=0)]
    volumes, tally = build_volumes(copies + stack, POLICY)
    assert tally == Counter({("image", Reason.DUPLICATE_IMAGE): 3})
    files = [[one.file for one in copies] for copies in volumes[0].slices]
    assert files == [[0, 1, 100], [2, 101], [3], [4], [5]]


def test_the_order_of_files_makes_no_difference():
    rng = np.random.default_rng(0)
    headers = [
        *images(range(6), "1", echo_time=12.0),
        *images(range(6), "1", first=7, echo_time=12.04),
        *images(range(6), "1", first=13, echo_time=12.08),
        *images(range(5), "2"),
        *images(range(5), "2", first=6),
        *images(range(5), "3", b_value=0.0, temporal_position=1),
        *images(range(5), "3", first=6, b_value=800.0, temporal_position=1),
        *images([0, 1, 2, 3, 9], "4"),
        *images([0, 1, 2, 3, 4, 4], "5"),
        *images([0, 1], "6"),
        *[replace(one, file=one.file + 100) for one in images(range(5), "2")],
    ]
    expected = build_volumes(headers, POLICY)
    assert expected[0]
    assert set(expected[1]) == {
        ("image", Reason.DUPLICATE_IMAGE),
        ("volume", Reason.GAP),
        ("volume", Reason.DUPLICATE_POSITION),
        ("volume", Reason.TOO_FEW_SLICES),
    }
    for _ in range(20):
        assert build_volumes([headers[k] for k in rng.permutation(len(headers))], POLICY) == expected


@pytest.mark.parametrize(("extra", "kept"), [(0.09, 1), (0.11, 0)])
def test_a_gap_begins_at_a_tenth_of_the_distance(extra, kept):
    assert len(build_volumes(images([0, 1, 2, 3, 4 + extra]), POLICY)[0]) == kept


def test_the_defaults_are_the_paper_s_and_the_documented_ones():
    assert (POLICY.exams_per_protocol, POLICY.one_exam_per_patient) == (150, True)
    assert (POLICY.spacing_tolerance, POLICY.min_slices, POLICY.min_pixels) == (0.1, 5, 64)
