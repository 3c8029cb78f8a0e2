"""How trials of a study end, as the process sees it that began it."""

import signal

import pytest
from ray import cloudpickle

from mricore.data.storage import Place
from mricore.training.launch import PausedError
from mricore.training.telemetry import Tracked
from mricore.tuning import study
from mricore.tuning.study import Trial, run_study

HIDDEN = "5ecret"
SIGNALS = (signal.SIGINT, signal.SIGUSR1)


class Tuner:
    """Takes the place of Tune's: runs each trial in this process, or is interrupted before."""

    interrupted = False

    def __init__(self, trainable, param_space, tune_config, run_config):
        self.trainable, self.grid = trainable, param_space["trial"]["grid_search"]
        assert HIDDEN not in str(self.grid)  # Tune stores it
        (self.watch,) = run_config.callbacks
        assert HIDDEN.encode() not in cloudpickle.dumps(run_config.callbacks)  # what they call may know it

    def fit(self):
        for one in SIGNALS:  # as Tune does, which never takes it back
            signal.signal(one, lambda *_: None)
        for config in [] if self.interrupted else self.grid:
            trial = Running({"trial": config}, self.watch)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(study.tune, "report", trial.report)
                self.trainable(trial.config)
            self.watch.on_trial_complete(0, [], trial)


class Running:
    """A trial as Tune knows it: its configuration, and the last of what it reported."""

    def __init__(self, config, watch):
        self.config, self.watch, self.last_result = config, watch, {}

    def report(self, result):
        self.last_result = result
        self.watch.on_trial_result(0, [], self, result)


@pytest.fixture
def ended(monkeypatch):
    """A function that runs trials whose training returns a checkpoint or raises."""
    from small import small_recipe

    monkeypatch.setattr(study.tune, "Tuner", Tuner)
    monkeypatch.setattr(study, "check_room", lambda trials, count: None)

    def run(*trainings, lines=()):
        todo = iter(trainings)

        def train(_, tracked, tell):
            assert HIDDEN in tracked.tracking_uri
            for line in lines:
                tell(line)
            found = next(todo)
            if isinstance(found, Exception):
                raise found
            return found

        monkeypatch.setattr(study, "_trained", train)
        trials = [
            Trial(small_recipe(), f"run{number}", Tracked(f"http://me:{HIDDEN}@host", "0", f"id{number}"))
            for number in range(len(trainings))
        ]
        seen, known = [], HIDDEN

        def tell(*told):
            assert known
            seen.extend(told)

        return run_study(trials, Place("data"), Place("/runs"), 1, tell, tell), seen

    return run


def test_every_end_is_an_outcome_and_is_told_when_it_comes(ended):
    found, seen = ended(
        "checkpoint_1",
        study.UserError("a shard is damaged", "restore it"),
        PausedError("training paused at step 3: the loss is not finite", "lower it"),
        RuntimeError("first line\n\n  last line\n"),
    )
    assert list(found.values()) == seen
    assert [one.checkpoint for one in seen] == ["checkpoint_1", "", "", ""]
    assert [one.problem for one in seen[1:]] == [
        "a shard is damaged (restore it)",
        "training paused at step 3: the loss is not finite (lower it)",
        "RuntimeError: last line",
    ]
    assert [(one.paused, one.is_ours) for one in seen] == [
        *((False, False), (False, False), (True, False), (False, True))
    ]


def test_lines_of_a_training_are_told_with_its_run_to_the_last_one_and_before_its_end(ended):
    found, seen = ended(
        "checkpoint_1", study.UserError("ill", "mend it"), lines=("step 1/2", "step 2/2, done")
    )
    lines = ["step 1/2", "step 2/2, done"]
    assert seen == [
        *(part for line in lines for part in ("run0", line)),
        found["run0"],
        *(part for line in lines for part in ("run1", line)),
        found["run1"],
    ]


def test_ctrl_c_after_tune_is_what_it_was_before(ended):
    before = [signal.getsignal(one) for one in SIGNALS]
    ended("checkpoint_1")
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_ctrl_c_is_an_interruption(ended, monkeypatch):
    monkeypatch.setattr(Tuner, "interrupted", True)
    with pytest.raises(KeyboardInterrupt):
        ended("checkpoint_1")
