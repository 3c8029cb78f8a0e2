"""nnU-Net gets the draw in its documented format, runs by its own commands, and is measured as all others."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from small_tasks import small_task

from mricore.config.few_shot import FewShot
from mricore.config.nnunet import NnUnet
from mricore.config.running import Running
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation import nnunet
from mricore.evaluation.metaimage import read_slice, write_slice
from mricore.evaluation.metrics.measure import measure
from mricore.evaluation.nnunet import Folders
from mricore.evaluation.tasks.drawing import draw
from mricore.workflows.evaluate import Plan
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.few_shot import settings as few_shot_settings
from mricore.workflows.few_shot import units as few_shot_units

HEADER = (
    b"ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
    b"CompressedData = True\nCompressedDataSize = %d\nTransformMatrix = 1 0 0 1\nOffset = 0 0\n"
    b"ElementSpacing = 0.5 2\nDimSize = 3 2\nElementType = %s\nElementDataFile = LOCAL\n"
)
"""As SimpleITK writes a compressed mask."""


@pytest.fixture(scope="module")
def labelled():
    return small_task(pool=12, test=2)


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path)


def test_a_slice_keeps_every_bit_of_16_bit_and_float_values(tmp_path):
    path = tmp_path / "slice.mha"
    for values in (
        np.array([[0, 1, 40000], [65535, 7, 8]], np.uint16),
        np.array([[0.1, -3.5, 1e-7], [2, 3, 4]], np.float32),
        np.array([[0, 1, 2], [3, 4, 5]], np.uint8),
    ):
        write_slice(path, values, (2.0, 0.5))
        np.testing.assert_array_equal(read_slice(path), values)
        assert b"ElementSpacing = 0.5 2.0\nDimSize = 3 2\n" in path.read_bytes()


@pytest.mark.parametrize(("kind", "type_"), [(b"MET_UCHAR", "u1"), (b"MET_USHORT", "<u2")])
def test_a_compressed_mask_is_read(kind, type_, tmp_path):
    values = np.array([[0, 1, 2], [3, 250, 5]], type_)
    content = zlib.compress(values.tobytes())
    (tmp_path / "mask.mha").write_bytes(HEADER % (len(content), kind) + content)
    np.testing.assert_array_equal(read_slice(tmp_path / "mask.mha"), values)


@pytest.mark.parametrize("content", [b"", b"NDims = 3\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"])
def test_what_is_no_slice_is_refused(content, tmp_path):
    (tmp_path / "x.mha").write_bytes(content)
    with pytest.raises(ValueError, match="MetaImage"):
        read_slice(tmp_path / "x.mha")


def test_the_raw_dataset_is_as_nnunet_documents_it(labelled, folders):
    drawn = draw(labelled, 0, 0)
    nnunet.write_dataset(folders, labelled, drawn, 2, together=False)
    description = json.loads((folders.raw / "dataset.json").read_text())
    assert description == {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "class_1": 1, "class_2": 2},
        "numTraining": 10,
        "file_ending": ".mha",
    }
    assert folders.raw.name.startswith("Dataset001_")
    images = sorted(path.name for path in (folders.raw / "imagesTr").iterdir())
    labels = sorted(path.name for path in (folders.raw / "labelsTr").iterdir())
    assert images == [name.replace(".mha", "_0000.mha") for name in labels]
    ((fold),) = json.loads((folders.preprocessed / "splits_final.json").read_text())
    assert sorted(f"{case}.mha" for part in fold.values() for case in part) == labels
    assert set(fold) == {"train", "val"}
    for part, keys in (("train", drawn.training), ("val", drawn.validation)):
        for case, key in zip(fold[part], keys, strict=True):
            image, mask = labelled.slice(key)
            np.testing.assert_array_equal(read_slice(folders.raw / f"imagesTr/{case}_0000.mha"), image)
            np.testing.assert_array_equal(read_slice(folders.raw / f"labelsTr/{case}.mha"), mask)
    written = " ".join(str(path) for path in folders.root.rglob("*"))
    assert not any(volume.case in written or volume.patient in written for volume in labelled.volumes)


def test_all_classes_as_one_have_one_label(labelled, folders):
    drawn = draw(labelled, 0, 0)
    nnunet.write_dataset(folders, labelled, drawn, 1, together=True)
    masks = [read_slice(path) for path in (folders.raw / "labelsTr").iterdir()]
    assert {int(value) for mask in masks for value in np.unique(mask)} == {0, 1}


def test_the_commands_are_those_of_nnunet(folders):
    settings = NnUnet(python="/opt/nn/python", epochs=3, iterations=2, mirroring=False)
    commands = nnunet.commands(folders, settings, "cpu", 1, 5)
    assert list(commands) == ["planning", "training", "prediction"]
    assert all(command[:2] == ["/opt/nn/python", "-c"] for command in commands.values())
    entries = ("plan_and_preprocess_entry()", "run_training_entry()", "predict_entry_point()")
    for command, entry in zip(commands.values(), entries, strict=True):
        compile(command[2], "program", "exec")
        assert entry in command[2]
    assert json.loads(commands["training"][3]) == {
        "epochs": 3,
        "iterations": 2,
        "validation_iterations": 50,
        "threads": 1,
        "seed": 5,
    }
    assert commands["training"][4:] == ["1", "2d", "0", "-device", "cpu"]
    assert "--disable_tta" in commands["prediction"]
    assert "--disable_tta" not in nnunet.commands(folders, NnUnet(), "cpu", 1, 5)["prediction"]
    assert nnunet.environment(folders, 1, "planning")["nnUNet_n_proc_DA"] == "1"
    assert nnunet.environment(folders, 1, "training")["nnUNet_n_proc_DA"] == "0"


def test_a_missing_nnunet_is_one_clear_line(tmp_path):
    for python in (sys.executable, str(tmp_path / "absent")):
        with pytest.raises(UserError, match="nnunet") as caught:
            nnunet.installed_version(NnUnet(python=python))
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


STAND_IN = """#!{python}
import shutil, sys
from pathlib import Path
arguments = sys.argv[1:]
if "version" in arguments[1]:
    print("0.0")
elif "predict_entry_point" in arguments[1]:
    asked, answered = (Path(arguments[arguments.index(flag) + 1]) for flag in ("-i", "-o"))
    answered.mkdir()
    sys.path.insert(0, {root!r})
    from mricore.evaluation.metaimage import read_slice, write_slice
    for path in asked.iterdir():
        mask = (read_slice(path) > 160).astype("uint8")
        write_slice(answered / path.name.replace("_0000.mha", ".mha"), mask, (1.0, 1.0))
elif "run_training_entry" in arguments[1] and {fails}:
    raise RuntimeError("/private/DOE^JANE is no place")
"""
"""Answers as nnU-Net does, with a threshold in the place of a network."""


def stand_in(folder, fails=False):
    path = folder / "python"
    path.write_text(STAND_IN.format(python=sys.executable, root=str(Path(__file__).parents[2]), fails=fails))
    path.chmod(0o755)
    return NnUnet(python=str(path))


def test_predictions_are_measured_as_those_of_all_others(labelled, tmp_path):
    made = nnunet.run_draw(labelled, draw(labelled, 3, 0), FewShot(), stand_in(tmp_path), device="cpu")
    assert {(row.protocol, row.encoder, row.mode, row.draw) for row in made.rows} == {
        ("few_shot", "nnU-Net", "strict", 3)
    }
    found = {(row.case, row.label, row.metric): row.value for row in made.rows}
    for volume in labelled.of("test"):
        called = (volume.image > 160).astype(np.uint8)
        for suffix, label, metric, value in measure(
            called, volume.mask, volume.spacing, tuple(labelled.task.classes), "strict"
        ):
            np.testing.assert_equal(found.pop((f"{volume.case}{suffix}", label, metric)), value)
    assert found == {}
    assert made.pictures[0].layers["prediction"].max() == 1


def test_the_published_way_of_judging_counts_for_nnunet_too(labelled, tmp_path):
    paper = FewShot(name="paper", metrics="paper", together=True, judge_at_logits=True, drop_empty=True)
    rows = nnunet.run_draw(labelled, draw(labelled, 0, 0), paper, stand_in(tmp_path), device="cpu").rows
    assert {row.metric for row in rows} == {"dice_2d", "dice_3d", "nsd_voxel"}
    assert {row.label for row in rows} == {"foreground", "mean"}
    assert min(row.value for row in rows if row.metric == "dice_3d") > 0.9


def test_what_fails_is_told_without_the_message_which_may_name_places(labelled, tmp_path):
    with pytest.raises(UserError, match=r"training failed \(RuntimeError\)") as caught:
        nnunet.run_draw(labelled, draw(labelled, 0, 0), FewShot(), stand_in(tmp_path, True), device="cpu")
    assert "DOE" not in str(caught.value)


def interpreter():
    """An interpreter with nnunetv2: of MRICORE_NNUNET_PYTHON, or this one; skips where there is none."""
    settings = NnUnet(
        python=os.environ.get("MRICORE_NNUNET_PYTHON", ""), epochs=2, iterations=4, validation_iterations=1
    )
    try:
        nnunet.installed_version(settings)
    except UserError as error:
        pytest.skip(f"no nnU-Net: set MRICORE_NNUNET_PYTHON ({error.problem})")
    return settings.model_copy(update={"mirroring": False})


@pytest.mark.slow
def test_the_real_nnunet_trains_and_predicts():
    settings = interpreter()
    labelled = small_task(pool=12, test=2, size=(64, 64))
    made = nnunet.run_draw(labelled, draw(labelled, 0, 0), FewShot(), settings, device="cpu")
    values = [row.value for row in made.rows if (row.metric, row.label) == ("dice_3d", "mean")]
    assert len(values) == 2
    assert all(0 <= value <= 1 for value in values)


def test_the_real_nnunet_reads_what_we_write_and_we_what_it_writes(tmp_path):
    settings = interpreter()
    values = np.random.default_rng(0).random((5, 7)).astype(np.float32)
    write_slice(tmp_path / "image.mha", values, (2.0, 0.5))
    code = (
        "import numpy as np; from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO as IO\n"
        "image, facts = IO().read_images(['image.mha'])\n"
        "assert image.shape == (1, 1, 5, 7) and facts['spacing'][1:] == [2.0, 0.5], (image.shape, facts)\n"
        "np.save('image.npy', image[0, 0]); IO().write_seg((image[0] > 0.5).astype(int), 'mask.mha', facts)"
    )
    subprocess.run([settings.python or sys.executable, "-c", code], cwd=tmp_path, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "image.npy"), values)
    np.testing.assert_array_equal(read_slice(tmp_path / "mask.mha"), values > 0.5)


def test_masks_at_another_size_keep_their_millimetres(labelled):
    """Else surfaces of nnU-Net would be judged by another ruler than those of encoders."""
    (volume, *_) = labelled.of("test")
    settings = FewShot(judge_at_logits=True, image_size=64)
    _, truth, spacing = nnunet._judged(volume, volume.mask, 2, settings)
    for size, full, mm, found in zip(truth.shape, volume.mask.shape, volume.spacing, spacing, strict=True):
        assert size * found == pytest.approx(full * mm)


def test_threads_of_nnunet_tell_its_units_apart(labelled, tmp_path, monkeypatch):
    """With one thread it augments where it trains, with several in other processes: other random numbers."""
    monkeypatch.setattr(nnunet, "installed_version", lambda _: "2.8")
    request = EvaluationRequest(("t",), "d", (), "cpu", nnunet=True)
    digests = set()
    for threads in (1, 2):
        settings = {**few_shot_settings(request), "run": Running(threads=threads)}
        plan = Plan(request, settings, [labelled], [], place(str(tmp_path)))
        ((unit,), _) = few_shot_units(plan)
        digests.add(unit.digest)
    assert len(digests) == 2
