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
            reported = {}
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(study.tune, "report", reported.update)
                self.trainable({"trial": config})
            self.watch.on_trial_complete(0, [], Ended(reported))


class Ended:
    def __init__(self, reported):
        self.last_result = reported


@pytest.fixture
def ended(monkeypatch):
    """A function that runs trials whose training returns a checkpoint or raises."""
    from small import small_recipe

    monkeypatch.setattr(study.tune, "Tuner", Tuner)
    monkeypatch.setattr(study, "check_room", lambda trials, count: None)

    def run(*trainings):
        todo = iter(trainings)

        def train(_, tracked):
            assert HIDDEN in tracked.tracking_uri
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

        def tell(outcome):
            assert known
            seen.append(outcome)

        return run_study(trials, Place("data"), Place("/runs"), 1, tell), seen

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


def test_ctrl_c_after_tune_is_what_it_was_before(ended):
    before = [signal.getsignal(one) for one in SIGNALS]
    ended("checkpoint_1")
    assert [signal.getsignal(one) for one in SIGNALS] == before


def test_ctrl_c_is_an_interruption(ended, monkeypatch):
    monkeypatch.setattr(Tuner, "interrupted", True)
    with pytest.raises(KeyboardInterrupt):
        ended("checkpoint_1")
