"""Parts of a search in this process: proposals, decisions to stop, scores on their way, what is kept."""

import copy
import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from ray import cloudpickle

from mricore.config.search import Dimension, Halving, Space
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.tuning.search import Search, all_ended, known_settings, results_in
from mricore.tuning.search_halving import STOP, EndsItself, trial_folder
from mricore.tuning.search_proposals import Proposals
from mricore.tuning.search_results import (
    End,
    Proposal,
    TrialResult,
    ranked,
    read_end,
    write_end,
    write_proposal,
)
from mricore.tuning.search_scores import Scores, StoppedError, followed, stopped
from mricore.tuning.search_space import AtRandom, ByOptuna, distributions

SPACE = Space(
    settings={
        "optimizer.lr": Dimension(log_uniform=(1e-5, 1e-1)),
        "objective.teacher_momentum": Dimension(uniform=(0.98, 1.0)),
        "augment.global_scale": Dimension(choice=([0.2, 1.0], [0.5, 1.0])),
    }
)


def proposed(proposals, count, order=None):
    """Settings of trials that are proposed one after the other and end in some order."""
    found = [proposals.suggest(f"t{number}") for number in range(count)]
    for number in order or range(count):
        proposals.on_trial_complete(f"t{number}", {"score": 0.0})
    return [one["settings"] for one in found]


def prepared(number, settings):
    return {"number": number, "settings": settings}


def test_random_proposals_depend_on_seed_and_number_alone():
    """However many trials run at once, and whichever of them end first."""
    together = proposed(Proposals(AtRandom(SPACE, 3), prepared), 6, order=[4, 1, 5, 0, 2, 3])
    one_by_one = []
    proposals = Proposals(AtRandom(SPACE, 3), prepared)
    for number in range(6):
        one_by_one.append(proposals.suggest(f"t{number}")["settings"])
        proposals.on_trial_result(f"t{number}", {"score": 0.5, "training_iteration": 1})
        proposals.on_trial_complete(f"t{number}", {"score": 0.5})
    assert together == one_by_one
    assert proposed(Proposals(AtRandom(SPACE, 4), prepared), 6) != together


def test_random_values_cover_the_space_evenly_in_its_scale():
    source = AtRandom(SPACE, 0)
    drawn = [source.propose(number, 0)[1] for number in range(400)]
    logs = np.array([math.log10(one["optimizer.lr"]) for one in drawn])
    assert [int(((logs >= low) & (logs < low + 1)).sum()) > 70 for low in (-5, -4, -3, -2)] == [True] * 4
    momenta = np.array([one["objective.teacher_momentum"] for one in drawn])
    assert 0.98 <= momenta.min() < 0.981
    assert 0.999 < momenta.max() <= 1.0
    shares = sum(one["augment.global_scale"] == [0.2, 1.0] for one in drawn) / 400
    assert 0.4 < shares < 0.6


def test_optuna_knows_the_same_space():
    found = distributions(SPACE)
    lr, momentum = found["optimizer.lr"], found["objective.teacher_momentum"]
    assert (lr.low, lr.high, lr.log) == (1e-5, 1e-1, True)
    assert (momentum.low, momentum.high, momentum.log) == (0.98, 1.0, False)
    assert found["augment.global_scale"].choices == ("[0.2, 1.0]", "[0.5, 1.0]")


def test_what_prepares_trials_is_neither_stored_nor_copied_by_tune():
    """It knows the address of MLflow, in which there may be a password."""
    address = "https://me:secret@mlflow"
    proposals = Proposals(AtRandom(SPACE, 0), lambda number, settings: {"at": address})
    stored = cloudpickle.dumps({"search_alg": proposals})
    assert b"secret" not in stored
    assert b"teacher_momentum" not in stored
    assert copy.deepcopy({"a": proposals})["a"] is proposals is copy.copy(proposals)


def distance(settings):
    """Of the learning rate from 1e-3, in powers of ten."""
    return abs(math.log10(settings["optimizer.lr"]) + 3)


def searched(source, trials):
    proposals = Proposals(source, prepared)
    found = []
    for number in range(trials):
        settings = proposals.suggest(f"t{number}")["settings"]
        result = {"score": -distance(settings), "training_iteration": 1}
        proposals.on_trial_result(f"t{number}", result)
        proposals.on_trial_complete(f"t{number}", result)
        found.append(settings)
    return found


def test_optuna_comes_nearer_to_the_best_than_random_and_repeats_itself():
    found = searched(ByOptuna(SPACE, 0), 40)
    assert found == searched(ByOptuna(SPACE, 0), 40)
    assert found != searched(ByOptuna(SPACE, 1), 40)
    late = np.mean([distance(one) for one in found[25:]])
    random = np.mean([distance(one) for one in searched(AtRandom(SPACE, 0), 40)[25:]])
    assert late < 0.6 * random


def test_optuna_goes_on_from_what_was_proposed_before():
    first = searched(ByOptuna(SPACE, 0), 6)
    again = searched(ByOptuna(SPACE, 0, first), 8)
    assert again[:6] == first
    assert len({one["optimizer.lr"] for one in again}) == 8


def test_settings_that_are_refused_or_were_tried_are_not_proposed_and_an_empty_space_ends():
    space = Space(settings={"model.patch": Dimension(choice=(4, 8, 16))})
    for source in (AtRandom(space, 0), ByOptuna(space, 0)):
        refusing = Proposals(
            source,
            lambda number, settings: None if settings["model.patch"] == 8 else prepared(number, settings),
        )
        found = [refusing.suggest(f"t{number}") for number in range(3)]
        assert {one["settings"]["model.patch"] for one in found[:2]} == {4, 16}
        assert [one["number"] for one in found[:2]] == [0, 1]
        assert found[2] == Proposals.FINISHED


def told(scheduler, number, percent, score):
    trial = SimpleNamespace(trial_id=f"t{number}", config={"number": number})
    if trial.trial_id not in scheduler._trial_info:
        scheduler.on_trial_add(None, trial)
    return scheduler.on_trial_result(None, trial, {"percent": percent, "score": score})


def test_a_worse_trial_is_asked_to_end_and_tune_is_told_to_go_on(tmp_path):
    folder = Place(str(tmp_path))
    scheduler = EndsItself(Halving(grace=0.25, reduction=2), folder)
    scheduler.set_search_properties("score", "max")
    decisions = [told(scheduler, 0, percent, 0.5) for percent in (12.5, 25.0, 50.0, 100.0)]
    decisions += [told(scheduler, 1, 12.5, 0.1)]  # before the first comparison
    assert not trial_folder(folder, 1).exists(STOP)
    decisions += [told(scheduler, 1, 25.0, 0.1), told(scheduler, 2, 25.0, 0.9)]
    assert trial_folder(folder, 1).exists(STOP)
    assert not any(trial_folder(folder, number).exists(STOP) for number in (0, 2))
    assert set(decisions) == {"CONTINUE"}
    scheduler.save(str(tmp_path / "state"))  # as Tune does from time to time


def reported(step, total=100, **row):
    return [{"rows": [{"step": step, "loss/total": 1.0, **row}], "step": step, "total": total}]


def test_scores_are_handed_on_whole_and_in_order_until_the_end(tmp_path):
    file, folder = tmp_path / "scores", Place(str(tmp_path))
    callback = pickle.loads(pickle.dumps(Scores("s", file, folder)))  # noqa: S301 - as Ray carries it
    may_end = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(may_end.wait)
        seen = []
        for step, score in followed(file, training) if _begin(callback) else ():
            seen.append((step, score))
            if len(seen) == 1:
                callback.after_report(None, reported(20), None)
                callback.after_report(None, reported(30, s=0.25), None)
                file.open("a").write("[40, 0.")  # half a line is not read
                may_end.set()
    assert seen == [(10, 0.5), (30, 0.25)]


def _begin(callback):
    callback.after_report(None, reported(10, s=0.5), None)
    return True


def test_a_training_that_is_asked_to_ends_at_its_next_report_but_not_at_its_last(tmp_path):
    callback = Scores("s", tmp_path / "scores", Place(str(tmp_path)))
    Place(str(tmp_path)).write_bytes(STOP, b"")
    with pytest.raises(StoppedError):
        callback.after_report(None, reported(10, s=0.5), None)
    callback.after_report(None, reported(100, s=0.75), None)
    assert (tmp_path / "scores").read_text() == "[10, 0.5]\n[100, 0.75]\n"
    assert isinstance(pickle.loads(pickle.dumps(stopped())), StoppedError)  # noqa: S301


def result(number, state, *scores):
    steps = tuple((step, score) for step, score in enumerate(scores, 1))
    return TrialResult(Proposal(number, {"optimizer.lr": number}, "r", "m"), End(state, scores=steps))


def test_trials_that_were_trained_to_the_end_come_first_then_better_ones():
    results = [
        result(0, "stopped", 0.9),
        result(1, "finished", 0.9, 0.2),
        result(2, "failed"),
        result(3, "finished", 0.1, 0.4),
        result(4, "ill", 0.1),
    ]
    assert [one.proposal.number for one in ranked(results)] == [3, 1, 0, 4, 2]


def test_a_search_knows_from_its_folder_what_was_proposed_and_what_has_ended(tmp_path):
    folder = Place(str(tmp_path))
    search = Search(SPACE, "random", "none", 2, 1, 0, folder)
    assert (results_in(folder), all_ended(search)) == ([], False)
    for number, state in enumerate(("finished", "failed", "waiting")):
        place = trial_folder(folder, number)
        write_proposal(place, Proposal(number, {"optimizer.lr": 0.1 * number}, f"run{number}", "m"))
        if state != "waiting":
            write_end(place, End(state, checkpoint="c", scores=((4, 0.5), (8, 0.25)), seconds=2.0))
    assert [one.end.state for one in results_in(folder)] == ["finished", "failed", "waiting"]
    assert read_end(trial_folder(folder, 0)).score == 0.25
    assert known_settings(folder)[1] == {"optimizer.lr": 0.1}
    assert not all_ended(search)  # one that failed is tried again
    write_end(trial_folder(folder, 1), End("ill"))
    assert all_ended(search)


@pytest.mark.parametrize("content", ["{", "[]", '{"state": "finished", "colour": 1}'])
def test_a_damaged_file_is_told_in_one_line(content, tmp_path):
    (tmp_path / "end.json").write_text(content)
    with pytest.raises(UserError, match="damaged"):
        read_end(Place(str(tmp_path)))
