"""What curation knows of all files: grouped by exam and series whatever the order of the archive."""

import numpy as np
import pytest
from frame_records import frame

from mricore.data.chunks import Chunk
from mricore.data.index import Piece
from mricore.data.scratch import Scratch
from mricore.data.storage import StoredFile
from mricore.errors import UserError
from mricore.imaging.selection import series_of


def chunk_of(key, names):
    return Chunk(key, tuple(StoredFile(name, 1, 1) for name in names))


def piece(series, exam, files, location="knee"):
    frames = [frame(series_id=series, exam_id=exam, study_key=exam, location=location) for _ in files]
    return Piece(series_of(frames)[0], tuple(range(len(files))), tuple(files))


def test_the_parts_of_a_series_come_together_in_the_order_of_the_listing():
    scratch = Scratch()
    scratch.add(chunk_of("one", ["a", "b", "c"]), [piece("s2", "e1", [0, 2]), piece("s1", "e2", [1])])
    scratch.add(
        chunk_of("two", ["M\udcfcller", "e"]), [piece("s2", "e1", [0], "head"), piece("s3", "e1", [1])]
    )
    exams = list(scratch.studies())
    assert [[found.series.series_id for found in exam] for exam in exams] == [["s2", "s3"], ["s1"]]
    first = exams[0][0]
    assert [(part.chunk, part.rows, tuple(file.path for file in part.files)) for part in first.parts] == [
        ("one", (0, 1), ("a", "c")),
        ("two", (0,), ("M\udcfcller",)),
    ]
    assert first.images == 3
    assert first.series.locations == {"knee", "head"}
    scratch.close()


def test_a_series_without_usable_images_still_tells_its_anatomy():
    scratch = Scratch()
    only = series_of([frame(reason="localizer", location="head")])[0]
    scratch.add(chunk_of("one", ["a"]), [Piece(only, (), ())])
    ((found,),) = scratch.studies()
    assert found.images == 0
    assert found.parts == ()
    assert found.series.locations == {"head"}


def test_only_studies_that_are_drawn_come_back():
    scratch = Scratch()
    scratch.add(chunk_of("one", ["a", "b"]), [piece("s1", "e1", [0]), piece("s2", "e2", [1])])
    scratch.draw(["e2"])
    assert [[found.series.series_id for found in study] for study in scratch.drawn_studies()] == [["s2"]]


def test_a_full_disk_is_told_with_its_remedy():
    scratch = Scratch()
    scratch._database.execute("PRAGMA max_page_count = 12")
    with pytest.raises(UserError, match="SQLITE_TMPDIR"):
        scratch.add_stored((f"series{k}", "x" * 500) for k in range(1000))


def test_what_the_dataset_holds_is_known_by_series():
    scratch = Scratch()
    scratch.add_stored([("s1", "a"), ("s1", "b"), ("s2", "a"), ("s1", "a")])
    assert scratch.stored("s1") == {"a", "b"}
    assert scratch.stored("s3") == frozenset()


def test_paths_show_nowhere():
    scratch = Scratch()
    scratch.add(chunk_of("one", ["ZORBLATT"]), [piece("s1", "e1", [0])])
    assert "ZORBLATT" not in repr(list(scratch.studies()))


def test_the_database_has_no_name_that_a_killed_process_could_leave(tmp_path, monkeypatch):
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    scratch = Scratch()
    rng = np.random.default_rng(0)
    names = [rng.bytes(50).hex() for _ in range(100)]
    for number in range(400):
        scratch.add(chunk_of(str(number), names), [piece(f"s{number}", f"e{number}", list(range(100)))])
    assert list(tmp_path.iterdir()) == []
    assert len(list(scratch.studies())) == 400
    scratch.close()
