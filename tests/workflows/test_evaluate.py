"""Whole evaluations by their scripts: what they write, that they go on, and what they refuse."""

import json

import mlflow
import pytest
from foreign_weights import SAM, dinov2_network, meta_sam, saved
from small_tasks import write_small_task

from eval.few_shot import main as few_shot
from eval.linear_probe import main as linear_probe
from eval.zero_shot import main as zero_shot
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.comparison import compare
from mricore.evaluation.contender import Contender
from mricore.evaluation.measurements import Measurement, from_csv
from mricore.evaluation.pictures import load_pictures
from mricore.evaluation.runner import Failure, Ran
from mricore.evaluation.units import Unit
from mricore.model.embedder import Embedder
from mricore.registry.publish import publish
from mricore.training.place import Home
from mricore.training.telemetry import require_tracking, start_run
from mricore.workflows.entry import run
from mricore.workflows.evaluate import open_contenders
from mricore.workflows.evaluation_scores import log_scores

CATEGORIES = '\n[categories.vendor]\nof = "{{case}}"\nvalues = {{ {values} }}\n'
SMALL = ("--set", "features.image_size=32", "--set", "features.source=in_process")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small task of 18 patients in two categories, and SAM's whole file of any size."""
    folder = tmp_path_factory.mktemp("data")
    task = write_small_task(folder / "DOE-JANE", pool=12, development=2, test=4)
    values = ", ".join(f'case{number:03d} = "{"AB"[number % 2]}"' for number in range(18))
    task.write_text(task.read_text() + CATEGORIES.format(values=values))
    saved(folder, meta_sam().state_dict(), "sam.pth")
    return folder


def asked(data, *more):
    """Arguments that all scripts share."""
    task = data / "DOE-JANE" / "shapes.toml"
    return [f"{task}={task.parent}", "--encoder", f"S=sam:{data / 'sam.pth'}", *more]


def everything_written(out):
    return b"".join(path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file())


@pytest.mark.usefixtures("ray_cluster")
def test_a_probe_writes_rows_comparison_and_summary_and_goes_on(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = asked(data, "--encoder", "R=random:S", "--draws", "2", "--baseline", "R", *SMALL)
    linear_probe([*arguments, "--out", "out"])
    told = capsys.readouterr().out
    rows = from_csv((tmp_path / "out/measurements.csv").read_bytes())
    assert {(row.protocol, row.task, row.mode) for row in rows} == {
        ("linear_probe", "vendor of shapes", "strict")
    }
    assert {row.encoder for row in rows} == {"S", "R"}
    assert {row.draw for row in rows} == {0, 1}
    assert "S - R" in told
    assert "not compared with any pretraining data" in told
    summary = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert summary["encoders"]["R"]["origin"] == "random, seed 0"
    assert len(summary["units"]) == 4
    assert summary["failed"] == []
    unit = json.loads((tmp_path / f"out/results/{summary['units'][0]}.json").read_text())
    assert unit["origin"].startswith("sam, sha256 ")
    assert unit["identity"]["features"]["image_size"] == 32
    for identifying in (b"DOE", b"case000", str(data).encode()):
        assert identifying not in everything_written(tmp_path / "out")

    linear_probe([*arguments, "--out", "out"])
    assert "4 of 4 units are done already" in capsys.readouterr().out
    assert from_csv((tmp_path / "out/measurements.csv").read_bytes()) == rows
    # a new name and another draw: only the new draw is computed
    arguments[arguments.index("2")] = "3"
    renamed = [one.replace("S=sam", "SAM=sam").replace("random:S", "random:SAM") for one in arguments]
    linear_probe([*renamed, "--out", "out"])
    assert "4 of 6 units are done already" in capsys.readouterr().out
    again = from_csv((tmp_path / "out/measurements.csv").read_bytes())
    assert {row.encoder for row in again} == {"SAM", "R"}


@pytest.mark.usefixtures("ray_cluster")
def test_clusters_of_features_and_of_raw_pixels_are_compared_and_shown(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    zero_shot(asked(data, *SMALL, "--set", "clusters.counts=[2,4]", "--set", "clusters.objects=each"))
    out = tmp_path / "outputs/evaluation/zero_shot"
    rows = from_csv((out / "measurements.csv").read_bytes())
    assert {row.encoder for row in rows} == {"S", "raw pixels"}
    assert {row.mode for row in rows} == {"k=2", "k=4"}
    units = json.loads((out / "evaluation.json").read_text())["units"]
    for digest in units:
        pictures = load_pictures(place(str(out)), f"pictures/{digest}.npz")
        assert set(pictures[0].layers) == {"k=2", "k=4"}


def published(where, folder):
    folder.mkdir()
    Embedder.from_network(dinov2_network(SAM), SAM, 32).save(folder)
    tracked = start_run(where, "training", "a run", {}, {})
    return publish(
        folder,
        tracking_uri=where.tracking_uri,
        run_id=tracked.run_id,
        name="encoder",
        alias="champion",
        card="",
        tags={"manifest_digest": "f" * 64},
        generated_phantoms=True,
    )


@pytest.mark.usefixtures("ray_cluster")
def test_scores_of_a_registered_version_are_logged_beside_it(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    where = Home(place(str(tmp_path / "outputs")), uri)
    require_tracking(where)
    published(where, tmp_path / "encoder")
    mlflow.set_tracking_uri(uri)
    try:
        linear_probe(asked(data, "--encoder", "ours=models:/encoder@champion", "--draws", "2", *SMALL))
    finally:
        mlflow.set_tracking_uri(None)
    told = capsys.readouterr().out
    assert "encoder: ours: models:/encoder/1" in told
    assert "models:/encoder/1 was trained on dataset ffffffffffffffff, which is not here" in told
    version = mlflow.MlflowClient(uri, uri).get_model_version("encoder", "1")
    score = version.tags["score.linear_probe.vendor of shapes.strict.accuracy"]
    assert 0 <= float(score.partition(" ")[0]) <= 1
    (run_,) = mlflow.MlflowClient(uri, uri).search_runs(
        [mlflow.MlflowClient(uri, uri).get_experiment_by_name("mricore-evaluation").experiment_id]
    )
    assert run_.data.metrics["strict.accuracy.low"] <= run_.data.metrics["strict.accuracy"]


def test_without_mlflow_one_line_is_told_and_the_results_stay(tmp_path, capsys):
    embedder = Embedder.from_network(dinov2_network(SAM), SAM, 32)
    contender = Contender("ours", embedder, "d" * 64, "models:/encoder/1")
    rows = [
        Measurement("knn", "t", "strict", "ours", 0, patient, "c", "mean", "accuracy", 0.5)
        for patient in "ab"
    ]
    away = Home(place(str(tmp_path)), "http://127.0.0.1:9")
    log_scores({}, [contender], rows, compare(rows), {}, away)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("scores are not logged: MLflow at http://127.0.0.1:9 does not work")
    assert "the results stay" in line


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_few_shot_adapts_each_encoder_on_the_same_draws(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = {"image_size": 32, "epochs": 2, "least_epochs": 1, "adapters_first": 1, "adapters_last": 1}
    sets = [part for name, value in settings.items() for part in ("--set", f"few_shot.{name}={value}")]
    few_shot(asked(data, "--encoder", "R=random:S", "--mode", "cpu", "--draws", "1", *sets))
    out = tmp_path / "outputs/evaluation/few_shot"
    rows = from_csv((out / "measurements.csv").read_bytes())
    places = {name: {row.case for row in rows if row.encoder == name} for name in ("S", "R")}
    assert places["S"] == places["R"] != set()
    digest = json.loads((out / "evaluation.json").read_text())["units"][0]
    unit = json.loads((out / f"results/{digest}.json").read_text())
    assert unit["curve"]["points"][0]["epoch"] == 0
    assert (out / f"pictures/{digest}.npz").exists()
    assert "few_shot (cpu), dice_3d, shapes" in capsys.readouterr().out


@pytest.mark.usefixtures("ray_cluster")
def test_units_that_fail_by_what_was_given_are_exit_code_2_and_the_rest_is_kept(data, tmp_path, capsys):
    out = tmp_path / "out"
    blocks = ("--set", "few_shot.image_size=32", "--set", "few_shot.adapters_first=2", "--draws", "1")
    # four adapted blocks of three
    assert run(few_shot, [*asked(data), *blocks, "--mode", "cpu", "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert "failed: few_shot of S on shapes, draw 0: adapters in 2 + 2 of 3 blocks" in captured.out
    assert "1 of 1 units failed" in captured.err
    assert json.loads((out / "evaluation.json").read_text())["failed"]


@pytest.mark.parametrize(
    ("script", "more", "told"),
    [
        (few_shot, ["--set", "few_shot.rate=1"], "unknown setting 'few_shot.rate'"),
        (few_shot, ["--set", "few_shot.lr=fast"], "setting few_shot.lr"),
        (few_shot, ["--set", "clusters.starts=2"], "valid names"),
        (few_shot, ["--baseline", "nobody"], "no encoder is named 'nobody'"),
        (few_shot, ["--encoder", "T=sam:{sam}"], "T and S are the same encoder"),
        (few_shot, ["--encoder", "S=random:tiny"], "two encoders are named 'S'"),
        (few_shot, ["--encoder", "models:/nobody/1"], "no model at models:/nobody/1"),
        (few_shot, ["--pretraining", "nowhere"], "nowhere"),
        (linear_probe, ["--category", "colour"], "use --category with one of: vendor"),
        (zero_shot, ["--encoder", "x=what:file"], "names no encoder"),
    ],
)
def test_a_mistake_is_one_clear_line(script, more, told, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mricore.workflows.evaluate.ray_session", pytest.MonkeyPatch.context)
    assert run(script, asked(data, *(one.format(sam=data / "sam.pth") for one in more))) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_a_task_without_data_is_told(data, capsys):
    task = str(data / "DOE-JANE" / "shapes.toml")
    assert run(zero_shot, [task, "--encoder", f"S=sam:{data / 'sam.pth'}"]) == 2
    assert "add --data ROOT" in capsys.readouterr().err


def test_encoders_that_become_the_same_by_a_given_decoder_are_refused(data, tmp_path, capsys):
    """Their units would have one digest, and the rows of one would be taken for those of the other."""
    content = meta_sam().state_dict()
    alone = {name: one for name, one in content.items() if name.startswith("image_encoder.")}
    path = saved(tmp_path, alone, "alone.pth")
    texts = [f"S=sam:{data / 'sam.pth'}", f"A=sam:{path}"]
    with pytest.raises(UserError, match="A and S are the same encoder"):
        open_contenders(texts, 0, str(data / "sam.pth"))
    capsys.readouterr()
    (given,) = open_contenders(texts[1:], 0, str(data / "sam.pth"))
    assert given.digest[:12] in capsys.readouterr().out, "what is told is what results are kept under"


def test_scores_of_an_evaluation_with_failed_units_are_not_logged(data, tmp_path, monkeypatch, capsys):
    """A mean over fewer draws or tasks would stand beside the version under the name of the whole."""
    rows = [
        Measurement("few_shot", "shapes", "strict", "S", 0, f"p{n}", f"c{n}", "mean", "dice_3d", 0.5 + n / 10)
        for n in range(3)
    ]
    logged = []
    monkeypatch.setattr("mricore.workflows.evaluate.ray_session", pytest.MonkeyPatch.context)
    monkeypatch.setattr("mricore.workflows.evaluate.log_scores", lambda *given: logged.append(given))
    unit = Unit("few_shot", "shapes", "S", 1, {}, print)
    for failures in ([], [Failure(unit, "out of memory", is_users=True)]):
        ran = Ran(rows, failures)
        monkeypatch.setattr("mricore.workflows.evaluate.run_units", lambda *given, ran=ran: ran)
        status = run(few_shot, asked(data, "--draws", "1", "--out", str(tmp_path / "out")))
        assert status == (2 if failures else 0)
        assert len(logged) == 1
    assert "scores are not logged" in capsys.readouterr().out


def test_a_comparison_of_before_does_not_stay_beside_rows_that_cannot_be_compared(
    data, tmp_path, monkeypatch
):
    """It would be read as that of the rows beside it."""
    monkeypatch.setattr("mricore.workflows.evaluate.ray_session", pytest.MonkeyPatch.context)
    rows = [
        Measurement(
            "few_shot", "shapes", "strict", name, 0, f"p{n}", f"c{n}", "mean", "dice_3d", 0.5 + n / 10
        )
        for name in ("S", "T")
        for n in range(3)
    ]
    for some in (rows, rows[:-1]):
        ran = Ran(some, [])
        monkeypatch.setattr("mricore.workflows.evaluate.run_units", lambda *given, ran=ran: ran)
        few_shot(asked(data, "--draws", "1", "--out", str(tmp_path / "out")))
        lines = (tmp_path / "out/comparison.csv").read_text().splitlines()
        assert (len(lines) > 1) == (some is rows)
