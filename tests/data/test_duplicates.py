"""Duplicates: repeated volumes, and near-duplicate slices as a plain comparison of all pairs finds them."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from mricore.data import duplicates
from mricore.data.duplicates import DuplicateFinder, FingerprintedSlice, NearDuplicate
from mricore.imaging.fingerprints import distance


def random_fingerprint(rng):
    return np.packbits(rng.random(256) < 0.4).tobytes()


def flipped(fingerprint, bits):
    found = np.unpackbits(np.frombuffer(fingerprint, np.uint8))
    found[bits] ^= 1
    return np.packbits(found).tobytes()


def one_slice(slice_id, fingerprint, volume="v", series="s", patient="p", digest=None):
    digest = slice_id.encode().rjust(16, b".") if digest is None else digest
    return FingerprintedSlice(slice_id, volume, series, patient, fingerprint, digest)


def volume(name, digests, rng, patient="p"):
    """A volume whose slices hold what ``digests`` tell."""
    return [
        one_slice(f"{name} {k}", random_fingerprint(rng), name, name, patient, bytes([digest]) * 16)
        for k, digest in enumerate(digests)
    ]


def look_alikes(count, clusters, rng, most_flips=13):
    """Slices around a few fingerprints, at distances from 0 to ``most_flips``, in random series."""
    centers = [random_fingerprint(rng) for _ in range(clusters)]
    return [
        one_slice(
            f"{number:05d}",
            flipped(centers[rng.integers(clusters)], rng.permutation(256)[: rng.integers(most_flips + 1)]),
            volume=f"v{number % 11}",
            series=f"s{number % 11}",
            patient=f"p{number % 11 // 3}",
        )
        for number in rng.permutation(count)
    ]


def near_duplicates(*rounds):
    with closing(DuplicateFinder()) as finder:
        for number, slices in enumerate(rounds):
            finder.add(slices, number)
        return list(finder.near_duplicates())


def repeated_volumes(*rounds):
    with closing(DuplicateFinder()) as finder:
        for number, slices in enumerate(rounds):
            finder.add(slices, number)
        return dict(finder.repeated_volumes())


def compared_with_all(slices):
    """Each slice against every representative before it."""
    representatives, found = [], []
    for one in sorted(slices, key=lambda one: one.slice_id):
        known = [(distance(one.fingerprint, other.fingerprint), k) for k, other in enumerate(representatives)]
        apart, nearest = min(known, default=(256, 0))
        if apart > 7:
            representatives.append(one)
            continue
        other = representatives[nearest]
        relation = "series" if other.series_id == one.series_id else "elsewhere"
        if relation == "elsewhere" and other.patient_id == one.patient_id:
            relation = "patient"
        found.append(NearDuplicate(one.slice_id, other.slice_id, apart, relation))
    return found


@pytest.mark.parametrize("clusters", [1, 10, 200])
def test_near_duplicates_are_those_of_a_comparison_with_all(clusters):
    slices = look_alikes(600, clusters, np.random.default_rng(clusters))
    expected = compared_with_all(slices)
    assert near_duplicates(slices) == expected
    assert {one.relation for one in expected} == {"series", "patient", "elsewhere"}
    assert {one.distance for one in expected} == set(range(8))


@pytest.mark.parametrize("bits", [[], [0], range(7), range(0, 224, 32), range(63, 256, 32)])
def test_up_to_7_bits_anywhere_are_a_near_duplicate(bits):
    first = random_fingerprint(np.random.default_rng(0))
    slices = [one_slice("a", first), one_slice("b", flipped(first, list(bits)))]
    assert near_duplicates(slices) == [NearDuplicate("b", "a", len(bits), "series")]


@pytest.mark.parametrize("bits", [range(8), range(0, 256, 32)])
def test_8_bits_are_not(bits):
    first = random_fingerprint(np.random.default_rng(0))
    assert not near_duplicates([one_slice("a", first), one_slice("b", flipped(first, list(bits)))])


def test_the_nearest_representative_counts():
    first = random_fingerprint(np.random.default_rng(0))
    slices = [
        one_slice("a", first),
        one_slice("b", flipped(first, range(10))),
        one_slice("c", flipped(first, range(7))),
    ]
    assert near_duplicates(slices) == [NearDuplicate("c", "b", 3, "series")]


@pytest.mark.parametrize("seed", range(4))
def test_the_order_and_the_portions_of_feeding_do_not_matter(seed):
    rng = np.random.default_rng(0)
    slices = look_alikes(300, 20, rng)
    slices += [replace(one, slice_id=f"x{one.slice_id}", volume_id="copy") for one in slices[::11]]
    expected = near_duplicates(slices), repeated_volumes(slices)
    shuffled = [slices[k] for k in np.random.default_rng(seed).permutation(len(slices))]
    with closing(DuplicateFinder()) as finder:
        for start in range(0, len(shuffled), 37):
            finder.add(iter(shuffled[start : start + 37]))
        assert (list(finder.near_duplicates()), dict(finder.repeated_volumes())) == expected
        assert (list(finder.near_duplicates()), dict(finder.repeated_volumes())) == expected


def test_a_slice_of_an_earlier_round_comes_first_whatever_its_name():
    first = random_fingerprint(np.random.default_rng(0))
    old, new = [one_slice("z", first, "old")], [one_slice("a", flipped(first, [5]), "new")]
    assert near_duplicates(old, new) == [NearDuplicate("a", "z", 1, "series")]
    assert near_duplicates([*old, *new]) == [NearDuplicate("z", "a", 1, "series")]


def test_slices_with_nothing_to_see_are_neither_duplicates_nor_representatives():
    blank, faint = bytes(32), flipped(bytes(32), range(0, 40, 2))
    assert not near_duplicates([one_slice(f"{k}", one) for k, one in enumerate([blank, blank, faint, faint])])


def test_a_volume_with_the_slices_of_another_is_a_repeat_of_the_first():
    rng = np.random.default_rng(0)
    slices = [
        *volume("c", [1, 2, 3], rng),
        *volume("a", [1, 2, 3], rng, patient="q"),
        *volume("b", [3, 2, 1], rng),
        *volume("fewer", [1, 2], rng),
        *volume("more", [1, 2, 3, 3], rng),
        *volume("other", [1, 2, 4], rng),
    ]
    assert repeated_volumes(slices) == {"b": "a", "c": "a"}


def test_a_volume_of_an_earlier_round_is_never_the_repeat():
    rng = np.random.default_rng(0)
    old, new = volume("z", [1, 2], rng), volume("a", [1, 2], rng)
    assert repeated_volumes(old, new) == {"a": "z"}


def test_slices_of_repeated_volumes_are_neither_duplicates_nor_representatives():
    rng = np.random.default_rng(0)
    kept, repeat = volume("b", [1, 2], rng), volume("c", [1, 2], rng)
    third = one_slice("d", repeat[0].fingerprint, "d")
    alike = [replace(repeat[1], fingerprint=kept[1].fingerprint)]
    assert not near_duplicates([*kept, repeat[0], *alike, third])


def test_a_thousand_look_alikes_are_compared_with_one_representative_each(monkeypatch):
    first = random_fingerprint(np.random.default_rng(0))
    slices = [one_slice(f"{k:04d}", flipped(first, [k % 256])) for k in range(1000)]
    compared = []
    monkeypatch.setattr(duplicates, "distance", lambda *both: compared.append(both) or distance(*both))
    assert len(near_duplicates(slices)) == 999
    assert len(compared) == 999


def test_the_databases_have_no_file_with_a_name():
    with closing(DuplicateFinder()) as finder:
        ((_, _, path),) = finder._database.execute("PRAGMA database_list")
    assert path == ""
