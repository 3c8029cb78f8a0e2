"""Exports, loaded by the classes of others or by the written-down rules of their loaders."""

import os
import re

import pytest
import torch
import torch.nn.functional as F
from foreign_weights import PLAIN, SAM, meta_registry, meta_sam, shaken, stock_vit

from mricore.config.encoders import plain_vit_b, sam_vit_b
from mricore.config.schema import Model
from mricore.errors import UserError
from mricore.model.embedder import Embedder
from mricore.model.segment_anything_class import modeling
from mricore.model.weights import load_into, read_weights
from mricore.model.weights.export_files import read_base, require_free, write_export
from mricore.model.weights.exports import dinov2, mri_foundation, sam

STOCK = PLAIN.model_copy(update={"patch": 16, "native_grid": 14})
"""As small as a test wants, with the positions of 224 px."""


def embedder(settings, seed=1):
    """An encoder with random weights everywhere."""
    made = Embedder(settings, settings.patch * 4, "slice")
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
    return shaken(made, seed, scale=0.2)


def reread(folder, export):
    write_export(folder / "export.pth", export)
    return torch.load(folder / "export.pth", weights_only=True)


@pytest.fixture(scope="module")
def vit_b():
    """ViT-B of both kinds, and a whole SAM file of that size."""
    return embedder(sam_vit_b()), embedder(plain_vit_b()), meta_registry()["vit_b"]().state_dict()


@pytest.mark.numerics
def test_meta_sam_loads_the_sam_export_and_segments_as_our_features_say(tmp_path):
    ours, base = embedder(SAM), meta_sam(seed=2)
    theirs = meta_sam(seed=3)
    theirs.load_state_dict(reread(tmp_path, sam(ours, base.state_dict())), strict=True)
    images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[4.0, 4.0, 20.0, 28.0]])
    with torch.no_grad():
        features = ours.encoder.to_neck(ours.encoder(images).grid)
        torch.testing.assert_close(theirs.image_encoder(images), features, atol=1e-5, rtol=0)
        masks = [
            sam_.mask_decoder(
                image_embeddings=embedding,
                image_pe=sam_.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sam_.prompt_encoder(points=None, boxes=box, masks=None)[0],
                dense_prompt_embeddings=sam_.prompt_encoder(points=None, boxes=box, masks=None)[1],
                multimask_output=True,
            )[0]
            for sam_, embedding in ((theirs, theirs.image_encoder(images)), (base, features))
        ]
    torch.testing.assert_close(*masks, atol=1e-5, rtol=0)
    assert masks[0].std() > 0.01


def test_metas_registry_loads_the_sam_export_of_vit_b_strictly(tmp_path, vit_b):
    ours, _, base = vit_b
    export = sam(ours, base)
    write_export(tmp_path / "our_sam_vit_b.pth", export)
    loaded = meta_registry()["vit_b"](checkpoint=tmp_path / "our_sam_vit_b.pth").state_dict()
    assert len(loaded) == 314
    for name, tensor in ours.encoder.state_dict().items():
        assert torch.equal(loaded[f"image_encoder.{name}"], tensor)
    assert torch.equal(loaded["mask_decoder.iou_token.weight"], base["mask_decoder.iou_token.weight"])
    assert export.notes[-1] == "loads strictly in segment_anything's vit_b"


def rules_of_mri_foundation(content, base=None):
    """What its loader makes of a file, rule by rule (facts of models/sam/build_sam.py at 0f4f452)."""
    for key in ("model", "teacher", "student"):
        content = content.get(key, content)
    state = dict(base or {})
    for name, tensor in content.items():
        if "decoder" in name:
            continue
        new = "image_encoder." + name.replace("fc", "lin").replace("backbone.", "")
        new = re.sub(r"^(image_encoder\.\w+)\.\d+\.(?=\d+\.)", r"\1.", new)
        if "pos_embed" not in name:
            state[new] = tensor
            continue
        side = int((tensor.shape[1] - 1) ** 0.5)
        maps = tensor[:, 1:].view(1, side, side, -1).permute(0, 3, 1, 2)
        state[name] = F.interpolate(maps, (64, 64), mode="bilinear").permute(0, 2, 3, 1)  # under the old name
    return state


def encoder_of_mri_foundation(state):
    """Its ViT-B encoder, which has no relative positions; returns what was missing and the tensors."""
    encoder = modeling().ImageEncoderViT(
        depth=12, embed_dim=768, num_heads=12, out_chans=256, use_rel_pos=False, window_size=14
    )
    prefix = "image_encoder."
    own = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    missing, _ = encoder.load_state_dict(own, strict=False)
    return missing, encoder.state_dict()


@pytest.mark.numerics
@pytest.mark.parametrize("kind", ["sam", "plain"])
@pytest.mark.parametrize("with_sam_first", [True, False])
def test_all_153_tensors_arrive_in_the_encoder_of_mri_foundation(tmp_path, vit_b, kind, with_sam_first):
    *encoders, base = vit_b
    ours = encoders[0] if kind == "sam" else encoders[1]
    content = reread(tmp_path, mri_foundation(ours, base if kind == "plain" else None))
    missing, loaded = encoder_of_mri_foundation(
        rules_of_mri_foundation(content, base if with_sam_first else None)
    )
    assert not missing
    assert len(loaded) == 153
    state = ours.encoder.state_dict()
    for name, tensor in loaded.items():
        if name.startswith("neck.") and kind == "plain":
            assert torch.equal(tensor, base[f"image_encoder.{name}"])
        elif name == "pos_embed" and kind == "plain":
            maps = state["pos_embed"][:, 1:].view(1, 14, 14, 768).permute(0, 3, 1, 2)
            expected = F.interpolate(maps, (64, 64), mode="bicubic", antialias=True)
            torch.testing.assert_close(tensor.permute(0, 3, 1, 2), expected)
        else:
            assert torch.equal(tensor, state[name]), name


def test_a_stock_teacher_would_lose_its_positions_there_which_is_why_ours_is_named_otherwise(vit_b):
    missing, loaded = encoder_of_mri_foundation(rules_of_mri_foundation(dinov2(vit_b[1]).content))
    assert "pos_embed" in missing
    assert not loaded["pos_embed"].any()


def test_without_base_a_plain_encoder_has_no_neck_and_says_what_follows(vit_b):
    export = mri_foundation(vit_b[1], None)
    missing, _ = encoder_of_mri_foundation(rules_of_mri_foundation(export.content))
    assert all(name.startswith("neck.") for name in missing)
    assert len(missing) == 6
    assert any("random" in note and "--base" in note for note in export.notes)


@pytest.mark.numerics
def test_a_stock_vit_loads_the_dinov2_export_strictly_and_gives_our_features(tmp_path):
    ours, stock = embedder(STOCK), stock_vit(STOCK, seed=9)
    content = reread(tmp_path, dinov2(ours))["teacher"]
    assert content["backbone.pos_embed"].shape == (1, 197, 32)
    stock.load_state_dict({name.removeprefix("backbone."): t for name, t in content.items()}, strict=True)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for one, other in zip(ours.token(ours.encoder(images)), stock(images), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("patch", "native", "count"), [(16, 14, 197), (16, 24, 197), (14, 37, 257)])
def test_the_dinov2_export_has_the_positions_of_224_px(patch, native, count):
    ours = embedder(PLAIN.model_copy(update={"patch": patch, "native_grid": native}))
    positions = dinov2(ours).content["teacher"]["backbone.pos_embed"]
    assert positions.shape == (1, count, 32)
    assert torch.equal(positions[:, 0], ours.encoder.pos_embed[:, 0])


@pytest.mark.parametrize(("settings", "export", "layout"), [(SAM, sam, "sam"), (STOCK, dinov2, "mri_core")])
def test_what_we_export_we_read_again(tmp_path, settings, export, layout):
    ours, again = embedder(settings), embedder(settings, seed=2)
    write_export(tmp_path / "export.pth", export(ours, meta_sam().state_dict()))
    report = load_into(again, read_weights(tmp_path / "export.pth", layout), settings)
    assert not {name for name in report.kept if name.startswith("encoder.")}
    for name in report.loaded:
        assert torch.equal(again.state_dict()[name], ours.state_dict()[name])


def test_an_encoder_that_a_format_cannot_hold_is_refused_with_the_reason(vit_b):
    ours, plain, base = embedder(SAM), embedder(PLAIN), meta_sam().state_dict()
    odd = embedder(PLAIN.model_copy(update={"patch": 13}))
    narrow = meta_sam(SAM.model_copy(update={"neck_dim": 64})).state_dict()
    for export, told in (
        (lambda: sam(plain, base), "relative positions and a neck"),
        (lambda: sam(ours, None), "--base sam_vit_b_01ec64.pth"),
        (lambda: sam(ours, narrow), "32 channels"),
        (lambda: dinov2(ours), "cannot hold"),
        (lambda: dinov2(odd), "do not tile 224 px"),
        (lambda: mri_foundation(ours, base), "builds no encoder 32 wide with 3 blocks"),
        (lambda: mri_foundation(embedder(plain_vit_b().model_copy(update={"patch": 14})), None), "of 14"),
        (lambda: mri_foundation(vit_b[1], base), "takes 32 channels, the encoder has 768"),
    ):
        with pytest.raises(UserError, match=re.escape(told)):
            export()


def test_a_refusal_offers_the_formats_that_hold_the_encoder_and_no_others(vit_b):
    large, plain, base = *vit_b[:2], vit_b[2]
    odd = embedder(PLAIN.model_copy(update={"patch": 13}))
    for export, told in (
        (lambda: dinov2(large), "export it as sam or mri_foundation"),
        (lambda: dinov2(embedder(SAM)), "export it as sam"),
        (lambda: sam(plain, base), "export it as mri_foundation or dinov2"),
        (lambda: sam(embedder(PLAIN), base), "export it as dinov2"),
        (lambda: mri_foundation(embedder(SAM), base), "export it as sam"),
        (lambda: sam(odd, base), "no format can hold it: use mricore.load"),
    ):
        with pytest.raises(UserError) as caught:
            export()
        assert caught.value.remedy.endswith(told)


@pytest.mark.faults
def test_a_place_that_cannot_be_written_is_told_with_the_plain_reason(tmp_path, monkeypatch):
    export = dinov2(embedder(STOCK))
    with pytest.raises(UserError) as caught:
        write_export(tmp_path / "gone" / "e.pth", export)
    assert caught.value.problem.endswith("e.pth cannot be written: No such file or directory")
    monkeypatch.setattr(
        os, "access", lambda path, mode: path != tmp_path
    )  # an administrator may write anywhere
    with pytest.raises(UserError, match="cannot be written"):
        require_free(tmp_path / "e.pth", "sam")


def test_a_base_must_be_a_whole_sam_file(tmp_path):
    whole = meta_sam().state_dict()
    for part in ("image_encoder.neck", "prompt_encoder", "mask_decoder"):
        torch.save({name: t for name, t in whole.items() if not name.startswith(part)}, tmp_path / "base.pth")
        with pytest.raises(UserError, match=f"it has no {part}"):
            read_base(tmp_path / "base.pth")
    torch.save({"model": stock_vit().state_dict()}, tmp_path / "mae.pth")
    torch.save({**whole, "epoch": 3}, tmp_path / "more.pth")
    for name, told in (
        ("mae.pth", r"is no SAM file.*sam_vit_b_01ec64\.pth"),
        ("more.pth", "epoch is no tensor"),
        (".", "is a folder"),
    ):
        with pytest.raises(UserError, match=told):
            read_base(tmp_path / name)


def test_a_target_that_does_not_do_is_refused_before_anything_is_loaded(tmp_path):
    (tmp_path / "there.pth").write_bytes(b"precious")
    for name, format_, told in (
        ("there.pth", "sam", "exists"),
        ("e.safetensors", "sam", "ends in .pth"),
        ("my_sam_vit_b.pth", "mri_foundation", "without sam_vit"),
        ("nowhere/e.pth", "dinov2", "no folder"),
    ):
        with pytest.raises(UserError, match=told):
            require_free(tmp_path / name, format_)
    require_free(tmp_path / "my_sam_vit_b.pth", "sam")


def test_an_export_changes_nothing_of_the_encoder_and_shares_no_memory(tmp_path):
    ours = embedder(Model(kind="plain", dim=32, depth=1, heads=4, native_grid=14, readout="class"))
    before = {name: tensor.clone() for name, tensor in ours.state_dict().items()}
    content = reread(tmp_path, dinov2(ours))["teacher"]
    for tensor in content.values():
        tensor.add_(1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in ours.state_dict().items())
