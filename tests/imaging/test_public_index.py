"""Body locations at the scale of the paper: real headers of 128,143 public MR series, without pixels."""

from collections import Counter
from dataclasses import replace

import pytest
from dicom_files import mr_header

from mricore.imaging.anatomy import FACE_BEARING, locate

pytestmark = pytest.mark.real_data
INDEX = "metadata/idc_mr_series_v25.parquet"
COLUMNS = ["collection_id", "BodyPartExamined", "StudyDescription", "SeriesDescription"]


@pytest.fixture(scope="module")
def locations(real_data):
    """Number of series by location, for each collection."""
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(real_data / INDEX, columns=COLUMNS)
    rows = Counter(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))
    plain = mr_header(SeriesDescription=None, BodyPartExamined=None)
    found = {}
    for (collection, part, study, series), count in rows.items():
        header = replace(
            plain, body_part=part or "", study_description=study or "", series_description=series or ""
        )
        found.setdefault(collection, Counter())[locate(header).value] += count
    return found


@pytest.mark.parametrize(
    "collection",
    ["upenn_gbm", "remind", "vestibular_schwannoma_seg", "vestibular_schwannoma_mc_rc", "icdc_glioma"],
)
def test_no_series_of_a_brain_collection_would_enter_a_dataset(locations, collection):
    assert locations[collection].total() > 400
    assert set(locations[collection]) <= FACE_BEARING | {"unknown"}


@pytest.mark.parametrize(
    ("collection", "places", "share"),
    [
        ("prostate_mri_us_biopsy", ("prostate", "pelvis"), 0.98),
        ("ispy1", ("breast",), 0.99),
        ("ea1141", ("breast",), 0.95),
    ],
)
def test_collections_of_other_anatomy_are_recognised_and_not_taken_for_faces(
    locations, collection, places, share
):
    found = locations[collection]
    assert found.total() > 1000
    assert sum(found[place] for place in places) >= share * found.total()
    assert sum(found[place] for place in FACE_BEARING) <= 0.002 * found.total()
