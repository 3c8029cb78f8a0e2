"""Workers that share networks train like those that copy them; each goes on from the other's checkpoints."""

import pytest
import torch
import torch.distributed as dist
from small import MAE, small_recipe
from steps import CPU, DOUBLE, in_float64, in_processes, trained

from mricore.objective.shards import own
from mricore.training.checkpoint import snapshot
from mricore.training.initial import initial_state
from mricore.training.parallel import wrapped
from mricore.training.state import restart

ODD = ("model.dim=20", "head.bottleneck=7", "optimizer.clip_norm=0.05", "objective.koleo_weight=0.1")
"""Shapes that two workers cannot halve, and gradients that are clipped."""
RUNS = {
    "sinkhorn, in parts": (*ODD, *DOUBLE, "model.drop_path=0.4", "train.accumulate=2"),
    "centring, two heads": (
        *ODD,
        *DOUBLE,
        *("objective.centering=center", "head.shared=false", "optimizer.layer_decay=0.8"),
        *("model.kind=plain", "model.readout=class", "model.drop_path=0.2"),
    ),
    "mae": (*MAE, *DOUBLE, "model.dim=20"),
}
ON_AND_ON = (*DOUBLE, "objective.koleo_weight=0", "model.drop_path=0.4", "train.accumulate=2")
"""With KoLeo, which looks at parts, the number of workers would show."""
NARROW = (*ODD, "train.precision=bfloat16")
TWO, ONE = (5, 4), (9,)


def recipe_of(settings, parallel):
    return small_recipe(*settings, f"train.parallel={parallel}")


def both_ways(settings):
    return {way: trained(recipe_of(settings, way), TWO, range(3)) for way in ("ddp", "fsdp")}


def two_one_two(folder):
    """Two steps with shares, two by one process, two with shares again."""
    recipe = recipe_of(ON_AND_ON, "fsdp")
    first, _ = trained(recipe, TWO, range(2), save=f"{folder}/first")
    if dist.get_rank() == 0:
        first += trained(recipe, ONE, range(2, 4), load=f"{folder}/first", save=f"{folder}/second")[0]
    dist.barrier()
    last, tensors = trained(recipe, TWO, range(4, 6), load=f"{folder}/second")
    return first + last, tensors


def back_to_the_beginning():
    """How many numbers a worker holds of both networks, and their weights after a restart from others."""
    recipe = recipe_of(RUNS["sinkhorn, in parts"], "fsdp")
    state = initial_state(recipe, CPU)
    wrapped(state, recipe, 2)
    with torch.no_grad():
        for network in (state.student, state.teacher):
            for parameter in network.parameters():
                own(parameter).fill_(7.0)
    restart(state, initial_state(recipe, CPU))
    held = sum(own(p).numel() for p in [*state.student.parameters(), *state.teacher.parameters()])
    taken = snapshot(state, dist.get_rank())
    return held, taken and taken.tensors


def all_of_it(folder):
    with in_float64():
        found = {name: both_ways(settings) for name, settings in RUNS.items()}
        found["two, one, two"] = two_one_two(folder)
    return found | {"narrow": both_ways(NARROW), "beginning": back_to_the_beginning()}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """All that two workers do, in one start of them."""
    folder = tmp_path_factory.mktemp("fsdp")
    return in_processes(2, folder / "run", all_of_it, str(folder))


@pytest.mark.numerics
@pytest.mark.parametrize("name", RUNS)
def test_shares_give_the_losses_gauges_and_weights_of_copies(found, name):
    (rows, tensors), (expected_rows, expected) = found[name]["fsdp"], found[name]["ddp"]
    for row, expected_row in zip(rows, expected_rows, strict=True):
        assert {"gauge/gradient_norm", "gauge/update_norm", "gauge/drift"} <= expected_row.keys()
        # the rank is given in float32, whose last bit depends on the order of sums
        rank = expected_row["gauge/rank"]
        assert row["gauge/rank"] == pytest.approx(rank, rel=1e-6)
        assert row | {"gauge/rank": rank} == pytest.approx(expected_row, rel=1e-9)
    torch.testing.assert_close(tensors, expected, rtol=1e-9, atol=1e-9)
    assert rows[0]["gauge/gradient_norm"] > 0.05  # more than clip_norm where that is set


@pytest.mark.numerics
def test_autocast_narrows_shares_as_it_narrows_copies(found):
    (rows, _), (expected_rows, _) = found["narrow"]["fsdp"], found["narrow"]["ddp"]
    for row, expected_row in zip(rows, expected_rows, strict=True):
        assert row["loss/total"] == pytest.approx(expected_row["loss/total"], rel=1e-5)


@pytest.mark.numerics
def test_a_run_goes_on_with_two_sharing_one_alone_and_two_sharing_workers(found):
    with in_float64():
        expected_rows, expected = trained(recipe_of(ON_AND_ON, "ddp"), ONE, range(6))
    rows, tensors = found["two, one, two"]
    terms = ("loss/dino_global", "loss/dino_local", "loss/ibot", "gauge/gradient_norm")
    for row, expected_row in zip(rows, expected_rows, strict=True):
        assert [row[name] for name in terms] == pytest.approx(
            [expected_row[name] for name in terms], rel=1e-9
        )
    torch.testing.assert_close(tensors, expected, rtol=1e-8, atol=1e-8)


def test_a_restart_shares_out_the_first_weights_again_and_each_worker_holds_half(found):
    held, tensors = found["beginning"]
    beginning = initial_state(recipe_of(RUNS["sinkhorn, in parts"], "fsdp"), CPU)
    expected = snapshot(beginning).tensors
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    total = sum(p.numel() for p in [*beginning.student.parameters(), *beginning.teacher.parameters()])
    assert 0.5 <= held / total < 0.55
