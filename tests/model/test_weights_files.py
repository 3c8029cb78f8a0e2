"""Files on disk: damage, code in pickles, digests, and writes that fail half-way."""

import hashlib
import pickle

import pytest
import torch
from safetensors.torch import save_file

from mricore.errors import UserError
from mricore.model.weights import files
from mricore.model.weights.files import read_content, read_tensors, write_pth, write_tensors
from mricore.model.weights.known import KNOWN, Published, verified

TENSORS = {"a": torch.arange(300.0), "b.c": torch.ones(2, 3)}


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def written(folder, kind):
    path = folder / f"w.{kind}"
    save_file(TENSORS, path) if kind == "safetensors" else torch.save(TENSORS, path)
    return path


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_file_cut_anywhere_is_one_clear_line(tmp_path, kind):
    path = written(tmp_path, kind)
    content = path.read_bytes()
    for length in {0, 1, 7, 8, 9, 63, 64, 100, len(content) // 2, len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(UserError, match="not a readable weight file"):
            read_content(path)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_changed_bytes_never_end_in_a_traceback(tmp_path, kind):
    path = written(tmp_path, kind)
    content = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        changed = bytearray(content)
        for place in torch.randint(len(content), (3,), generator=generator).tolist():
            changed[place] ^= 0xFF
        path.write_bytes(changed)
        try:
            found = read_content(path)
        except UserError:
            continue
        assert all(isinstance(name, str) for name in found)


@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_pickle_is_not_run(tmp_path, protocol):
    (tmp_path / "old.pth").write_bytes(pickle.dumps({"a": Trap()}, protocol=protocol))
    torch.save({"a": Trap()}, tmp_path / "new.pth")
    for name in ("old.pth", "new.pth"):
        with pytest.raises(UserError, match="pickled code is never run"):
            read_content(tmp_path / name)


def test_what_is_no_dictionary_of_tensors_is_told(tmp_path):
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "mixed.pth")
    with pytest.raises(UserError, match="no dictionary"):
        read_content(tmp_path / "list.pth")
    with pytest.raises(UserError, match="flat dictionary"):
        read_tensors(tmp_path / "mixed.pth")
    for read in (read_content, verified):
        with pytest.raises(UserError, match="no weight file"):
            read(tmp_path / "missing.pth")
        with pytest.raises(UserError, match="is a folder"):
            read(tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, kind, monkeypatch):
    path = written(tmp_path, kind)
    before = path.read_bytes()

    def half(content, target, *_):
        target.write(b"half") if kind == "pth" else target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    module, name = (files, "save_file") if kind == "safetensors" else (torch, "save")
    monkeypatch.setattr(module, name, half)
    with pytest.raises(OSError, match="No space"):
        write_tensors(path, TENSORS, {}) if kind == "safetensors" else write_pth(path, TENSORS)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_view_of_a_large_tensor_is_written_without_the_rest(tmp_path):
    large = torch.zeros(1_000_000)
    write_pth(tmp_path / "w.pth", {"inner": {"a": large[:10]}})
    assert (tmp_path / "w.pth").stat().st_size < 5000
    assert torch.equal(read_content(tmp_path / "w.pth")["inner"]["a"], large[:10])


def test_a_published_file_is_known_by_any_of_its_digests(tmp_path):
    path = tmp_path / "known.pth"
    path.write_bytes(b"content")
    sha256, md5 = hashlib.sha256(b"content").hexdigest(), hashlib.md5(b"content").hexdigest()  # noqa: S324
    for digests in ((f"sha256:{sha256}",), (f"sha256:{'0' * 64}", f"md5:{md5}")):
        told = verified(path, {"known.pth": Published("there", "none", digests)})
        assert told == f"sha256 {sha256}, verified: it is the published file"


def test_a_file_that_has_a_published_name_and_another_digest_is_refused(tmp_path):
    (tmp_path / "sam_vit_b_01ec64.pth").write_bytes(b"half a download")
    with pytest.raises(UserError, match=r"damaged or another file.*fetch it again from https://dl\.fbai"):
        verified(tmp_path / "sam_vit_b_01ec64.pth")


def test_what_cannot_be_verified_says_so_and_tells_its_digest(tmp_path):
    for name in ("mine.pth", "MRI_CORE_vitb.pth"):
        (tmp_path / name).write_bytes(b"content")
        told = verified(tmp_path / name)
        assert "not verifiable" in told
        assert hashlib.sha256(b"content").hexdigest() in told


def test_digests_of_published_files_are_whole():
    lengths = {"sha256": 64, "md5": 32}
    for published in KNOWN.values():
        for digest in published.digests:
            algorithm, _, value = digest.partition(":")
            assert len(bytes.fromhex(value)) * 2 == lengths[algorithm]
