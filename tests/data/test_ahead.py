"""Epochs that begin ahead of time give the same batches, never too many, and end what is not wanted."""

import threading
import time

import pytest

from mricore.data.ahead import EpochsAhead
from mricore.errors import UserError

STEPS = 6


class Source:
    """Batches are (epoch, step); notes which are made, and in which thread, and what was closed."""

    def __init__(self, fail_at=None, seconds=0.0):
        self.made, self.closed, self.fail_at, self.seconds = [], [], fail_at, seconds

    def steps(self, epoch):
        return STEPS

    def batches(self, epoch, first_step):
        try:
            for step in range(first_step, STEPS):
                time.sleep(self.seconds)
                if (epoch, step) == self.fail_at:
                    raise UserError("a shard is damaged", "restore it")
                self.made.append((epoch, step, threading.current_thread() is threading.main_thread()))
                yield epoch, step
        finally:
            self.closed.append(epoch)


def until(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("nothing happened")


@pytest.mark.parametrize("lead", [1, 2, STEPS, 100])
def test_all_batches_come_once_and_in_order(lead):
    source = Source()
    ahead = EpochsAhead(source, 3, lead)
    found = [batch for epoch in range(3) for batch in ahead.batches(epoch, 0)]
    assert found == [(epoch, step) for epoch in range(3) for step in range(STEPS)]
    assert ahead.steps(0) == STEPS
    elsewhere = [made[:2] for made in source.made if not made[2]]
    assert elsewhere == [(1, 0), (2, 0)]
    assert source.closed == [0, 1, 2]


def test_the_next_epoch_begins_before_the_last_step_is_taken():
    source = Source()
    batches = EpochsAhead(source, 2, 2).batches(0, 0)
    for _ in range(4):
        next(batches)
    assert all(made[0] == 0 for made in source.made)
    next(batches)
    until(lambda: (1, 0, False) in source.made)


def test_a_run_that_resumes_in_the_last_steps_begins_the_next_epoch_too():
    source = Source()
    ahead = EpochsAhead(source, 2, 4)
    assert list(ahead.batches(0, 5)) == [(0, 5)]
    assert list(ahead.batches(1, 0)) == [(1, step) for step in range(STEPS)]
    assert (1, 0, False) in source.made


def test_going_back_drops_what_was_begun():
    source = Source(seconds=0.005)
    ahead = EpochsAhead(source, 2, 2)
    batches = ahead.batches(0, 0)
    for _ in range(5):
        next(batches)
    assert list(ahead.batches(0, 3)) == [(0, 3), (0, 4), (0, 5)]
    assert 1 in source.closed
    assert list(ahead.batches(1, 0)) == [(1, step) for step in range(STEPS)]


def test_a_fault_is_told_when_its_batch_is_wanted():
    ahead = EpochsAhead(Source(fail_at=(1, 0)), 2, STEPS)
    assert len(list(ahead.batches(0, 0))) == STEPS
    with pytest.raises(UserError, match="damaged"):
        next(ahead.batches(1, 0))
