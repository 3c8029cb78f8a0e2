"""A whole study whose trainings happen in this process: states, encoders, scores, MLflow, and what fails."""

import json
from dataclasses import replace

import boto3
import mlflow
import numpy as np
import pytest
import torch
from records import small_dataset
from servers import s3_server
from small_studies import CHECKPOINT, QUICK, Here, train_here
from small_tasks import write_small_task

from mricore.config.study import arm_of, load_study, study_of
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.evaluation.contenders import digest_of
from mricore.evaluation.measurements import from_csv
from mricore.evaluation.pictures import load_pictures
from mricore.evaluation.tasks.reading import read_volumes
from mricore.model.embedder import Embedder
from mricore.study_records import StudyResult
from mricore.training import claim
from mricore.training.checkpoint import read_shipped, shipped, snapshot
from mricore.training.claim import InUseError, claimed
from mricore.training.initial import initial_state
from mricore.workflows.ablate import AblationRequest, ablate
from mricore.workflows.evaluate import read_tasks
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.study_folder import StudyFolder
from mricore.workflows.study_trainings import recipes_of

ARMS = {
    "long": ["train.epochs=3"],
    "short": ["train.epochs=1", "train.schedule_epochs=3"],
    "same": ["train.epochs=3", "train.log_every=2"],
    "other": ["train.epochs=1", "seed=5"],
}
TRAINED = tuple(setting for setting in QUICK if not setting.startswith("few_shot."))
EVALUATION = "evaluations/few_shot-cpu"
DECLARED = """
name = "proof"
title = "Is training better than none?"
recipe = "tiny"
baseline = "before"
[[arm]]
name = "before"
untrained = true
[[arm]]
name = "trained"
settings = ["train.epochs=1"]
[[arm]]
name = "other seed"
settings = ["train.epochs=1", "seed=5"]
[[judge]]
protocol = "patch_probe"
draws = 2
settings = ["features.image_size=32"]
arms = ["before", "trained"]
[[judge]]
protocol = "zero_shot"
settings = ["features.image_size=32", "clusters.counts=[2]"]
[[judge]]
protocol = "knn"
settings = ["features.image_size=32"]
[[question]]
name = "training"
title = "Is training better than none?"
reference = "before"
arms = ["trained", "other seed"]
"""
pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A dataset, and a labelled task whose folder names a patient."""
    folder = tmp_path_factory.mktemp("given")
    small_dataset(place(str(folder / "dataset")), 64)
    write_small_task(folder / "DOE-JANE", pool=12, development=3, test=4)
    other = write_small_task(folder / "others", seed=3, pool=12, development=3, test=4)
    other.write_text(other.read_text().replace('name = "shapes"', 'name = "blocks"'))
    return folder


@pytest.fixture
def asked(given, tmp_path, monkeypatch):
    """A function that runs a study in ``tmp_path`` with stand-in trainings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(trainer, arms=ARMS, **changes):
        monkeypatch.setattr("mricore.workflows.study_launch.run_study", trainer)
        task = given / "DOE-JANE"
        request = AblationRequest(
            study=None,
            recipe=None,
            arms=tuple(arm_of(name, settings) for name, settings in arms.items()),
            assignments=QUICK,
            data=str(given / "dataset"),
            out=None,
            key_file=tmp_path / "key",
            tasks=(f"{task / 'shapes.toml'}={task}",),
            draws=2,
        )
        return ablate(replace(request, **changes))

    return run


def folder_of(tmp_path):
    return tmp_path / "outputs/studies/arms"


def test_no_other_command_trains_the_runs_of_a_study_meanwhile(asked, monkeypatch):
    monkeypatch.setattr(claim, "PATIENCE", 0.0)
    runs = []

    class Another(Here):
        """Trains nothing: it is interrupted. Before that, another command wants each of the runs."""

        def __call__(self, trials, dataset, place_of_runs, *others):
            runs.extend(Place(place_of_runs.joined(trial.run)) for trial in trials)
            for run in runs:
                with pytest.raises(InUseError), claimed(run):
                    pass
            super().__call__(trials, dataset, place_of_runs, *others)

    with pytest.raises(KeyboardInterrupt):
        asked(Another(dies_after=0))
    assert len(runs) == 2
    monkeypatch.setattr(claim, "PATIENCE", 20.0)
    for run in runs:
        with claimed(run):
            pass


def test_a_study_is_trained_judged_compared_and_logged_and_goes_on(asked, tmp_path, capsys):
    trainer = Here()
    result = asked(trainer)
    told = capsys.readouterr().out
    assert "short: short run: after 2 steps" in told
    assert "long, same: short run: after 6 steps" in told
    assert "training long, short, same: step 1/2\n" in told
    assert len(trainer.trained) == 2
    folder = folder_of(tmp_path)
    assert StudyResult.from_json((folder / "study.json").read_bytes()) == result
    arms = {arm.name: arm for arm in result.arms}
    assert {name: (arm.state, arm.epoch, arm.epochs) for name, arm in arms.items()} == {
        "long": ("finished", 3, 3),
        "short": ("finished", 1, 3),
        "same": ("finished", 3, 3),
        "other": ("finished", 1, 1),
    }
    assert arms["same"].encoder == arms["long"].encoder != arms["short"].encoder
    assert arms["long"].run == arms["short"].run != arms["other"].run
    assert (arms["short"].steps, arms["long"].steps) == (2, 6)
    assert len(list((folder / "encoders").iterdir())) == 3
    _, network = read_shipped(tmp_path / "outputs/runs" / arms["short"].run / arms["short"].checkpoint)
    loaded = Embedder.load(folder / "encoders" / arms["short"].encoder)
    assert loaded.encoder.pos_embed.equal(network.encoder.pos_embed)

    rows = from_csv((folder / EVALUATION / "measurements.csv").read_bytes())
    assert {row.encoder for row in rows} == {"long", "short", "other"}
    assert json.loads((folder / EVALUATION / "evaluation.json").read_text())["part"] == "development"
    (judged,) = result.evaluations
    assert (judged.protocol, judged.mode, judged.draws, judged.tasks) == ("few_shot", "cpu", 2, ("shapes",))
    assert (result.part, result.judging[:4]) == ("development", ("--mode", "cpu", "--draws", "2"))
    assert "short - long" in told
    assert b"short" in (folder / "comparison.csv").read_bytes()

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    parent = client.get_run(result.mlflow_run_id)
    assert parent.data.tags["mricore.study"] == "arms"
    assert parent.data.tags["manifest_digest"] == result.manifest_digest
    assert {file.path for file in client.list_artifacts(result.mlflow_run_id)} == {
        *("study.json", "measurements.csv", "comparison.csv", "report.html", "tables.md", "figures")
    }
    child = client.get_run(arms["long"].mlflow_run_id)
    assert child.data.tags["mlflow.parentRunId"] == result.mlflow_run_id
    name = "study/few_shot/shapes/cpu.dice_3d"
    logged = {metric.step: metric.value for metric in client.get_metric_history(child.info.run_id, name)}
    assert set(logged) == {2, 6}
    for step, arm in ((2, "short"), (6, "long")):
        values = [
            row.value for row in rows if (row.encoder, row.metric, row.label) == (arm, "dice_3d", "mean")
        ]
        assert logged[step] == pytest.approx(np.mean(values))
    assert child.info.status == parent.info.status == "FINISHED"

    again = Here()
    assert asked(again) == result
    assert again.trained == []
    told = capsys.readouterr().out
    assert "2 of 2 trainings are done already" in told
    assert "6 of 6 units are done already" in told
    for path in folder.rglob("*"):
        if path.is_file():
            assert not any(name in path.read_bytes() for name in (b"DOE", b"JANE", b"case000")), path


def test_arms_that_fail_are_told_and_all_others_are_judged(asked, tmp_path, capsys):
    arms = {
        "well": ["seed=1"],
        "ill": ["seed=2"],
        "broken": ["seed=3"],
        "last": ["seed=4", "train.epochs=1"],
    }
    breaks = {
        2: {"problem": "training paused at step 3: the loss is not finite (lower it)", "paused": True},
        3: {"problem": "a shard is damaged (restore it)"},
    }
    with pytest.raises(UserError, match=r"1 of the study's steps failed \(training of broken\)"):
        asked(Here(breaks), arms)
    result = StudyResult.from_json((folder_of(tmp_path) / "study.json").read_bytes())
    assert [(arm.name, arm.state, bool(arm.encoder)) for arm in result.arms] == [
        ("well", "finished", True),
        ("ill", "ill", False),
        ("broken", "failed", False),
        ("last", "finished", True),
    ]
    told = capsys.readouterr().out
    assert "training 2 of 4: ill: is ill: training paused at step 3" in told
    assert "training 3 of 4: broken: failed: a shard is damaged" in told
    rows = from_csv((folder_of(tmp_path) / EVALUATION / "measurements.csv").read_bytes())
    assert {row.encoder for row in rows} == {"well", "last"}
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    states = {arm.name: client.get_run(arm.mlflow_run_id).info.status for arm in result.arms}
    assert states == {"well": "FINISHED", "ill": "FAILED", "broken": "FAILED", "last": "FINISHED"}

    mended = Here()
    result = asked(mended, arms)
    assert [arm.state for arm in result.arms] == ["finished"] * 4
    assert len(mended.trained) == 2


def test_a_fault_of_ours_ends_with_code_1_after_all_else_is_done(asked, tmp_path, capsys):
    breaks = {5: {"problem": "RuntimeError: no /data/of/doe", "is_ours": True}}
    with pytest.raises(SystemExit) as caught:
        asked(Here(breaks))
    assert caught.value.code == 1
    assert (folder_of(tmp_path) / EVALUATION / "measurements.csv").exists()
    assert "failed: RuntimeError: no /data/of/doe" in capsys.readouterr().out
    for name in ("study.json", "report.html"):  # what others are shown names no place
        kept = (folder_of(tmp_path) / name).read_text()
        assert "RuntimeError" in kept
        assert "/data/of" not in kept


def test_a_study_without_its_reference_answers_what_it_can(asked, tmp_path, capsys):
    breaks = {0: {"problem": "training paused: ill", "paused": True}}
    result = asked(Here(breaks), {"a": ["seed=0"], "b": ["seed=1"], "c": ["seed=2"]})
    told = capsys.readouterr().out
    assert "a has no encoder to compare with" in told
    assert [bool(arm.encoder) for arm in result.arms] == [False, True, True]


def test_an_interrupted_study_keeps_what_is_trained(asked, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        asked(Here(dies_after=1))
    half = StudyResult.from_json((folder_of(tmp_path) / "study.json").read_bytes())
    assert {arm.state for arm in half.arms} == {"waiting"}
    assert [arm.seconds_measured for arm in half.arms] == [1.0, 1.0, 1.0, None]
    rest = Here()
    result = asked(rest)
    assert len(rest.trained) == 1
    assert {arm.state for arm in result.arms} == {"finished"}
    assert result.mlflow_run_id == half.mlflow_run_id


def test_an_epoch_that_a_run_went_past_is_trained_as_a_run_of_its_own(asked, given, tmp_path):
    first = asked(Here(), {"long": ["train.epochs=3"]}, tasks=())
    late = Here()
    result = asked(late, {"long": ["train.epochs=3"], "short": ["train.epochs=2", "train.schedule_epochs=3"]})
    assert len(late.trained) == 1
    assert result.arm("long").run == first.arm("long").run != result.arm("short").run
    assert (result.arm("short").epochs, result.arm("short").steps) == (2, 4)
    # and it is what the long run would have kept
    recipe = recipes_of(study_of("s", "S", "tiny", [arm_of("a", ["train.epochs=3"])]), "tiny", TRAINED)["a"]
    kept = recipe.model_copy(update={"train": recipe.train.model_copy(update={"keep_epochs": (2,)})})
    train_here(kept, place(str(given / "dataset")), Place(str(tmp_path / "twin")))
    _, twin = read_shipped(tmp_path / "twin/epoch_00002")
    _, own = read_shipped(tmp_path / "outputs/runs" / result.arm("short").run / CHECKPOINT)
    tensors = own.state_dict()
    assert all(tensor.equal(tensors[name]) for name, tensor in twin.state_dict().items())


def test_epochs_are_looked_for_in_the_attempt_that_is_gone_on_with(asked, tmp_path):
    """A first attempt ended at once; the second, begun with --fresh, kept no epoch."""
    first = asked(Here(), {"long": ["train.epochs=3"]}, tasks=()).arm("long").run
    runs = tmp_path / "outputs/runs"
    (runs / first).rename(runs / f"{first}-1")
    record = json.loads((runs / f"{first}-1/run.json").read_text())
    (runs / f"{first}-1/run.json").write_text(json.dumps(record | {"name": f"{first}-1"}))
    (runs / first).mkdir()
    (runs / first / "run.json").write_text(json.dumps(record | {"checkpoint": ""}))
    late = Here()
    result = asked(late, {"long": ["train.epochs=3"], "short": ["train.epochs=2", "train.schedule_epochs=3"]})
    assert [arm.state for arm in result.arms] == ["finished", "finished"]
    assert result.arm("long").run == f"{first}-1"
    assert late.trained == [result.arm("short").run]


def test_what_is_trained_needs_no_room_and_keeps_the_time_that_was_foretold(asked, tmp_path):
    trained = asked(Here(), {"a": ["seed=1"], "b": ["seed=2"]})
    foretold = replace(
        trained, arms=tuple(replace(arm, run="", seconds_predicted=7.0) for arm in trained.arms)
    )
    (folder_of(tmp_path) / "forecast.json").write_text(foretold.to_json())
    again = Here()
    many = (*QUICK, "train.cpus_per_worker=64")
    result = asked(again, {"a": ["seed=1"], "b": ["seed=2"]}, assignments=many)
    assert again.trained == []
    assert [arm.seconds_predicted for arm in result.arms] == [7.0, 7.0]


@pytest.fixture
def declared(asked, given, tmp_path):
    """A function that runs the study of a file on two tasks."""
    tasks = tuple(f"{given / name / 'shapes.toml'}={given / name}" for name in ("DOE-JANE", "others"))

    def run(trainer, *changes, **more):
        text = DECLARED
        for before, after in changes:
            assert before in text
            text = text.replace(before, after, 1)
        path = tmp_path / "proof.toml"
        path.write_text(text)
        given = {"arms": {}, "study": str(path), "tasks": tasks, "draws": None, "assignments": TRAINED}
        return asked(trainer, **(given | more))

    return run


def test_a_file_says_how_arms_and_the_encoder_before_training_are_judged(declared, tmp_path, capsys):
    trainer = Here()
    result = declared(trainer)
    told = capsys.readouterr().out
    assert len(trainer.trained) == 2
    before = result.arm("before")
    assert (before.run, before.mlflow_run_id, before.epoch, before.steps) == ("", "", 0, 0)
    assert (before.state, before.is_trained) == ("finished", False)
    assert len({arm.encoder for arm in result.arms}) == 3
    folder = tmp_path / "outputs/studies/proof"
    recipe = recipes_of(load_study(str(tmp_path / "proof.toml")), "tiny", TRAINED)["before"]
    fresh = shipped(snapshot(initial_state(recipe, torch.device("cpu"))), recipe).encoder.state_dict()
    kept = Embedder.load(folder / "encoders" / before.encoder).encoder.state_dict()
    assert all(tensor.equal(kept[name]) for name, tensor in fresh.items())

    assert [one.folder for one in result.evaluations] == [
        *("evaluations/patch_probe-linear", "evaluations/zero_shot-paper", "evaluations/knn-strict")
    ]
    assert [one.draws for one in result.evaluations] == [2, 1, 1]
    rows = {one.protocol: measured(folder / one.folder) for one in result.evaluations}
    arms = {"before", "trained", "other seed"}
    assert {row.encoder for row in rows["patch_probe"]} == {"before", "trained"}
    assert {row.encoder for row in rows["zero_shot"]} == {*arms, "raw pixels"}
    assert {row.encoder for row in rows["knn"]} == arms
    for one in result.evaluations:
        summary = json.loads((folder / one.folder / "evaluation.json").read_text())
        assert (summary["part"], summary["baseline"]) == ("development", "before")
        assert summary["settings"]["features"]["image_size"] == 32
        assert "not compared" not in str(summary["leaks"])

    # features are computed once: of three arms on two tasks, of slices and of their patches
    assert len(list(folder.glob("evaluations/features/*/*/*"))) == 12
    assert not list(folder.glob("evaluations/*-*/features"))

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    artifact = mlflow.artifacts.load_text(
        f"{client.get_run(result.mlflow_run_id).info.artifact_uri}/measurements.csv"
    )
    assert {row.protocol for row in from_csv(artifact.encode())} == set(rows)
    logged = set(client.get_run(result.arm("trained").mlflow_run_id).data.metrics)
    assert {f"study/{name}" for name in ("patch_probe", "zero_shot", "knn")} <= {
        "/".join(name.split("/")[:2]) for name in logged
    }
    assert "judging 3 of 3: knn (strict)" in told
    assert "patch_probe" in (folder / "tables.md").read_text() + told
    assert list((folder / "figures").glob("*.svg"))

    again = Here()
    assert declared(again) == result
    assert again.trained == []
    for path in folder.rglob("*"):
        if path.is_file():
            assert not any(name in path.read_bytes() for name in (b"DOE", b"JANE", b"case000")), path


def measured(folder):
    return from_csv((folder / "measurements.csv").read_bytes())


def test_a_judge_that_fails_does_not_keep_the_next_from_judging(declared, tmp_path, monkeypatch, capsys):
    def broken(*given, device):
        raise RuntimeError("no /data/of/doe")

    monkeypatch.setattr("mricore.workflows.patch_probe.PatchProbeWork", lambda *given: broken)
    with pytest.raises(SystemExit) as caught:
        declared(Here())
    assert caught.value.code == 1
    assert "1 of the study's steps failed (judging by patch_probe (linear))" in capsys.readouterr().err
    folder = tmp_path / "outputs/studies/proof"
    result = StudyResult.from_json((folder / "study.json").read_bytes())
    assert [one.protocol for one in result.evaluations] == ["patch_probe", "zero_shot", "knn"]
    assert not measured(folder / "evaluations/patch_probe-linear")
    assert measured(folder / "evaluations/knn-strict")
    assert "/data/of" not in (folder / "report.html").read_text()


def test_test_patients_judge_where_the_file_says_so(declared, tmp_path):
    only = DECLARED[DECLARED.index("[[judge]]") : DECLARED.index('[[judge]]\nprotocol = "knn"')]
    result = declared(Here(), ("\nname", '\npart = "test"\nname'), (only, ""))
    assert result.part == "test"
    folder = tmp_path / "outputs/studies/proof/evaluations/knn-strict"
    assert json.loads((folder / "evaluation.json").read_text())["part"] == "test"


@pytest.mark.parametrize(
    ("changes", "more", "told"),
    [
        ([('"knn"', '"knn"\nmode = "paper"')], {}, "knn has no mode 'paper'"),
        ([("image_size=32", "image_width=32")], {}, r"judge patch_probe \(linear\): unknown setting"),
        ([("draws = 2", "draws = 2\nmode = 'cpu'")], {}, "valid modes: linear, knn|has no mode 'cpu'"),
        ([('features.image_size=32"]\n[[q', 'features.kind=dense"]\n[[q')], {}, "not one per slice"),
        ([], {"mode": "cpu"}, "says itself how its arms are judged"),
        ([], {"tasks": ()}, "no labelled task"),
        ([], {"decoder": "sam.pth"}, "--decoder does nothing"),
        (
            [],
            {"assignments": (*TRAINED, "few_shot.epochs=2")},
            "no judge of study proof has settings few_shot",
        ),
    ],
)
def test_a_mistake_in_a_judge_is_told_before_any_training(declared, changes, more, told):
    trainer = Here()
    with pytest.raises(UserError, match=told):
        declared(trainer, *changes, **more)
    assert trainer.trained == []


def test_without_a_labelled_task_arms_are_judged_by_their_neighbours(asked, tmp_path, capsys):
    result = asked(Here(), {"a": ["seed=1"], "b": ["seed=2"]}, tasks=())
    assert capsys.readouterr().out.count("k-NN accuracy") >= 2
    assert result.evaluations == ()
    assert not (folder_of(tmp_path) / "evaluations").exists()
    assert (folder_of(tmp_path) / "report.html").exists()


@pytest.mark.servers
def test_a_study_lives_in_a_bucket(asked, tmp_path, monkeypatch):
    with s3_server(tmp_path) as settings:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="studies")
        arms = {"long": ["train.epochs=2"], "short": ["train.epochs=1", "train.schedule_epochs=2"]}
        result = asked(Here(), arms, out="s3://studies/out", tasks=())
        again = Here()
        assert asked(again, arms, out="s3://studies/out", tasks=()) == result
        assert again.trained == []
        there = place("s3://studies/out/studies/arms")
        assert StudyResult.from_json(there.read_bytes("study.json")) == result
        names = [arm.encoder for arm in result.arms]
        with StudyFolder(there, result).encoders(names) as folders:
            for name in names:
                assert digest_of(Embedder.load(folders[name]), {}).startswith(name)
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    "mistake",
    [
        {"tasks": ("nothing=nowhere",)},
        {"data": "nowhere"},
        {"decoder": "nowhere.pth"},
        {"assignments": (*QUICK, "few_shot.epoch=1")},
    ],
)
def test_a_mistake_is_told_before_any_training(asked, mistake):
    trainer = Here()
    with pytest.raises(UserError):
        asked(trainer, **mistake)
    assert trainer.trained == []


def test_the_test_patients_are_neither_seen_nor_shown(asked, tmp_path, monkeypatch):
    """Noise in the place of their voxels changes no bit of any score; nothing of them is stored."""
    told = {}

    def read(task, root):
        labelled = read_volumes(task, root)
        told["test"] = set(labelled.split.test)
        told["others"] = {*labelled.split.pool, *labelled.split.development}
        return replace(
            labelled, volumes=tuple(map(changed, labelled.volumes)), digest=labelled.digest + str(noise)
        )

    def changed(volume):
        if not noise or volume.patient not in told["test"]:
            return volume
        image = np.random.default_rng(noise).normal(size=volume.image.shape).astype(np.float32)
        return replace(volume, image=image, mask=np.roll(volume.mask, 3, 1))

    monkeypatch.setattr("mricore.workflows.evaluate.read_volumes", read)
    tables = []
    for noise in (0, 7):
        asked(Here(), {"a": ["seed=1"], "b": ["seed=2"]}, out=str(tmp_path / str(noise)))
        evaluation = tmp_path / str(noise) / "studies/arms" / EVALUATION
        rows = from_csv((evaluation / "measurements.csv").read_bytes())
        tables.append(
            [(row.encoder, row.draw, row.patient, row.case, row.metric, row.value.hex()) for row in rows]
        )
        assert told["test"]
        assert {row.patient for row in rows} & told["test"] == set()
        units = json.loads((evaluation / "evaluation.json").read_text())["units"]
        shown = {
            one.case
            for unit in units
            for one in load_pictures(place(str(evaluation)), f"pictures/{unit}.npz")
        }
        assert shown
        assert shown <= {row.case for row in rows}
    assert tables[0] == tables[1]


def test_who_is_judged_for_choices_is_given_no_voxel_of_a_test_patient(given):
    task = given / "DOE-JANE"
    for part, without in (("development", True), ("test", False)):
        request = EvaluationRequest((f"{task / 'shapes.toml'}={task}",), None, (), "cpu", part=part)
        (labelled,) = read_tasks(request)
        there = {volume.patient for volume in labelled.volumes}
        assert set(labelled.split.development) <= there
        assert bool(there & set(labelled.split.test)) != without


def test_a_judge_with_failed_units_is_on_the_page_again_when_the_command_is_repeated(
    declared, tmp_path, capsys
):
    """A plain encoder has no neck to take patch features from; the others do."""
    plain = '"train.epochs=1", "seed=5", "model.kind=plain", "model.readout=class"'
    changes = (
        ('"train.epochs=1", "seed=5"', plain),
        (
            'draws = 2\nsettings = ["features.image_size=32"]\narms = ["before", "trained"]',
            'draws = 2\nsettings = ["features.image_size=32", "features.kind=neck"]',
        ),
    )
    found = []
    for _ in range(2):
        with pytest.raises(UserError, match="judging by patch_probe"):
            declared(Here(), *changes)
        folder = tmp_path / "outputs/studies/proof"
        found.append(StudyResult.from_json((folder / "study.json").read_bytes()).evaluations)
        assert {row.encoder for row in measured(folder / "evaluations/patch_probe-linear")} == {
            "before",
            "trained",
        }
    assert found[0] == found[1]
    assert [one.protocol for one in found[0]] == ["patch_probe", "zero_shot", "knn"]
    assert "has no neck" in capsys.readouterr().out
