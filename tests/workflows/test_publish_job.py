"""jobs/publish.py on runs that have finished: versions, gate, history, lineage; on SQLite."""

from dataclasses import replace

import mlflow
import numpy as np
import pytest
from finished_runs import dataset_in, encoder_digest, evaluation, finished_run

import mricore
from jobs.publish import main
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.contenders import digest_of
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.statistics import Interval
from mricore.registry.alias import Alias, events
from mricore.registry.judged import Judged, Score, record
from mricore.study_records import ArmResult, StudyResult
from mricore.training import launch
from mricore.training.place import Home
from mricore.training.telemetry import require_tracking, start_run
from mricore.workflows import publish as publish_module
from mricore.workflows.candidates import candidate_of
from mricore.workflows.entry import run
from mricore.workflows.publish_evaluations import Evaluation, common_rows


class World:
    """A working folder with a registry, two datasets and runs."""

    def __init__(self, folder):
        self.folder = folder
        self.where = Home(place(str(folder / "outputs")), f"sqlite:///{folder / 'mlflow.db'}")
        require_tracking(self.where)
        self.client = mlflow.MlflowClient(self.where.tracking_uri, self.where.tracking_uri)
        self.real = dataset_in(self.where)
        self.phantoms = dataset_in(self.where, phantoms=True)
        self.runs = [finished_run(self.where, self.real, folder / "made", seed) for seed in range(3)]
        self.digests = [encoder_digest(self.where, one) for one in self.runs]

    def judged(self, name, **means):
        """An evaluation of runs by number, e.g. ``r0=0.5``."""
        encoders = {one: (self.digests[int(one[1:])], mean) for one, mean in means.items()}
        return evaluation(self.folder / name, encoders)

    def alias(self, model):
        return Alias(self.client, model, "champion")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def publish(world, monkeypatch, capsys, request):
    """``jobs/publish.py`` in the world's folder, for a model of this test alone; what it printed."""
    monkeypatch.chdir(world.folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def call(*arguments, code=0):
        assert run(main, ["--name", request.node.name, *map(str, arguments)]) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    call.model = request.node.name
    return call


def test_the_first_version_takes_the_alias_and_the_same_encoder_is_registered_once(world, publish):
    first = publish(world.runs[0].name)
    assert f"models:/{publish.model}@champion is this version now, without a comparison" in first
    again = publish(world.runs[0].mlflow_run_id)
    assert "is this version already" in again
    assert len(world.client.search_model_versions(f"name = '{publish.model}'")) == 1
    version = world.client.get_model_version(publish.model, "1")
    assert version.tags["encoder_digest"] == world.digests[0]
    for part in ("40 slices", "knee 40", "location: k-NN accuracy 0.812", "`model.dim=24`", "none needed"):
        assert part in version.description
    assert events(version.tags)[0].endswith("took champion from nobody: there was no champion")


def test_without_a_common_evaluation_the_alias_stays_and_the_commands_are_told(world, publish):
    publish(world.runs[0].name)
    alone = world.judged("alone", r1=0.9)
    told = publish(world.runs[1].name, "--evaluation", alone)
    assert "version 1 stays champion: no evaluation judged both" in told
    assert (
        f"--encoder candidate=models:/{publish.model}/2 --encoder champion=models:/{publish.model}/1" in told
    )
    assert f"python jobs/publish.py {world.runs[1].name} --name {publish.model} --evaluation" in told
    assert world.alias(publish.model).holder() == "1"
    card = world.client.get_model_version(publish.model, "2").description
    assert "few_shot (strict), dice_3d, abdomen: 0.9" in card
    assert "none is in the pretraining data" in card


def test_the_better_one_is_promoted_the_worse_stopped_and_both_are_on_record(world, publish):
    publish(world.runs[0].name)
    told = publish(world.runs[1].name, "--evaluation", world.judged("up", r0=0.5, r1=0.6))
    assert f"models:/{publish.model}@champion is version 2 now: better in the mean and nowhere worse" in told
    told = publish(world.runs[2].name, "--evaluation", world.judged("down", r1=0.5, r2=0.4))
    assert "version 2 stays champion: few_shot (strict), dice_3d, abdomen: is worse" in told
    assert world.alias(publish.model).chain() == ["2", "1"]
    tags = [world.client.get_model_version(publish.model, number).tags for number in "123"]
    assert tags[1]["gate"].startswith("passed; gate against version 1, margin 0, rows ")
    assert tags[2]["gate"].startswith("stopped; gate against version 2")
    assert tags[1]["champion.previous"] == "1"
    assert "version 2 took its place" in tags[0]["champion.demoted_by"]


def test_evaluations_are_logged_once_and_stay_on_the_card(world, publish):
    folder = world.judged("logged", r0=0.5, r1=0.6)
    for _ in range(2):
        publish(world.runs[0].name, "--evaluation", folder)
    publish(world.runs[0].name)
    version = world.client.get_model_version(publish.model, "1")
    assert "few_shot, abdomen: strict.dice_3d 0.5" in version.description
    assert "none is in the pretraining data" in version.description
    assert version.tags["score.few_shot.abdomen.strict.dice_3d"].startswith("0.5")
    experiment = world.client.get_experiment_by_name("mricore-evaluation")
    asked = f"tags.`mricore.version` = 'models:/{publish.model}/1'"
    (logged,) = world.client.search_runs([experiment.experiment_id], asked)
    assert (logged.data.tags["encoder_digest"], logged.data.tags["protocol"]) == (
        "with a decoder",
        "few_shot",
    )


def test_each_may_have_been_judged_in_its_own_evaluation_on_the_same_draws(world, publish):
    publish(world.runs[0].name)
    folders = [world.judged("own0", r0=0.5), world.judged("own1", r1=0.6)]
    told = publish(world.runs[1].name, "--evaluation", folders[0], "--evaluation", folders[1])
    assert "is version 2 now" in told


def test_other_draws_and_missing_rows_are_refused_before_anything_is_written(world, publish):
    publish(world.runs[0].name)
    champion = world.judged("seed0", r0=0.5)
    other = evaluation(world.folder / "seed1", {"x": (world.digests[1], 0.6)}, seed=1)
    error = publish(world.runs[1].name, "--evaluation", champion, "--evaluation", other, code=2)
    assert "have other seed" in error
    fewer = evaluation(world.folder / "fewer", {"x": (world.digests[1], 0.6)}, draws=3)
    error = publish(world.runs[1].name, "--evaluation", champion, "--evaluation", fewer, code=2)
    assert "lacks 6 of 24 measurements" in error
    assert len(world.client.search_model_versions(f"name = '{publish.model}'")) == 1


def test_a_task_on_which_one_of_both_failed_stops_the_comparison():
    rows = [
        Measurement("few_shot", task, "strict", name, 0, "p", "c", "mean", "dice_3d", 0.5)
        for name in ("old", "new", "third")
        for task in ("abdomen", "spine")
    ]
    summary = {"encoders": {"old": {"digest": "a"}, "new": {"digest": "b"}, "third": {"digest": "c"}}}

    def common(*missing):
        left = [row for row in rows if (row.encoder, row.task) not in missing]
        return common_rows([Evaluation(summary, left, [])], "b", "a")

    assert {(row.encoder, row.task) for row in common(("third", "abdomen"))} == {
        *(("candidate", "abdomen"), ("candidate", "spine")),
        *(("champion", "abdomen"), ("champion", "spine")),
    }
    for one in ("old", "new"):
        with pytest.raises(UserError, match="few_shot on spine of one of them alone"):
            common((one, "spine"))


def test_phantoms_and_the_ill_never_take_it_from_real_data_and_real_data_take_it_from_phantoms(
    world, publish
):
    made = world.folder / "made"
    phantom = finished_run(world.where, world.phantoms, made, 10)
    ill = finished_run(world.where, world.real, made, 11, illness="loss is no number")
    told = publish(ill.name)
    assert "takes no alias: it was ill at the end (loss is no number)" in told
    assert world.alias(publish.model).holder() is None
    assert "now, without a comparison" in publish(phantom.name)
    assert "now, without a comparison" in publish(world.runs[0].name)
    both = {"a": (world.digests[0], 0.5), "b": (encoder_digest(world.where, phantom), 0.9)}
    told = publish(phantom.name, "--evaluation", evaluation(world.folder / "phantom", both))
    assert "version 3 stays champion: it is of real data, this one of phantoms" in told
    both = {"a": (world.digests[0], 0.5), "b": (encoder_digest(world.where, ill), 0.9)}
    told = publish(ill.name, "--evaluation", evaluation(world.folder / "ill", both))
    assert "takes no alias" in told
    assert world.alias(publish.model).holder() == "3"
    assert "of no use on patients" in world.client.get_model_version(publish.model, "2").description


def test_demote_and_rollback_move_the_alias_and_say_why(world, publish):
    publish(world.runs[0].name)
    publish(world.runs[1].name, "--evaluation", world.judged("back", r0=0.5, r1=0.6))
    told = publish("--demote", "--reason", "fails on wrists")
    assert told == (f"version 2 is no longer champion; models:/{publish.model}@champion is version 1 again\n")
    assert "say why with --reason" in publish("--rollback", "2", code=2)
    assert publish("--rollback", "2", "--reason", "wrists were mislabelled").endswith(
        "@champion is version 2: wrists were mislabelled\n"
    )
    assert world.alias(publish.model).chain() == ["2", "1"]
    tags = world.client.get_model_version(publish.model, "2").tags
    assert tags["champion.promoted_by"] == "rollback: wrists were mislabelled"
    assert len(events(tags)) == 3
    publish("--demote")
    assert "there was none before" in publish("--demote")
    assert "has no champion" in publish("--demote", code=2)


def test_what_lost_the_alias_takes_it_back_by_a_decision_alone(world, publish):
    """Else the next command of its training would make it champion again."""
    publish(world.runs[0].name)
    publish("--demote", "--reason", "fails on wrists")
    told = publish(world.runs[0].name)
    assert f"jobs/publish.py --rollback 1 --name {publish.model} --alias champion --reason TEXT" in told
    assert world.alias(publish.model).holder() is None
    assert "is this version now" in publish(world.runs[1].name)
    publish("--rollback", "1", "--reason", "wrists were mislabelled")
    assert world.alias(publish.model).holder() == "1"


def test_the_lineage_leads_from_the_version_to_data_code_weights_and_evaluations(world, publish):
    publish(world.runs[0].name)
    score = Score("strict", "dice_3d", Interval(0.8, 0.7, 0.9))
    judged = Judged(
        f"models:/{publish.model}/1", "few_shot", "liver", "d", "e", [score], {"leaks": "none found"}
    )
    logged = record(judged, world.where, {})
    told = publish("--lineage", f"models:/{publish.model}@champion")
    manifest = world.client.get_model_version(publish.model, "1").tags["manifest_digest"]
    for part in (
        f"version:     models:/{publish.model}/1 (champion), encoder {world.digests[0][:16]}, well",
        f"data:        digest {manifest}, exams 3, patients 3, slices 40",
        "recipe:      tiny",
        "code_revision",
        "initial_weights random, sha256 none, licence none needed",
        f"run:         {world.runs[0].name}, {world.runs[0].mlflow_run_id} (experiment mricore)",
        "audit.json, judgement.json, manifest.json, recipe.json",
        "study:       none",
        f"few_shot on liver, run {logged}; leaks: none found",
        "strict.dice_3d 0.800 [0.700, 0.900]",
        "took champion from nobody",
    ):
        assert part in told
    run_ = world.client.get_run(world.runs[0].mlflow_run_id)
    (data,) = run_.inputs.dataset_inputs
    assert (data.dataset.digest, data.tags[0].value) == (manifest[:32], "pretraining")


def test_a_version_loads_by_number_and_by_alias_with_mlflow_alone_as_well(world, publish):
    publish(world.runs[0].name)
    images = np.random.default_rng(0).integers(0, 900, (2, 40, 30))
    mlflow.set_tracking_uri(world.where.tracking_uri)
    try:
        addresses = [f"models:/{publish.model}/1", f"models:/{publish.model}@champion"]
        ours = [mricore.load(one)(images) for one in addresses]
        theirs = [mlflow.pyfunc.load_model(one).predict(images) for one in addresses]
    finally:
        mlflow.set_tracking_uri(None)
    for one in (*ours, *theirs):
        np.testing.assert_array_equal(one, ours[0])


def study_of(world, record, encoder="whole_ab"):
    """A study as its job leaves it: two arms of one training, one with an encoder, and an evaluation."""
    where = world.where
    folder = place(where.outputs.joined("studies/lengths"))
    embedder = candidate_of(record.name, where).embedder
    made = world.folder / "outputs/studies/lengths/encoders" / encoder
    made.mkdir(parents=True)
    embedder.save(made)
    shared = {"recipe": "tiny", "settings": (), "run": record.name, "mlflow_run_id": record.mlflow_run_id}
    arms = (
        ArmResult("half", **shared, epoch=1, epochs=2, state="finished", steps=20, encoder=encoder),
        ArmResult("lost", **shared, epoch=2, epochs=2, state="failed", problem="out of memory"),
        ArmResult("before", "tiny", (), "", "", 0, 0, "finished", steps=0, encoder=encoder),
    )
    result = StudyResult("lengths", "Lengths", "tiny", "half", (), arms, (), mlflow_run_id="none")
    folder.write_bytes("study.json", result.to_json().encode())
    parent = start_run(where, "mricore", "study lengths", {}, {})
    world.client.set_tag(record.mlflow_run_id, "mlflow.parentRunId", parent.run_id)
    digest = digest_of(embedder, {})
    judged = world.folder / "outputs/studies/lengths/evaluations"
    evaluation(judged / "few_shot-cpu", {"half": (digest, 0.7)})
    evaluation(judged / "patch_probe-linear", {"half": (digest, 0.4)}, task="kidney")
    return parent


def test_an_arm_of_a_study_is_published_with_what_the_study_found(world, publish):
    record = finished_run(world.where, world.real, world.folder / "made", 30, finished=False)
    launch.write_record(place(world.where.outputs.joined("runs")), replace(record, finished=True))
    parent = study_of(world, record)
    told = publish("studies/lengths/half")
    assert "now, without a comparison" in told
    card = world.client.get_model_version(publish.model, "1").description
    assert "20 steps of DINOv2" in card
    assert "`read after epoch 1 of 2`" in card
    assert "few_shot (strict), dice_3d, abdomen: 0.7" in card
    assert "few_shot (strict), dice_3d, kidney: 0.4" in card
    told = publish("--lineage", f"models:/{publish.model}/1")
    assert f"study:       study lengths, run {parent.run_id}" in told
    assert "arm lost has no encoder (out of memory)" in publish("studies/lengths/lost", code=2)
    assert "before is not trained: there is nothing to publish" in publish("studies/lengths/before", code=2)
    assert "studies/lengths/{half, lost, before}" in publish("studies/lengths/none", code=2)


def test_a_champion_that_changed_during_the_comparison_is_compared_first(world, publish, monkeypatch):
    publish(world.runs[0].name)
    publish(world.runs[1].name)
    folder, real = world.judged("race", r0=0.5, r2=0.6), publish_module.judge

    def meanwhile(*given):
        world.alias(publish.model).give("2", "another process")
        return real(*given)

    monkeypatch.setattr(publish_module, "judge", meanwhile)
    error = publish(world.runs[2].name, "--evaluation", folder, code=2)
    assert "version 2 of" in error
    assert "became champion meanwhile" in error
    assert world.alias(publish.model).holder() == "2"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing to do"),
        (["absent", "--demote"], "several things at once"),
        (["absent"], "there is no run absent"),
        (["../../etc"], "there is no run"),
        (["0" * 32], "knows no run"),
        (["studies/none/arm"], "write studies/NAME/ARM"),
        (["absent", "--evaluation", "nowhere"], "no results of an evaluation"),
        (["absent", "--set", "promotion.magin=1"], "promotion.margin"),
        (["--rollback", "7", "--reason", "x"], "there is no version 7"),
        (["--demote"], "has no champion"),
        (["--lineage", "models:/nothing@champion"], "no model at models:/nothing@champion"),
        (["--lineage", "models:/nothing/3"], "there is no version 3"),
        (["--lineage", "outputs"], "names no version"),
        (["absent", "--alias", "latest"], "aliases are of letters"),
        (["absent", "--alias", "v3"], "aliases are of letters"),
        (["absent", "--name", "hospital/mri"], "names have no /"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(publish, arguments, told):
    error = publish(*arguments, code=2)
    assert error.startswith("error: ")
    assert told in error
    assert error.count("\n") == 2
    assert "Traceback" not in error


def test_a_run_that_has_not_finished_is_not_published(world, publish):
    open_ = finished_run(world.where, world.real, world.folder / "made", 20, finished=False)
    assert "has not finished" in publish(open_.name, code=2)


def test_where_no_registry_is_none_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert run(main, ["--demote"]) == 2
    assert "there is no registry" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_no_place_of_the_user_reaches_the_registry(world, publish):
    publish(world.runs[0].name)
    version = world.client.get_model_version(publish.model, "1")
    run_ = world.client.get_run(version.run_id)
    texts = [version.description, *version.tags.values(), *run_.data.tags.values()]
    texts += [one.dataset.to_dictionary() for one in run_.inputs.dataset_inputs]
    for name in ("manifest.json", "audit.json", "recipe.json", "judgement.json"):
        path = mlflow.artifacts.download_artifacts(
            run_id=version.run_id, artifact_path=name, tracking_uri=world.where.tracking_uri
        )
        texts.append(open(path).read())  # noqa: PTH123, SIM115
    assert str(world.folder) not in "\n".join(map(str, texts))
