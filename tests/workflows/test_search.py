"""The search entry point: real trainings under Ray Tune, and what is refused before them."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest
from jobs_apart import ROOT, all_files, environment
from records import small_dataset
from small import SMALL

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.config.search import assignments, load_space
from mricore.data.manifest import read_manifest
from mricore.data.storage import place
from mricore.training import claim
from mricore.training.launch import run_name
from mricore.training.place import home
from mricore.training.validation import with_labelled_task
from mricore.tuning.search import Search
from mricore.tuning.search_halving import trial_folder
from mricore.tuning.search_results import End, Proposal, write_end, write_proposal
from mricore.tuning.search_space import AtRandom
from mricore.workflows.entry import run
from mricore.workflows.labelled_data import FOLDER, task_folder
from mricore.workflows.search import SearchRequest, _Run, search_name
from tune.search import main as search_main

SETTINGS = [
    *SMALL,
    *("train.workers=1", "train.cpus_per_worker=2", "train.epochs=40", "train.log_every=4"),
    *("train.validate_steps=16", "health.action=log"),
]
"""A training takes all CPUs."""
STEPS = 160
SPACE = """
[settings]
"optimizer.lr" = { log_uniform = [1e-6, 1e-3] }
[halving]
grace = 0.2
reduction = 3.0
"""
LIMIT = 400
"""Seconds; a search that waits for ever is told from a slow one. It takes about 70 on two idle cores."""


def arguments(folder, *more):
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return ["--data", str(folder / "dataset"), "--space", str(folder / "space.toml"), *settings, *more]


def prepared(folder):
    """A dataset and a space."""
    small_dataset(place(str(folder / "dataset")), 64)
    (folder / "space.toml").write_text(SPACE)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    prepared(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tmp_path


@contextlib.contextmanager
def started(folder, *more):
    """A search in its own process group; what it leaves behind is killed."""
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-u", str(ROOT / "tune/search.py"), *arguments(folder, *more)],
            cwd=folder,
            env=environment(folder, RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.1"),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def searched():
    """A search as it is asked for by the test below."""
    return SearchRequest(
        recipe="tiny",
        data="dataset",
        out=None,
        task="phantoms",
        scheduler="asha",
        searcher="random",
        samples=3,
        max_concurrent=1,
        space="space.toml",
        seed=0,
        assignments=tuple(SETTINGS),
        key_file=None,
    )


def with_a_good_trial(folder):
    """What a search leaves behind that is killed after its first trial, which was better than any can be."""
    manifest = read_manifest(place(str(folder / "dataset")))
    task = task_folder("phantoms", str(folder / "outputs" / FOLDER))
    on_phantoms = ["train.validate_task=phantoms", f"train.validate_data={task}"]
    recipe = with_labelled_task(apply_overrides(recipe_named("tiny"), [*SETTINGS, *on_phantoms]))
    space = load_space(str(folder / "space.toml"))
    name = search_name(searched(), recipe, space, manifest)
    first = trial_folder(place(str(folder / "outputs/searches" / name)), 0)
    _, settings = AtRandom(space, 0).propose(0, 0)
    write_proposal(first, Proposal(0, settings, "tiny-0123456789", "0" * 32))
    write_end(first, End("finished", checkpoint="c", scores=tuple((at, 0.99) for at in range(16, 161, 16))))
    return folder / "outputs/searches" / name, settings


@pytest.mark.slow
@pytest.mark.servers
def test_bad_trials_are_stopped_and_free_their_workers_in_a_search_that_goes_on(short_folder):
    """A stopped trial that kept its workers' place would let the next one wait for ever."""
    prepared(short_folder)
    place_of_search, settings = with_a_good_trial(short_folder)
    asked = ["--task", "phantoms", "--scheduler", "asha", "--samples", "3"]
    with started(short_folder, *asked) as process:
        code = process.wait(LIMIT)
    told = (short_folder / "log").read_text()
    assert code == 0, told[-3000:]
    assert [path.name for path in short_folder.glob("outputs/searches/*")] == [place_of_search.name]
    found = json.loads((place_of_search / "search.json").read_bytes())
    trials = {one["number"]: one for one in found["trials"]}
    assert [trials[number]["state"] for number in range(3)] == ["finished", "stopped", "stopped"]
    assert found["trials"][0] == trials[0]
    assert (trials[0]["settings"], trials[0]["run"]) == (settings, "tiny-0123456789")
    manifest = read_manifest(place(str(short_folder / "dataset")))
    for number in (1, 2):
        steps = [step for step, _ in trials[number]["scores"]]
        assert steps == list(range(16, steps[-1] + 1, 16))
        assert 32 <= steps[-1] < STEPS
        assert 0 <= trials[number]["score"] < 0.99
        # the name under which jobs/pretrain.py finds the run of a trial
        recipe = apply_overrides(recipe_named("tiny"), [*SETTINGS, *assignments(trials[number]["settings"])])
        assert run_name(recipe, manifest) == trials[number]["run"]
        assert (short_folder / "outputs/runs" / trials[number]["run"]).is_dir()
    assert not (short_folder / "outputs/runs/tiny-0123456789").exists()
    assert f"--set {assignments(settings)[0]}" in told
    assert "optimistic" in told
    assert str(short_folder) not in (place_of_search / "search.txt").read_text()
    assert list(place_of_search.glob("tune/*"))
    for file in all_files(short_folder / "outputs"):  # the address of MLflow may hold a password
        assert b"mlflow.db" not in file.read_bytes(), file


def test_a_search_on_another_task_trains_runs_of_its_own(folder):
    """Scores on one task must not be taken for scores on another; settings and seed are the same."""
    dataset, manifest = place(str(folder / "dataset")), read_manifest(place(str(folder / "dataset")))
    where, settings = home(None), {"optimizer.lr": 1e-4}
    space = load_space(str(folder / "space.toml"))

    def proposed(digest, name):
        recipe = apply_overrides(recipe_named("tiny"), [*SETTINGS, f"train.validate_digest={digest}"])
        asked = Search(space, "random", "none", 1, 1, 0, place(str(folder / name)))
        return _Run(searched(), asked, recipe, where, dataset, manifest).prepare(0, settings)["run"]

    first = proposed("liver", "one")
    assert proposed("spine", "two") == f"{first}-1"
    assert proposed("liver", "one") == first  # goes on with its own
    assert proposed("spine", "three") == f"{first}-1"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--recipe", "huge"], "tiny"),
        (["--space", "nowhere.toml", "--task", "phantoms"], "nowhere.toml"),
        ([], "--task NAME=ROOT"),
        (["--task", "kidney"], "no data for task kidney"),
        (["--set", "train.validate_task=kidney", "--set", "train.validate_data=x"], "--task NAME=ROOT"),
        (["--data", "nowhere", "--task", "kidney=here"], "nowhere"),
    ],
)
def test_searches_that_cannot_be_are_refused(more, told, folder, capsys):
    assert run(search_main, arguments(folder, *more)) == 2
    assert told in capsys.readouterr().err
    assert not (folder / "outputs/searches").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('"curation.seed" = { choice = [1, 2] }', "is of the dataset"),
        ('"train.keep_checkpoints" = { choice = [1, 2] }', "does not change what is learned"),
        ('"optimizer.rl" = { uniform = [0.1, 0.2] }', "optimizer.lr"),
    ],
)
def test_spaces_that_make_no_sense_are_refused(line, told, folder, capsys):
    (folder / "space.toml").write_text(f"[settings]\n{line}\n")
    assert run(search_main, arguments(folder, "--task", "phantoms")) == 2
    assert told in capsys.readouterr().err
    assert not (folder / "outputs/searches").exists()


def test_more_trainings_at_once_than_there_is_room_for_are_refused(folder, capsys, ray_cluster):
    asked = arguments(folder, "--task", "phantoms", "--max-concurrent", "2")
    assert run(search_main, asked) == 2
    assert "2 trainings at once need 4 CPUs" in capsys.readouterr().err


def test_a_second_search_is_refused(folder, capsys, ray_cluster, monkeypatch):
    monkeypatch.setattr(claim, "PATIENCE", 0.0)
    asked = arguments(folder, "--task", "phantoms")
    codes = []
    monkeypatch.setattr(
        "mricore.workflows.search.run_search", lambda *_: codes.append(run(search_main, asked))
    )
    assert run(search_main, asked) == 2  # its trials are taken by the second command, so none has ended
    assert codes == [2]
    assert capsys.readouterr().err.count("another command works on ") == 1


def test_the_manual_names_every_argument(capsys):
    manual = (ROOT / "docs/search.md").read_text("utf-8")
    with pytest.raises(SystemExit):
        search_main(["--help"])
    named = {word.strip("[],") for word in capsys.readouterr().out.split() if word.startswith(("--", "[--"))}
    assert {"--space", "--searcher"} <= named
    assert all(name in manual for name in named - {"--help"})
