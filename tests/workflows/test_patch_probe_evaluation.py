"""Patch probes by their script: what they write, that both heads share features, and what they refuse."""

import json
from functools import cache

import numpy as np
import pytest
from foreign_weights import meta_sam, saved
from small_tasks import write_small_task

from eval.patch_probe import main as patch_probe
from mricore.config.probes import PatchProbe
from mricore.config.task import load_task
from mricore.data.storage import place
from mricore.evaluation.contenders import opened, parsed
from mricore.evaluation.measurements import from_csv
from mricore.evaluation.patch_probe import run_draw
from mricore.evaluation.pictures import load_pictures
from mricore.evaluation.tasks.drawing import draw
from mricore.evaluation.tasks.reading import read_volumes
from mricore.workflows.entry import run

SMALL = ("--set", "features.image_size=32", "--set", "features.source=in_process")
DRAWS = {"linear": 1, "knn": 2}
"""By head; the linear one takes longer."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small task of 12 patients, and SAM's whole file of a small size."""
    folder = tmp_path_factory.mktemp("data")
    write_small_task(folder / "DOE-JANE", pool=7, development=2, test=3)
    saved(folder, meta_sam().state_dict(), "sam.pth")
    return folder


def asked(data, *more):
    folder = data / "DOE-JANE"
    return [f"{folder / 'shapes.toml'}={folder}", "--encoder", f"S=sam:{data / 'sam.pth'}", *more]


def computed_again(data, head, number):
    """What a draw of encoder S gives without units, runner and stored features; and its strength of L2."""
    labelled = read_volumes(load_task(str(data / "DOE-JANE/shapes.toml")), data / "DOE-JANE")
    (spec,) = parsed([f"S=sam:{data / 'sam.pth'}"])
    embedder = opened(spec, 0, {}).embedder.at_size(32)
    images = {one.case: one.image for one in labelled.volumes}

    @cache
    def features(case):
        return embedder.dense(images[case]).astype(np.float16).astype(np.float32)

    return run_draw("S", features, labelled, draw(labelled, number, 0), PatchProbe(head=head))


def units_of(out):
    summary = json.loads((out / "evaluation.json").read_text())
    return {digest: json.loads((out / f"results/{digest}.json").read_text()) for digest in summary["units"]}


def everything_written(out):
    return b"".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file())


@pytest.mark.usefixtures("ray_cluster")
def test_each_head_writes_rows_and_pictures_and_goes_on_with_the_same_features(data, tmp_path, capsys):
    computed = []
    for head, draws in DRAWS.items():
        arguments = asked(data, "--encoder", "R=random:S", "--draws", str(draws), "--mode", head, *SMALL)
        out = ["--out", str(tmp_path)]
        patch_probe([*arguments, *out])
        rows = from_csv((tmp_path / "measurements.csv").read_bytes())
        assert {(row.protocol, row.task, row.mode) for row in rows} == {("patch_probe", "shapes", head)}
        assert {(row.encoder, row.draw) for row in rows} == {(name, k) for name in "SR" for k in range(draws)}
        for number in range(draws):
            expected = {
                (row.case, row.label, row.metric): row.value
                for row in computed_again(data, head, number).rows
            }
            found = {
                (row.case, row.label, row.metric): row.value
                for row in rows
                if (row.encoder, row.draw) == ("S", number)
            }
            assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)
        patch_probe([*arguments, *out])
        assert f"{2 * draws} of {2 * draws} units are done already" in capsys.readouterr().out
        computed.append(
            {path: path.stat().st_mtime_ns for path in (tmp_path / "features").rglob("*.features")}
        )
    assert len(computed[0]) == 2 * 12
    assert computed[0] == computed[1]
    for identifying in (b"DOE", b"case000", str(data).encode()):
        assert identifying not in everything_written(tmp_path)


@pytest.mark.usefixtures("ray_cluster")
def test_a_unit_tells_its_strength_of_l2_and_shows_its_masks(data, tmp_path):
    patch_probe(asked(data, "--draws", "1", "--set", "patch_probe.l2=[0.5]", *SMALL, "--out", str(tmp_path)))
    ((digest, unit),) = units_of(tmp_path).items()
    assert unit["curve"] == {"l2": 0.5}
    assert unit["identity"]["settings"]["l2"] == [0.5]
    assert unit["identity"]["features"]["kind"] == "dense"
    pictures = load_pictures(place(str(tmp_path)), f"pictures/{digest}.npz")
    labelled = read_volumes(load_task(str(data / "DOE-JANE/shapes.toml")), data / "DOE-JANE")
    masks = {one.case: one.mask for one in labelled.of("test")}
    assert {one.case for one in pictures} == set(masks)
    for one in pictures:
        np.testing.assert_array_equal(one.truth, masks[one.case][one.index])
        assert set(one.layers) == {"prediction"}
        assert one.layers["prediction"].max() <= 2


@pytest.mark.usefixtures("ray_cluster")
def test_development_patients_are_judged_if_asked(data, tmp_path):
    more = ("--draws", "1", "--mode", "knn", "--part", "development", *SMALL)
    patch_probe(asked(data, *more, "--out", str(tmp_path)))
    labelled = read_volumes(load_task(str(data / "DOE-JANE/shapes.toml")), data / "DOE-JANE")
    rows = from_csv((tmp_path / "measurements.csv").read_bytes())
    assert {row.patient for row in rows} == set(labelled.split.development)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--set", "patch_probe.head=forest"], "setting patch_probe.head"),
        (["--set", "patch_probe.neighbours=0"], "setting patch_probe.neighbours"),
        (["--set", "patch_probe.l2=[]"], "setting patch_probe.l2"),
        (["--set", "patch_probe.lr=1"], "unknown setting 'patch_probe.lr'"),
        (["--set", "features.kind=pooled"], "features of kind pooled"),
    ],
)
def test_a_mistake_is_one_clear_line(more, told, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mricore.workflows.evaluate.ray_session", pytest.MonkeyPatch.context)
    assert run(patch_probe, asked(data, *more)) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
