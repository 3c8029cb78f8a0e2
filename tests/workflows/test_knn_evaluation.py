"""Nearest neighbours by their script: on labelled tasks and on a curated dataset, for several encoders."""

import json
import re

import mlflow
import numpy as np
import pytest
from foreign_weights import SAM, dinov2_network, meta_sam, saved
from records import dataset_of, slice_record
from small_tasks import small_task, write_small_task

from eval.knn import main as knn
from eval.report import main as report
from mricore.config.probes import NearestNeighbours
from mricore.config.task import load_task
from mricore.data.storage import place
from mricore.evaluation.contenders import opened, parsed
from mricore.evaluation.features import Parts
from mricore.evaluation.knn import knn_predictions
from mricore.evaluation.measurements import from_csv
from mricore.evaluation.tasks.reading import read_volumes
from mricore.model.embedder import Embedder
from mricore.registry.publish import publish
from mricore.training.place import Home
from mricore.training.telemetry import require_tracking, start_run
from mricore.workflows.entry import run
from mricore.workflows.knn import NeighbourWork

CATEGORIES = '\n[categories.vendor]\nof = "{{case}}"\nvalues = {{ {values} }}\n'
SMALL = ("--set", "features.image_size=32", "--set", "features.source=in_process")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small task of 18 patients in two categories, another of 6, and SAM's whole file."""
    folder = tmp_path_factory.mktemp("data")
    task = write_small_task(folder / "DOE-JANE", pool=12, development=2, test=4)
    values = ", ".join(f'case{number:03d} = "{"AB"[number % 2]}"' for number in range(18))
    task.write_text(task.read_text() + CATEGORIES.format(values=values))
    other = write_small_task(folder / "other", seed=1, pool=4, development=1, test=2)
    other.write_text(other.read_text().replace('name = "shapes"', 'name = "circles"'))
    saved(folder, meta_sam().state_dict(), "sam.pth")
    return folder


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """128 slices of 8 patients: knees have bright halves, spines do not; all planes are axial."""
    folder = tmp_path_factory.mktemp("curated") / "DOE-JOHN"
    rng = np.random.default_rng(0)
    records = []
    for number in range(128):
        record = slice_record(number, rng)
        if record.location == "knee":
            record.pixels[: len(record.pixels) // 2] //= 8
        records.append(record)
    return folder, dataset_of(place(str(folder)), records)


def asked(data, *names):
    """Arguments with tasks and two encoders."""
    tasks = [f"{data / name / 'shapes.toml'}={data / name}" for name in names]
    return [*tasks, *encoders(data)]


def encoders(data):
    return ["--encoder", f"S=sam:{data / 'sam.pth'}", "--encoder", "R=random:S"]


def measured(out):
    return from_csv((out / "measurements.csv").read_bytes())


def everything_written(out):
    return b"".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file())


@pytest.mark.usefixtures("ray_cluster")
def test_test_patients_are_named_by_all_others_and_the_report_shows_it(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [*asked(data, "DOE-JANE"), "--baseline", "R", *SMALL]
    knn(arguments)
    out = tmp_path / "outputs/evaluation/knn"
    rows = measured(out)
    task = read_volumes(load_task(str(data / "DOE-JANE/shapes.toml")), data / "DOE-JANE")
    (spec,) = parsed([f"S=sam:{data / 'sam.pth'}"])
    embedder = opened(spec, 0, {}).embedder.at_size(32)
    features = np.concatenate([embedder(one.image) for one in task.volumes])
    labels = np.array([one.categories["vendor"] for one in task.volumes for _ in one.image])
    patients = np.array([one.patient for one in task.volumes for _ in one.image])
    cases = [f"{one.case}/{index}" for one in task.volumes for index in range(len(one.image))]
    right = (knn_predictions(features, labels, patients) == labels).astype(float)
    expected = {
        case: value
        for case, patient, value in zip(cases, patients, right, strict=True)
        if patient in task.split.test
    }
    found = {row.case: row.value for row in rows if (row.encoder, row.metric) == ("S", "accuracy")}
    assert found == expected
    assert {(row.protocol, row.task, row.draw) for row in rows} == {("knn", "vendor of shapes", 0)}
    assert "S - R" in capsys.readouterr().out
    for identifying in (b"DOE", b"case000", str(data).encode()):
        assert identifying not in everything_written(out)

    knn(arguments)
    assert "2 of 2 units are done already" in capsys.readouterr().out
    assert measured(out) == rows
    report([str(out), "--figures", str(tmp_path / "figures")])
    page = (out / "report.html").read_text()
    assert "Nearest neighbours" in page
    assert [path for path in (tmp_path / "figures").iterdir() if "confusion" in path.name]


@pytest.mark.usefixtures("ray_cluster")
def test_several_tasks_are_told_apart_by_their_body_part(data, tmp_path):
    knn([*asked(data, "DOE-JANE", "other"), *SMALL, "--out", str(tmp_path)])
    rows = measured(tmp_path)
    assert {row.task for row in rows} == {"task of shapes + circles"}
    assert {row.label for row in rows} == {"mean", "shapes", "circles"}
    assert {row.patient.partition(":")[0] for row in rows} == {"shapes", "circles"}


def test_development_patients_are_judged_without_those_of_the_test_part(tmp_path):
    """What choices rest on must not change with the categories of test patients."""
    task = small_task(pool=4, development=2, test=2)
    rng = np.random.default_rng(0)
    found = []
    for shift in (0, 5):
        parts = Parts(place(str(tmp_path)), f"shift{shift}")
        for one in task.volumes:
            of_test = one.patient in task.split.test
            own = rng if of_test else np.random.default_rng(int(one.case[-3:]))
            vectors = own.normal(size=(len(one.image), 4)) + of_test * shift
            parts.write(one.case, vectors.astype(np.float32))
        work = NeighbourWork("e", "vendor", "development", NearestNeighbours(neighbours=3))
        found.append(work(task, parts, device="cpu").rows)
        assert {row.patient for row in found[-1]} == set(task.split.development)
    assert found[0] == found[1]
    work = NeighbourWork("e", "vendor", "test", NearestNeighbours(neighbours=3))
    assert {row.patient for row in work(task, parts, device="cpu").rows} == set(task.split.test)


@pytest.mark.usefixtures("ray_cluster")
def test_a_curated_dataset_is_judged_by_what_curation_found(data, curated, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, manifest = curated
    name = f"dataset {manifest.digest[:8]}"
    arguments = ["--dataset", str(folder), *encoders(data), "--set", "sample.slices=100"]
    knn([*arguments, "--set", "sample.image_size=32", "--out", "out"])
    told = capsys.readouterr().out
    assert re.search(r"category: location: 100 of 100 slices, 8 patients, 2 classes; always .* 0\.\d+", told)
    assert "category: plane: not judged; 1 categories occur in 2 patients or more" in told
    assert f"knn (strict), accuracy, location of {name}: " in told
    assert f"{name}: no version of the registry was pretrained on this very dataset; of encoders" in told
    rows = measured(tmp_path / "out")
    assert {row.task for row in rows} == {f"location of {name}"}
    accuracy = {
        encoder: [row.value for row in rows if (row.encoder, row.metric) == (encoder, "accuracy")]
        for encoder in ("S", "R")
    }
    assert [len(values) for values in accuracy.values()] == [100, 100]
    assert np.mean(accuracy["S"]) > 0.9  # halves of another brightness are plain to any encoder
    summary = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert summary["datasets"] == {name: {"digest": manifest.digest}}
    for identifying in (b"DOE", b"patient1", b"slice000001", str(tmp_path).encode()):
        assert identifying not in everything_written(tmp_path / "out")
    assert {row.patient for row in rows} == {f"patient_{number:05d}" for number in range(8)}

    knn([*arguments, "--set", "sample.image_size=32", "--out", "out"])
    assert "2 of 2 units are done already" in capsys.readouterr().out


@pytest.mark.usefixtures("ray_cluster")
def test_that_a_version_was_pretrained_on_the_dataset_is_told_and_logged(
    curated, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder, manifest = curated
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    published(Home(place(str(tmp_path / "outputs")), uri), tmp_path / "encoder", manifest.digest)
    mlflow.set_tracking_uri(uri)
    try:
        knn(["--dataset", str(folder), "--encoder", "ours=models:/encoder@champion"])
    finally:
        mlflow.set_tracking_uri(None)
    seen = f"dataset {manifest.digest[:8]}: models:/encoder/1 saw its slices in pretraining"
    assert seen in capsys.readouterr().out
    client = mlflow.MlflowClient(uri, uri)
    score = f"score.knn.location of dataset {manifest.digest[:8]}.strict.accuracy"
    assert score in client.get_model_version("encoder", "1").tags
    (logged,) = client.search_runs([client.get_experiment_by_name("mricore-evaluation").experiment_id])
    assert manifest.digest in logged.data.tags.values()
    assert any(value.startswith(seen) for value in logged.data.tags.values())


def published(where, folder, digest):
    require_tracking(where)
    folder.mkdir()
    Embedder.from_network(dinov2_network(SAM), SAM, 32).save(folder)
    tracked = start_run(where, "training", "a run", {}, {})
    publish(
        folder,
        tracking_uri=where.tracking_uri,
        run_id=tracked.run_id,
        name="encoder",
        alias="champion",
        card="",
        tags={"manifest_digest": digest},
        generated_phantoms=True,
    )


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "nothing to judge on"),
        (["--dataset", "nowhere"], "nowhere"),
        (["--dataset", "{curated}", "{task}"], "--dataset and tasks do not go together"),
        (["--dataset", "{curated}", "--part", "development"], "--dataset and --part"),
        (["--dataset", "{curated}", "--pretraining", "x"], "--dataset and --pretraining"),
        (["--dataset", "{curated}", "--category", "colour"], "valid names: location"),
        (["--dataset", "{curated}", "--category", "plane"], "no category of the dataset can be judged"),
        (["--dataset", "{curated}", "--set", "features.batch=1"], "unknown setting 'features.batch'"),
        (["{task}", "--category", "colour"], "use --category with one of: vendor"),
        (["{task}", "--set", "features.kind=dense"], "features of kind dense are not one per slice"),
        (["{task}", "--set", "sample.slices=1"], "unknown setting 'sample.slices'"),
    ],
)
def test_a_mistake_is_one_clear_line(more, told, data, curated, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mricore.workflows.evaluate.ray_session", pytest.MonkeyPatch.context)
    task = f"{data / 'DOE-JANE' / 'shapes.toml'}={data / 'DOE-JANE'}"
    given = [one.format(curated=curated[0], task=task) for one in more]
    assert run(knn, [*given, *encoders(data)]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error
