"""What the loop measures, and what a step clips."""

import time

import pytest
import torch
from records import small_dataset
from small import small_loop, small_recipe

from mricore.data.storage import place
from mricore.training.initial import initial_network
from mricore.training.loop import IllError
from mricore.training.rates import rates_at
from mricore.training.step import clip_parts


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    target = place(str(tmp_path_factory.mktemp("dataset")))
    small_dataset(target, 75)
    return target


def test_time_spent_with_a_report_is_not_time_spent_waiting_for_data(dataset):
    rows = []
    for report in small_loop(dataset, small_recipe("train.epochs=1")).run():
        rows += report.rows
        time.sleep(0.5)
    assert all(row["time/data_wait_s"] < 0.4 for row in rows)
    assert all(row["time/checkpoint_s"] >= 0.5 for row in rows[1:])


def test_every_part_of_the_network_is_clipped_and_counted():
    network, _ = initial_network(small_recipe())
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 10.0)
    whole = torch.stack([p.grad.square().sum() for p in network.parameters()]).sum().sqrt()
    assert clip_parts(network, 3.0) == pytest.approx(float(whole), rel=1e-5)
    for part in (network.encoder, network.token, network.head):
        clipped = torch.stack([p.grad.square().sum() for p in part.parameters()]).sum().sqrt()
        assert clipped == pytest.approx(3.0, rel=1e-4)
    assert network.mask_token.grad.norm() == pytest.approx(3.0, rel=1e-4)


@pytest.mark.parametrize("log_every", [1, 4])
def test_a_loss_that_is_no_number_ends_the_run(dataset, log_every):
    loop = small_loop(dataset, small_recipe(f"train.log_every={log_every}"))
    with torch.no_grad():
        loop.state.student.head.prototypes.fill_(float("nan"))
    with pytest.raises(IllError) as caught:
        list(loop.run())
    assert caught.value.step == 1


def test_every_step_has_its_own_rate(dataset):
    recipe = small_recipe("train.epochs=1")
    rows = [row for report in small_loop(dataset, recipe).run() for row in report.rows]
    assert [row["schedule/lr"] for row in rows] == [
        rates_at(i, len(rows), recipe).lr for i in range(len(rows))
    ]
