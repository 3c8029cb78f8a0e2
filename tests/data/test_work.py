"""Work in Ray tasks: in order, bounded, and not stopped by what kills a process."""

import os

import pytest

from mricore.data.work import Work, in_tasks
from mricore.errors import UserError


def results(work, items):
    return [result for _, result in in_tasks(work, items)]


def test_each_item_comes_back_with_its_result_in_order(ray_cluster):
    found = list(in_tasks(Work(do=lambda item, _: item * item), range(50)))
    assert found == [(k, k * k) for k in range(50)]


def test_nothing_gives_nothing(ray_cluster):
    assert results(Work(do=lambda item, _: item), []) == []


def test_only_a_few_items_are_taken_ahead(ray_cluster):
    """A source of millions must not be listed into memory."""
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    stream = in_tasks(Work(do=lambda item, _: item), items())
    for _ in range(10):
        next(stream)
    assert len(taken) < 60


def test_a_user_s_error_arrives_as_itself(ray_cluster):
    def do(_item, _skipped):
        raise UserError("the disk is full", "free some space")

    with pytest.raises(UserError, match="the disk is full"):
        results(Work(do=do), [1])


def test_a_fault_of_ours_tells_its_place_and_not_its_message(ray_cluster):
    def do(item, _skipped):
        return {"known": 1}[item]

    with pytest.raises(RuntimeError, match=r"KeyError in do, line \d+") as caught:
        results(Work(do=do), ["ZORBLATT"])
    assert "ZORBLATT" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.faults
def test_the_part_that_kills_its_process_is_left_out_and_the_others_are_done(ray_cluster):
    """As a codec may do by calling abort."""

    def touch(part):
        if part == "killer":
            os.abort()
        return part.upper()

    def do(item, skipped):
        return ["-" if number in skipped else touch(part) for number, part in enumerate(item)]

    work = Work(do=do, parts=lambda item: item, probe=touch)
    items = [["a", "b"], ["c", "killer", "d"], ["killer"], ["e"]]
    assert results(work, items) == [["A", "B"], ["C", "-", "D"], ["-"], ["E"]]


@pytest.mark.faults
def test_a_process_that_dies_once_costs_nothing(ray_cluster, tmp_path):
    """Memory was short, or a node went away: no part is to blame."""

    def do(item, skipped):
        if not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os.abort()
        return sorted(skipped)

    assert results(Work(do=do, parts=lambda item: item, probe=lambda _: None), [["a", "b"]]) == [[]]


@pytest.mark.faults
def test_work_that_kills_its_process_whatever_is_left_out_is_a_fault(ray_cluster):
    with pytest.raises(RuntimeError, match="WorkerCrashedError"):
        results(Work(do=lambda _item, _skipped: os.abort()), [1])
