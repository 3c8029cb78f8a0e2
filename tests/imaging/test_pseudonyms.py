"""Pseudonyms and the file of their key."""

import os
import threading

import pytest

from mricore.errors import UserError
from mricore.imaging.pseudonyms import KEY_BYTES, Pseudonymizer, load_or_create_key


def test_pseudonyms_are_stable_and_differ_by_kind_and_key():
    one, same, other = Pseudonymizer(b"a" * 32), Pseudonymizer(b"a" * 32), Pseudonymizer(b"b" * 32)
    assert one.pseudonym("patient", "X") == same.pseudonym("patient", "X")
    assert len({one.pseudonym(kind, "X") for kind in ("patient", "exam", "volume", "slice")}) == 4
    assert one.pseudonym("patient", "X") != other.pseudonym("patient", "X")
    assert one.pseudonym("patient", "X") != one.pseudonym("patient", "Y")
    assert one.order("X") != other.order("X")


def test_lists_of_parts_are_not_confused():
    maker = Pseudonymizer(b"a" * 32)
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc")]
    assert len({maker.pseudonym("volume", *some) for some in parts}) == len(parts)


def test_any_text_has_a_pseudonym():
    assert len(Pseudonymizer(b"a" * 32).pseudonym("patient", "\udcff łź \x00")) == 20


def test_a_key_does_not_show_in_repr():
    assert "SECRET" not in repr(Pseudonymizer(b"SECRETKEYSECRETKEYSECRETKEYSECRE"))


def test_a_key_is_created_once_and_is_private(tmp_path):
    path = tmp_path / "deep" / "er" / "key"
    first = load_or_create_key(path)
    assert len(first) == KEY_BYTES
    assert load_or_create_key(path) == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["key"]
    assert load_or_create_key(tmp_path / "another") != first


def test_a_lax_umask_does_not_open_the_key(tmp_path):
    before = os.umask(0)
    try:
        load_or_create_key(tmp_path / "new" / "key")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_processes_that_begin_at_once_agree_on_the_key(tmp_path):
    keys = []
    barrier = threading.Barrier(8)

    def begin():
        barrier.wait()
        keys.append(load_or_create_key(tmp_path / "key"))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"abcd", b"zz" * 32, b"ab" * 31, b"ab" * 33, b"\xff\xfe" * 32]
)
def test_a_malformed_key_is_a_user_error_that_does_not_quote_it(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_or_create_key(path)
    assert str(path) in str(caught.value)
    assert "--key" in str(caught.value)
    assert not content.strip() or content.decode("latin-1") not in str(caught.value)
    assert path.read_bytes() == content


def test_a_key_that_cannot_be_made_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "key", tmp_path):
        with pytest.raises(UserError):
            load_or_create_key(path)
