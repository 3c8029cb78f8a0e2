import os

import pytest

from mricore.data.storage import place
from mricore.errors import UserError


def test_files_are_listed_sorted_and_relative(tmp_path):
    for name in ("b/2", "a", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    files = place(str(tmp_path)).files()
    assert [file.path for file in files] == ["a", "b/1", "b/2"]
    assert all(file.size == len(file.path) for file in files)


def test_a_write_is_whole_or_absent(tmp_path, monkeypatch):
    target = place(str(tmp_path))
    target.write_bytes("x/y", b"old")

    def fail(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(UserError, match="full"):
        target.write_bytes("x/y", b"new")
    assert target.read_bytes("x/y") == b"old"
    assert [file.path for file in target.files()] == ["x/y"]


@pytest.mark.parametrize("uri", ["s3://", "s3:///", "gs://bucket/x", "http://host/x", "", "  "])
def test_other_schemes_are_refused(uri):
    with pytest.raises(UserError):
        place(uri)


def test_a_missing_folder_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="nothing found"):
        place(str(tmp_path / "absent")).files()
    with pytest.raises(UserError, match="nothing found"):
        place(str(tmp_path)).read_bytes("absent")


def test_links_are_followed_once_and_any_name_is_listed_and_read(tmp_path):
    folder = tmp_path / "in"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "1").write_text("x")
    (folder / "a" / "up").symlink_to(folder)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "2").write_text("y")
    (folder / "b").symlink_to(tmp_path / "elsewhere")
    (folder / "dangling").symlink_to(tmp_path / "absent")
    with open(os.fsencode(folder) + b"/M\xfcller", "wb") as file:  # noqa: PTH123 - no path of text has it
        file.write(b"z")
    source = place(str(folder))
    contents = {file.path: source.read_bytes(file.path) for file in source.files()}
    assert contents == {"M\udcfcller": b"z", "a/1": b"x", "b/2": b"y"}


def test_addresses_of_one_place_are_equal(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for same in ("a", "b/../a", "link", "a/"):
        assert place(f"{tmp_path}/{same}") == place(str(tmp_path / "a"))
    assert place("s3://bucket//x/") == place("s3://bucket/x")


def test_a_place_that_may_not_be_written_is_told_and_nothing_is_left_behind(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="not a folder"):
        place(str(tmp_path / "file" / "out")).require_writable()
    place(str(tmp_path / "new" / "out")).require_writable()
    assert not (tmp_path / "new").exists()


def test_removing_takes_one_file(tmp_path):
    target = place(str(tmp_path))
    for path in ("x/1", "x/2"):
        target.write_bytes(path, b"")
    target.remove("x/1")
    assert [file.path for file in target.files()] == ["x/2"]
    with pytest.raises(UserError, match="nothing found"):
        target.remove("x/1")


def test_a_folder_that_may_not_be_read_is_told_and_not_skipped(tmp_path, monkeypatch):
    (tmp_path / "open").mkdir()
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def guarded(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(UserError, match="no permission"):
        place(str(tmp_path)).files()
