"""The data card: complete, self-contained, and made of nothing but the manifest and the shards."""

import re
from dataclasses import replace

import numpy as np
import pytest
from html_pages import parsed
from records import slice_record, small_dataset

from mricore.config.curation import Curation, Protocol
from mricore.data.manifest import Round, read_manifest, write_manifest
from mricore.data.shards import write_shard
from mricore.data.storage import Place
from mricore.report.data_card import CARD, LOADING, byte_size, render_card, write_data_card

HEADINGS = (
    "What it looks like",
    "What is in it",
    "Sizes and settings of the scans",
    "What remained after each step",
    "What was left out, and why",
    "What repeats",
    "How it was de-identified",
    "How it was made",
    "How to use it",
    "Limits and duties",
)
POLICY = Curation(
    protocols=(Protocol(name="MR knee", any_of=("knee", "knie"), none_of=("knee replacement",)),)
)
FUNNEL = (
    {"step": "files found", "files": 12345},
    {"step": "drawn exams", "images": 900, "series": 30, "exams": 5, "patients": 4, "protocols": 1},
)
REJECTED = (
    {"level": "file", "reason": "not_mr", "count": 4321},
    {"level": "exam", "reason": "not_in_exam_table", "count": 17},
)


@pytest.fixture
def dataset(tmp_path):
    return Place(str(tmp_path / "secret-place"))


def full(dataset, **changes):
    """The manifest of a dataset of 60 slices with all that a manifest may say."""
    values = {
        "counts": {"slices": 60, "volumes": 8, "exams": 4, "patients": 3},
        "distributions": {
            "location": {"knee": 32, "spine": 28, "upper_arm": 7},
            "vendor": {"ge": 50, "unknown": 10},
        },
        "key_check": "abcdef0123456789",
        "repeats": {"near_duplicates_in_series": 1234, "repeated_volumes": 2},
        "rounds": (Round("f" * 64, 40, (), ()), Round("e" * 64, 20, FUNNEL, REJECTED)),
        "provenance": {"policy": POLICY.model_dump(mode="json"), "versions": {"mricore": "9.8.7"}},
    }
    manifest = replace(small_dataset(dataset, 60), **{**values, **changes})
    write_manifest(dataset, manifest)
    return manifest


def card_of(dataset, manifest):
    write_data_card(dataset, manifest)
    text = dataset.read_bytes(CARD).decode()
    return parsed(text), text


def test_a_card_has_every_section_and_loads_nothing(dataset):
    page, _ = card_of(dataset, full(dataset))
    for heading in HEADINGS:
        assert heading in page.words
    assert len(page.links) == len(HEADINGS)


@pytest.mark.parametrize(
    "told",
    [
        "Data card: 60 MR slices of 3 patients",
        "60 slices drawn by chance",
        "The draw had no slice of: upper arm (7)",
        "unknown of 10 of 60 slices (17%)",
        "files found 12,345",
        "the latest of 2 curations",
        "2 20",
        "not an MR image not_mr 4,321 Nothing; narrow the export if there are many.",
        "not in the table of exams not_in_exam_table 17",
        "near duplicates in series 1,234",
        "exams_per_protocol 150",
        "MR knee knee, knie knee replacement",
        "mricore 9.8.7",
        "audit.json",
    ],
)
def test_a_card_tells_what_the_manifest_knows(dataset, told):
    assert told in card_of(dataset, full(dataset))[0].words


def test_a_card_tells_which_dataset_it_is_of(dataset):
    manifest = full(dataset)
    assert manifest.digest in card_of(dataset, manifest)[0].words


def test_pictures_of_each_location_are_told_to_those_who_do_not_see_them(dataset):
    page, _ = card_of(dataset, full(dataset))
    told = [image["alt"] for image in page.images]
    assert told == ["MR slice: knee, T1, axial, Siemens"] * 6 + ["MR slice: spine, T1, axial, Siemens"] * 6


def test_a_card_is_the_same_from_memory_and_from_disk(dataset):
    manifest = full(dataset)
    _, first = card_of(dataset, manifest)
    _, second = card_of(dataset, read_manifest(dataset))
    assert first == second


def test_no_pseudonym_place_or_keyed_digest_gets_into_a_card(dataset):
    manifest = full(dataset)
    _, text = card_of(dataset, manifest)
    page = re.sub(r'src="[^"]*"', "", text)
    for secret in ("slice0", "volume0", "exam0", "patient0", "secret-place", "f" * 16, manifest.key_check):
        assert secret not in page


def test_what_is_missing_is_left_out(dataset):
    bare = full(dataset, shards=(), counts={}, distributions={}, repeats={}, rounds=(), provenance={})
    page = parsed(render_card(bare, []))
    for heading in HEADINGS[:6]:
        assert heading not in page.words
    assert page.images == []
    assert "Limits and duties" in page.words


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"generated_phantoms": True}, "Generated phantoms, not patients."),
        (
            {"provenance": {"policy": {"exclude_locations": ["face", "head", "whole_body"]}}},
            "does not leave out: brain, neck, cervical spine.",
        ),
        ({"provenance": {"policy": {"unknown_location": "include"}}}, "anatomy nothing tells"),
    ],
)
def test_what_a_reader_must_know_stands_before_the_title(dataset, changes, told):
    words = parsed(render_card(full(dataset, **changes), [])).words
    assert words.index(told) < words.rindex("Data card")
    assert told not in parsed(render_card(full(dataset), [])).words


def test_hostile_text_stays_text(dataset):
    bad = "<script>alert('x')</script>\"' </style>&{{ 7 * 7 }}"
    policy = POLICY.model_dump(mode="json") | {"exclude_words": [bad]}
    policy["protocols"] = [{"name": bad, "any_of": [bad], "none_of": [bad]}]
    sample = [slice_record(0, np.random.default_rng(0), location=bad, sequence=bad, plane=bad, vendor=bad)]
    manifest = full(
        dataset,
        distributions={bad: {bad: 3}, "location": {bad: 1}},
        repeats={bad: 1},
        rounds=(Round(bad, 1, ({"step": bad, "files": 1},), ({"level": bad, "reason": bad, "count": 1},)),),
        provenance={"policy": policy, "versions": {bad: bad}},
    )
    assert "7 * 7" in parsed(render_card(manifest, sample)).words


def test_a_card_of_many_locations_with_large_slices_stays_small(tmp_path):
    dataset, rng = Place(str(tmp_path)), np.random.default_rng(0)
    manifest = small_dataset(dataset, 8)
    records = [
        slice_record(
            n,
            rng,
            location=f"place{n % 27}",
            patient_id=f"p{n}",
            pixels=rng.integers(0, 4096, (384, 384)).astype(np.uint16),
        )
        for n in range(108)
    ]
    shard = write_shard(dataset, "shards/000009.parquet", records, 32)
    page, _ = card_of(dataset, replace(manifest, shards=(shard,)))  # noise is the worst case of a PNG
    assert len(page.images) == 81


def test_the_lines_that_load_a_dataset_work(dataset):
    full(dataset)
    names = {}
    exec(LOADING.replace("/path/to/this/folder", dataset.uri), names)  # noqa: S102 - our own two lines
    assert len(names["slices"]) == 60


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_600, "1 MB"),
        (44_512_345, "44.5 MB"),
        (999_499_999_999, "999 GB"),
        (3_210_000_000_000, "3.21 TB"),
    ],
)
def test_sizes_are_written_for_people(count, told):
    assert byte_size(count) == told
