"""The index: headers of a chunk, de-identified and remembered."""

import io
import json

import pyarrow.parquet as pq
import pytest
from dicom_files import dataset, mr_bytes, to_bytes
from enhanced_files import enhanced, stack

from mricore.config.curation import Curation, Protocol
from mricore.data.audit import AUDIT, write_audit
from mricore.data.chunks import chunks
from mricore.data.index import IndexReader, index_chunk, index_path, reading_rules
from mricore.data.storage import StoredFile, place
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.records import Reason

KEY = b"k" * 32
PSEUDONYMS = Pseudonymizer(KEY)


@pytest.fixture
def places(tmp_path):
    (tmp_path / "in").mkdir()
    return place(str(tmp_path / "in")), place(str(tmp_path / "out"))


def write(source, **contents):
    for name, content in contents.items():
        source.write_bytes(name, content)


def indexed(places, policy=None, skipped=()):
    source, target = places
    policy = policy or Curation()
    (chunk,) = chunks(source.walk(), KEY, reading_rules(policy))
    return chunk, index_chunk(source, target, chunk, policy, PSEUDONYMS, frozenset(skipped))


def test_series_come_with_the_rows_and_files_of_their_usable_images(places):
    write(
        places[0],
        a=mr_bytes(SOPInstanceUID="1", SeriesInstanceUID="9"),
        b=mr_bytes(SOPInstanceUID="2", SeriesInstanceUID="8"),
        c=b"a letter",
        d=mr_bytes(SOPInstanceUID="3", SeriesInstanceUID="9"),
        e=mr_bytes(SOPInstanceUID="4", SeriesInstanceUID="9", ImageType=["DERIVED", "SECONDARY", "MIP"]),
    )
    chunk, found = indexed(places)
    assert [(piece.rows, piece.files) for piece in found.pieces] == [((0, 2), (0, 3)), ((1,), (1,))]
    assert found.rejected == {("file", Reason.NOT_DICOM): 1, ("image", Reason.DERIVED): 1}
    frames = IndexReader(places[1]).frames(chunk.key, [2, 0])
    assert [frame.file for frame in frames] == [3, 0]
    assert frames[0].series_id == frames[1].series_id == found.pieces[0].series.series_id
    assert frames[0].orientation == (1, 0, 0, 0, 1, 0)


def test_what_is_remembered_is_what_was_read(places, monkeypatch):
    write(places[0], a=mr_bytes(), b=b"a letter")
    _, first = indexed(places)

    def fail(*_):
        raise AssertionError("read again")

    monkeypatch.setattr("mricore.data.index.read_file", fail)
    assert indexed(places)[1] == first


@pytest.mark.parametrize(
    "policy",
    [
        Curation(min_pixels=32),
        Curation(exclude_words=("knee",)),
        Curation(protocols=(Protocol(name="k", any_of=("k",)),)),
    ],
    ids=["size", "words", "protocols"],
)
def test_other_rules_of_reading_read_anew(policy):
    assert reading_rules(policy) != reading_rules(Curation())
    assert reading_rules(Curation(seed=3, min_slices=9)) == reading_rules(Curation())


def test_a_file_that_kills_processes_is_unreadable(places):
    write(places[0], a=mr_bytes(), b=mr_bytes())
    _, found = indexed(places, skipped=[1])
    assert found.rejected == {("file", Reason.UNREADABLE_HEADER): 1}


def test_what_is_no_file_is_counted(places):
    write(places[0], a=mr_bytes())
    (chunk,) = chunks([*places[0].walk(), StoredFile("pipe", -1, 0)], KEY, "rules")
    found = index_chunk(*places, chunk, Curation(), PSEUDONYMS, frozenset())
    assert found.rejected == {("file", Reason.NOT_DICOM): 1}


def test_frames_without_a_place_are_counted_beside_those_that_have_one(places):
    image = enhanced(stack(4, 64, 64))
    del image.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence
    write(places[0], a=to_bytes(image))
    _, found = indexed(places)
    assert found.rejected == {("image", Reason.NO_GEOMETRY): 1}
    assert [piece.rows for piece in found.pieces] == [(0, 1, 2)]


def test_the_audit_counts_attributes_and_holds_no_value(places):
    image = dataset(PatientName="ZORBLATT", StudyDate="19471103")
    image.private_block(0x0099, "PRIVATESECRET", create=True).add_new(1, "LO", "PRIVATESECRET")
    write(places[0], a=to_bytes(image), b=mr_bytes(StudyDate=None), c=b"a letter")
    chunk, found = indexed(places)
    write_audit(places[1], 3, found.attributes)
    content = places[1].read_bytes(AUDIT)
    audit = json.loads(content)
    rows = {row["attribute"]: row for row in audit["removed"] + audit["used"]}
    assert (rows["PatientName"]["files"], rows["StudyDate"]["files"]) == (2, 1)
    assert rows["PatientName"]["treatment"] == "removed"
    assert rows["PatientName"]["tag"] == "(0010,0010)"
    assert rows["private attributes"]["files"] == 1
    assert rows["PatientID"]["treatment"] == "replaced by a keyed pseudonym"
    assert rows["EchoTime"]["treatment"] == "kept as a number of physics"
    index = places[1].read_bytes(index_path(chunk.key))
    everything = content + repr(pq.read_table(io.BytesIO(index)).to_pylist()).encode() + index
    for secret in (b"ZORBLATT", b"19471103", b"PRIVATESECRET"):
        assert secret not in everything
