"""The choice of exams at the scale of the paper: 128,143 real series of 16,970 exams, from headers alone."""

from dataclasses import replace

import numpy as np
import pytest
from dicom_files import mr_header

from mricore.config.policy import load_policy
from mricore.data.choice import Choice
from mricore.data.chunks import Chunk
from mricore.data.funnel import Funnel
from mricore.data.index import Piece
from mricore.data.scratch import Scratch
from mricore.data.storage import StoredFile
from mricore.imaging.deidentify import frame_of
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.imaging.selection import series_of

pytestmark = pytest.mark.real_data
INDEX = "metadata/idc_mr_series_v25.parquet"
PSEUDONYMS = Pseudonymizer(b"k" * 32)
FILE = StoredFile("file", 1, 1)


@pytest.fixture(scope="module")
def rows(real_data):
    """Rows of the index: one series each."""
    parquet = pytest.importorskip("pyarrow.parquet")
    return parquet.read_table(real_data / INDEX).to_pylist()


def piece_of(number, row, plain, policy):
    """What the first pass would find of a series, if all its images had the same header."""
    header = replace(
        plain,
        patient_key=row["PatientID"],
        study_uid=str(row["study_code"]),
        series_uid=str(number),
        body_part=row["BodyPartExamined"] or "",
        study_description=row["StudyDescription"] or "",
        series_description=row["SeriesDescription"] or "",
        manufacturer=row["Manufacturer"] or "",
        model=row["ManufacturerModelName"] or "",
    )
    (series,) = series_of([frame_of(header, 0, policy, PSEUDONYMS)])
    return Piece(replace(series, images=series.images * row["instanceCount"]), (0,), (0,))


def pieces_of(rows, policy):
    plain = mr_header(SeriesDescription=None, BodyPartExamined=None)
    return [piece_of(number, row, plain, policy) for number, row in enumerate(rows)]


def drawn(pieces, policy):
    """The series that would be taken up, with their protocols, the funnel's steps and its rejects."""
    scratch, funnel = Scratch(), Funnel()
    for first in range(0, len(pieces), 500):
        scratch.add(Chunk(str(first), (FILE,)), pieces[first : first + 500])
    choice = Choice(scratch, policy, PSEUDONYMS.order, None, ())
    choice.draw(funnel)
    series = [(wanted.found.series, wanted.protocol) for group in choice.groups() for wanted in group]
    scratch.close()
    return series, funnel.rows, funnel.reject_rows


@pytest.fixture(scope="module")
def body(rows):
    """The default policy, all series, and what is drawn of them."""
    policy = load_policy("body")
    pieces = pieces_of(rows, policy)
    return policy, pieces, drawn(pieces, policy)


def test_the_funnel_loses_no_series_without_a_reason(rows, body):
    _, _, (series, steps, rejects) = body
    names = [one.series_id for one, _ in series]
    readable, allowed, wanted, sampled = steps
    count = {(row["level"], row["reason"]): row["count"] for row in rejects}
    assert readable["exams"] <= 16_970
    by_anatomy = count["series", "facial_anatomy"] + count["series", "unknown_anatomy"]
    assert readable["series"] - allowed["series"] == by_anatomy
    assert wanted["exams"] - sampled["exams"] == sum(
        count["exam", reason] for reason in ("other_exam_of_patient", "over_protocol_limit")
    )
    assert len(names) == len(set(names)) == sampled["series"]
    assert 0 < sampled["series"] < wanted["series"] <= allowed["series"] < readable["series"] < len(rows)


def test_no_protocol_exceeds_its_limit_and_no_patient_gives_it_two_exams(body):
    policy, _, (chosen, _, _) = body
    exams, patients = {}, {}
    for series, protocol in chosen:
        exams.setdefault(protocol, set()).add(series.exam_id)
        patients.setdefault((protocol, series.patient_id), set()).add(series.exam_id)
    assert max(map(len, exams.values())) == policy.exams_per_protocol
    assert set(map(len, patients.values())) == {1}


def test_the_choice_does_not_depend_on_the_order_of_the_archive(body):
    policy, pieces, expected = body
    shuffled = [pieces[k] for k in np.random.default_rng(0).permutation(len(pieces))]
    assert drawn(shuffled, policy) == expected


def test_a_policy_of_named_protocols_takes_only_these(rows):
    policy = load_policy("musculoskeletal")
    pieces = pieces_of(rows[::8], policy)
    series, steps, rejects = drawn(pieces, policy)
    assert 0 < steps[-1]["protocols"] <= len(policy.protocols)
    assert any(row["reason"] == "protocol_not_wanted" for row in rejects)
    assert {protocol for _, protocol in series} <= {protocol.name for protocol in policy.protocols}
