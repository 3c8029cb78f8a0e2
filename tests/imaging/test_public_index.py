"""Derived categories at the scale of the paper: real headers of 128,143 public MR series, without pixels.

The index holds body parts, descriptions, makers and models, but neither ImageType nor times: what is found
here rests on words alone.
"""

from collections import Counter
from dataclasses import dataclass, replace

import pytest
from dicom_files import mr_header

from mricore.config.curation import Curation
from mricore.imaging.anatomy import FACE_BEARING, locate
from mricore.imaging.exclusions import frame_reason
from mricore.imaging.sequences import sequence_type, vendor
from mricore.records import Reason

pytestmark = pytest.mark.real_data
INDEX = "metadata/idc_mr_series_v25.parquet"
TEXTS = {
    "body_part": "BodyPartExamined",
    "study_description": "StudyDescription",
    "series_description": "SeriesDescription",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
}
"""Columns of the index by the field of the header that they fill."""


@dataclass(frozen=True)
class Series:
    """What is derived from a series, beside the texts that a test asks for."""

    collection: str
    name: str
    model: str
    location: str
    sequence: str
    vendor: str
    reason: Reason | None


@pytest.fixture(scope="module")
def index(real_data):
    """Number of series by what is derived from them."""
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = ["collection_id", *TEXTS.values()]
    table = parquet.read_table(real_data / INDEX, columns=columns)
    rows = Counter(zip(*(table[name].to_pylist() for name in columns), strict=True))
    blank = replace(mr_header(), protocol_name="", image_type=())
    timeless = replace(blank, scanning_sequence=(), echo_time=float("nan"), repetition_time=float("nan"))
    found = Counter()
    for (collection, *texts), count in rows.items():
        header = replace(timeless, **{field: text or "" for field, text in zip(TEXTS, texts, strict=True)})
        found[judged(collection, header)] += count
    return found


def judged(collection, header):
    return Series(
        collection,
        header.series_description,
        header.model,
        locate(header).value,
        sequence_type(header).value,
        vendor(header).value,
        frame_reason(header, Curation()),
    )


def count(index, key, wanted):
    """Number of the wanted series by a key."""
    counts = Counter()
    for series, number in index.items():
        if wanted(series):
            counts[key(series)] += number
    return counts


def locations(index, collection):
    return count(index, lambda series: series.location, lambda series: series.collection == collection)


@pytest.mark.parametrize(
    "collection",
    [
        *("upenn_gbm", "remind", "vestibular_schwannoma_seg", "vestibular_schwannoma_mc_rc", "icdc_glioma"),
        *("gbm_dsc_mri_dro", "mouse_astrocytoma"),
    ],
)
def test_no_series_of_a_brain_collection_would_enter_a_dataset(index, collection):
    found = locations(index, collection)
    assert found.total() > 200
    assert set(found) <= FACE_BEARING | {"unknown"}


@pytest.mark.parametrize(
    ("collection", "places", "share"),
    [
        ("prostatex", ("prostate",), 1.0),
        ("prostate_mri_us_biopsy", ("prostate",), 0.9),
        ("prostate_mri_us_biopsy", ("prostate", "pelvis"), 0.98),
        ("ispy1", ("breast",), 0.99),
        ("ispy2", ("breast",), 0.99),
        ("ea1141", ("breast",), 0.98),
        ("acrin_contralateral_breast_mr", ("breast",), 0.99),
        ("tcga_lihc", ("abdomen",), 0.98),
        ("cc_tumor_heterogeneity", ("pelvis",), 1.0),
    ],
)
def test_collections_of_other_anatomy_are_recognised_and_not_taken_for_faces(
    index, collection, places, share
):
    found = locations(index, collection)
    assert found.total() > 500
    assert sum(found[place] for place in places) >= share * found.total()
    assert sum(found[place] for place in FACE_BEARING) <= 0.002 * found.total()


LOCATIONS = {
    "breast": 85097,
    "prostate": 22464,
    "abdomen": 6278,
    "brain": 3178,
    "pelvis": 3007,
    "head": 2591,
    "unknown": 1799,
    "thigh": 1162,
    "thoracic_spine": 797,
    "lower_leg": 387,
    "lumbar_spine": 294,
    "cervical_spine": 288,
    "extremity": 208,
    "shoulder": 181,
    "chest": 104,
    "knee": 93,
    "elbow": 72,
    "whole_body": 54,
    "hip": 33,
    "neck": 15,
    "hand": 13,
    "upper_arm": 11,
    "forearm": 8,
    "ankle": 6,
    "face": 3,
}


def test_locations_of_all_series(index):
    """A rule for a word may move thousands of series: this table shows in review which, and where to.

    Change it together with the rule, after reading the descriptions that moved.
    """
    assert count(index, lambda series: series.location, lambda series: True) == LOCATIONS


@pytest.mark.parametrize(
    ("collection", "share"),
    [
        ("prostate_3t", {"T2": 1.0}),
        ("qin_breast_dce_mri", {"DCE": 1.0}),
        ("qin_sarcoma", {"DCE": 0.8, "T1": 0.15}),
        ("duke_breast_cancer_mri", {"DCE": 0.8, "T1": 0.15}),
        ("remind", {"T1": 0.31, "T2": 0.43, "FLAIR": 0.24}),
    ],
)
def test_a_collection_of_known_protocols_has_their_sequences(index, collection, share):
    """Shares as the collections' papers and names have them; remind names its series by a fixed scheme."""
    found = count(index, lambda series: series.sequence, lambda series: series.collection == collection)
    assert found.total() >= 64
    for sequence, least in share.items():
        assert least * found.total() <= found[sequence]
    assert found.total() * 0.98 <= sum(found[sequence] for sequence in share)


def test_every_acquisition_of_a_diffusion_trial_is_diffusion(index):
    found = count(
        index,
        lambda series: series.sequence,
        lambda series: series.name.startswith("ACRIN-6698:") and series.reason is None,
    )
    assert set(found) == {"DWI"}
    assert found.total() > 1800


def test_the_names_of_nine_in_ten_acquisitions_tell_their_sequence(index):
    found = count(index, lambda series: series.sequence, lambda series: series.reason is None)
    assert found["unknown"] <= 0.1 * found.total()


def test_reference_slices_and_computed_series_are_found(index):
    found = count(index, lambda series: series.reason, lambda series: True)
    assert found.total() == 128_143
    assert set(found) == {None, Reason.LOCALIZER, Reason.DERIVED, Reason.SCREENSHOT, Reason.PHANTOM}
    assert 7_200 <= found[Reason.LOCALIZER] <= 7_500
    assert 31_000 <= found[Reason.DERIVED] <= 32_500


def test_whatever_a_workstation_made_is_left_out(index):
    found = count(index, lambda series: series.reason, lambda series: "CADstream" in series.model)
    assert found.total() > 500
    assert None not in found


@pytest.mark.parametrize(
    "collection",
    ["duke_breast_cancer_mri", "qin_breast_dce_mri", "qin_sarcoma", "remind", "prostate_3t", "qin_breast"],
)
def test_no_acquisition_of_a_collection_without_computed_series_is_lost(index, collection):
    found = count(index, lambda series: series.reason, lambda series: series.collection == collection)
    assert found.total() >= 64
    assert set(found) == {None}


def test_the_maker_of_what_a_scanner_made_is_known(index):
    """Where curators or reconstruction left neither maker nor model, nobody can tell."""
    named = count(index, lambda series: series.vendor, lambda series: series.reason is None)
    assert named["unknown"] <= 0.01 * named.total()
    assert min(named[vendor] for vendor in ("siemens", "ge", "philips", "canon")) > 250
