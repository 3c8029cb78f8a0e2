"""Chunks of a listing: complete, in order, and hardly changed by a file more."""

import pytest

from mricore.data.chunks import MOST_FILES, chunks
from mricore.data.storage import StoredFile

SECRET = b"k" * 32


def listing(count, first=0):
    return [StoredFile(f"patient{k // 40:04d}/{k:06d}.dcm", 1000 + k, 7) for k in range(first, count)]


def keys(files, secret=SECRET, rules="rules"):
    return [chunk.key for chunk in chunks(files, secret, rules)]


def test_chunks_are_the_listing_cut_into_pieces():
    files = listing(5000)
    found = list(chunks(files, SECRET, "rules"))
    assert [file for chunk in found for file in chunk.files] == files
    assert max(len(chunk.files) for chunk in found) <= MOST_FILES
    assert len({chunk.key for chunk in found}) == len(found)
    assert 5000 / MOST_FILES < len(found) < 200


def test_nothing_gives_no_chunk():
    assert keys([]) == []


@pytest.mark.parametrize("place", [0, 1, 2500, 4999])
def test_a_new_file_changes_the_chunk_around_it_and_no_other(place):
    files = listing(5000)
    more = sorted([*files, StoredFile(f"{files[place].path}.new", 1, 1)], key=lambda file: file.path)
    assert len(set(keys(files)) - set(keys(more))) == 1
    assert len(set(keys(more)) - set(keys(files))) in (1, 2)


@pytest.mark.parametrize(
    "change",
    [{"path": "patient0000/other"}, {"size": 5}, {"modified_ns": 8}],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_file_changes_its_chunk(change):
    files = listing(300)
    changed = [StoredFile(**{**vars(files[0]), **change}), *files[1:]]
    assert keys(files)[0] != keys(changed)[0]


def test_keys_depend_on_the_secret_and_on_the_rules_of_reading():
    """Else whoever guesses the name of a file could confirm it."""
    files = listing(50)
    assert len({tuple(keys(files, *more)) for more in ((SECRET, "a"), (SECRET, "b"), (b"x" * 32, "a"))}) == 3


def test_any_name_has_a_chunk():
    assert len(keys([StoredFile("M\udcfcller/\U0001f600", 1, 1)])) == 1


def test_neither_chunks_nor_files_show_names():
    (chunk,) = chunks([StoredFile("ZORBLATT", 1, 1)], SECRET, "rules")
    assert "ZORBLATT" not in repr(chunk) + repr(chunk.files)
