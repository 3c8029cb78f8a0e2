"""The Python that an export prints, run as it is in a process of its own, by the code of other projects."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from foreign_weights import meta_registry

from jobs.export import main
from mricore.config.encoders import plain_vit_b, sam_vit_b, sam_vit_s
from mricore.model.embedder import Embedder
from mricore.model.initialise import initialise
from mricore.model.weights.snippets import snippets
from mricore.workflows.entry import run

VIT_S = plain_vit_b().model_copy(update={"dim": 384, "heads": 6, "patch": 14, "native_grid": 16})
CHECKOUTS = {"mri_foundation": "MRI_FOUNDATION_CHECKOUT", "dinov2": "DINOV2_CHECKOUT"}
"""Variables that name a checkout of what no package index has."""
FEATURES = """
images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    torch.save(model(images), "features.pt")
"""


def exported(folder, settings, format_, capsys, *more):
    """An encoder, and the snippets that its export prints, by project."""
    embedder = Embedder(settings, 224, "slice")
    initialise(embedder, torch.Generator().manual_seed(0))
    embedder.requires_grad_(False).eval().save(folder)
    assert run(main, [str(folder), format_, str(folder / "our_vit.pth"), *more]) == 0
    found = re.findall(r"To load it with (\w+):\n\n```python\n(.*?)```", capsys.readouterr().out, re.DOTALL)
    return embedder, dict(found)


def fresh(folder, code, *paths):
    """What a process says that runs the code, with more places to import from."""
    places = os.pathsep.join(map(str, paths))
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": places},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def place_of(project):
    """Where a project can be imported from; skips where it is not."""
    if importlib.util.find_spec(project) is not None:
        return ()
    checkout = os.environ.get(CHECKOUTS.get(project, ""))
    if checkout is None:
        hint = f" (or set {CHECKOUTS[project]})" if project in CHECKOUTS else ""
        pytest.skip(f"{project} is not installed{hint}")
    return (checkout,)


def torchvision(folder):
    """Names that segment_anything imports for what we do not call; only where torchvision is absent."""
    if importlib.util.find_spec("torchvision") is not None:
        return ()
    for module, names in (
        ("ops/boxes", "batched_nms box_area"),
        ("transforms/functional", "resize to_pil_image"),
    ):
        file = folder / "stand_in/torchvision" / f"{module}.py"
        file.parent.mkdir(parents=True)
        for package in (file.parent, file.parent.parent):
            (package / "__init__.py").touch()
        file.write_text("".join(f"{name} = None\n" for name in names.split()))
    return (folder / "stand_in",)


@pytest.mark.slow
def test_segment_anything_loads_the_sam_file_as_printed(tmp_path, capsys):
    torch.save(meta_registry()["vit_b"]().state_dict(), tmp_path / "base.pth")
    base = ("--base", str(tmp_path / "base.pth"))
    ours, code = exported(tmp_path, sam_vit_b(), "sam", capsys, *base)
    assert set(code) == {"segment_anything"}
    shown = "print(len(model.state_dict()), float(model.image_encoder.pos_embed.double().sum()))"
    count, total = fresh(tmp_path, f"{code['segment_anything']}{shown}", *torchvision(tmp_path)).split()
    assert int(count) == 314
    assert float(total) == pytest.approx(float(ours.encoder.pos_embed.double().sum()))


@pytest.mark.numerics
@pytest.mark.parametrize("project", ["timm", "dinov2"])
@pytest.mark.parametrize("settings", [plain_vit_b(), VIT_S], ids=["base16", "small14"])
def test_timm_and_dinov2_load_the_teacher_as_printed_and_give_our_features(
    tmp_path, capsys, project, settings
):
    place = place_of(project)
    ours, code = exported(tmp_path, settings, "dinov2", capsys)
    fresh(tmp_path, code[project] + FEATURES, *place)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = ours.token(ours.encoder(images))[0]
    torch.testing.assert_close(torch.load(tmp_path / "features.pt"), expected, atol=1e-5, rtol=0)


@pytest.mark.gpu
def test_mri_foundation_loads_its_file_as_printed(tmp_path, capsys):
    (place,) = place_of("mri_foundation")
    if not torch.cuda.is_available():
        pytest.skip("its loader needs a GPU")
    ours, code = exported(tmp_path, sam_vit_b(), "mri_foundation", capsys)
    shown = "\nprint('sum', float(model.image_encoder.pos_embed.double().sum()))"
    told = fresh(Path(place), code["mri_foundation"] + shown, place)
    total = float(told.rsplit("sum ", 1)[1])
    assert total == pytest.approx(float(ours.encoder.pos_embed.double().sum()), rel=1e-4)


def test_every_snippet_is_python_and_names_the_file_wherever_it_is_run():
    file = Path('with "quotes" and spaces') / "our_vit.pth"
    for format_, settings, projects in (
        ("sam", sam_vit_b(), ["segment_anything"]),
        ("sam", sam_vit_s(), []),
        ("mri_foundation", plain_vit_b(), ["mri_foundation"]),
        ("dinov2", plain_vit_b(), ["timm", "dinov2"]),
        ("dinov2", VIT_S.model_copy(update={"mlp_ratio": 3.0}), ["timm"]),
    ):
        found = snippets(format_, settings, file)
        assert [one.project for one in found] == projects
        for one in found:
            tree = compile(one.code, one.project, "exec")
            assert str(file.absolute()) in tree.co_consts
