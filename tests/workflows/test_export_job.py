"""The job that exports a registered encoder: what it prints, writes and refuses."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from jobs.export import main
from mricore.config.schema import Head, Model
from mricore.model.embedder import Embedder
from mricore.model.network import build_network
from mricore.workflows.entry import run

ROOT = Path(__file__).parents[2]
SAM = Model(dim=32, depth=2, heads=4, patch=4, window=5, global_blocks=(1,), native_grid=8, neck_dim=8)
PLAIN = Model(kind="plain", dim=32, depth=2, heads=4, patch=16, native_grid=4, readout="class")


def encoder(folder, settings):
    """A folder with an encoder, and a SAM file that could be its base."""
    network = build_network(settings, Head(prototypes=2, hidden=4), torch.Generator().manual_seed(0))
    folder.mkdir()
    Embedder.from_network(network, settings, settings.patch * 4).save(folder)
    names = ("image_encoder.neck.0.weight", "prompt_encoder.a", "mask_decoder.b")
    torch.save({name: torch.ones(8, 8) for name in names}, folder / "base.pth")
    return folder


def test_an_encoder_becomes_a_file_and_a_report(tmp_path, capsys):
    folder, target = encoder(tmp_path / "e", PLAIN), tmp_path / "teacher.pth"
    assert run(main, [str(folder), "dinov2", str(target)]) == 0
    told = capsys.readouterr().out
    assert f"{folder} as dinov2: {target}" in told
    assert "positions of 14 x 14 patches, from 4 x 4" in told
    content = torch.load(target, weights_only=True)["teacher"]
    assert content["backbone.pos_embed"].shape == (1, 197, 32)


def test_the_base_is_told_with_its_digest(tmp_path, capsys):
    folder, target = encoder(tmp_path / "e", SAM), tmp_path / "my_sam_vit.pth"
    assert run(main, [str(folder), "sam", str(target), "--base", str(folder / "base.pth")]) == 0
    told = capsys.readouterr().out
    assert "not verifiable" in told
    assert "2 of prompt encoder and mask decoder" in told
    assert "mask_decoder.b" in torch.load(target, weights_only=True)


@pytest.mark.parametrize(
    ("settings", "arguments", "told"),
    [
        (SAM, ["sam", "t.pth"], "--base"),
        (SAM, ["dinov2", "t.pth"], "cannot hold"),
        (PLAIN, ["sam", "t.pth", "--base", "e/base.pth"], "export it as dinov2"),
        (PLAIN, ["dinov2", "t.pth", "--base", "e/base.pth"], "leave --base out"),
        (PLAIN, ["mri_foundation", "t.pth"], "builds no encoder"),
        (PLAIN, ["dinov2", "t.pt.txt"], "ends in .pth"),
        (PLAIN, ["dinov2", "nowhere/t.pth"], "no folder"),
        (PLAIN, ["dinov2", "e/base.pth"], "exists"),
        (SAM, ["sam", "t.pth", "--base", "none.pth"], "no weight file"),
        (SAM, ["sam", "t.pth", "--base", "e/embedder.json"], "not a readable weight file"),
        (SAM, ["sam", "t.pth", "--base", "e/embedder.safetensors"], "no SAM file"),
        (SAM, ["sam", "t.pth", "--base", "e"], "is a folder"),
    ],
)
def test_a_users_mistake_is_one_clear_line_and_leaves_no_file(
    tmp_path, monkeypatch, capsys, settings, arguments, told
):
    encoder(tmp_path / "e", settings)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    assert run(main, ["e", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 2  # problem and remedy
    assert told in error
    assert sorted(tmp_path.rglob("*")) == before


def test_there_is_no_such_encoder(tmp_path, capsys):
    assert run(main, [str(tmp_path), "dinov2", str(tmp_path / "t.pth")]) == 2
    assert "holds no mricore encoder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.faults
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    folder = encoder(tmp_path / "e", PLAIN)

    def half(content, target):
        target.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    assert run(main, [str(folder), "dinov2", str(tmp_path / "t.pth")]) == 2
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [folder]


def test_help_tells_the_three_formats():
    result = subprocess.run(
        [sys.executable, "jobs/export.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "{sam,mri_foundation,dinov2}" in result.stdout
