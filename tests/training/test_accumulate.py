"""A step in several parts is the step: the same losses, weights and centres, only with less memory."""

import numpy as np
import pytest
import torch
from records import small_dataset
from small import MAE, small_loop, small_recipe
from steps import CPU, DOUBLE, batch_of_step, in_float64, in_processes, trained

from mricore.data.storage import place
from mricore.objective.health import NOT_FINITE
from mricore.training.dinov2 import Dinov2
from mricore.training.loop import IllError
from mricore.training.methods import method_of
from mricore.training.parts import number_of_parts, part_counts, part_rows
from mricore.training.rates import rates_at

METHODS = {
    "sinkhorn": ("model.drop_path=0.4", "objective.koleo_weight=0"),
    "centring": (
        *("objective.centering=center", "head.shared=false", "objective.koleo_weight=0"),
        *("model.kind=plain", "model.readout=class", "model.drop_path=0.2"),
    ),
    "mae": MAE,
}
KOLEO = ("objective.koleo_weight=0.1",)
STEPS = range(3)


def of_all(parts, counts):
    """Metrics and final tensors of each method, and of one step with KoLeo."""
    more = (*DOUBLE, f"train.accumulate={parts}")
    with in_float64():
        found = {name: trained(small_recipe(*one, *more), counts, STEPS) for name, one in METHODS.items()}
        return found | {"koleo": trained(small_recipe(*KOLEO, *more), counts, range(1))}


@pytest.fixture(scope="module")
def whole():
    """One process and one part."""
    return of_all(1, (9,))


@pytest.fixture(scope="module", params=[(9,), (7, 2)], ids=["one process", "two processes"])
def in_parts(request, tmp_path_factory):
    """Four parts; the second of two workers has fewer slices than that."""
    if len(request.param) == 1:
        return of_all(4, request.param)
    return in_processes(2, tmp_path_factory.mktemp("two") / "run", of_all, 4, request.param)


@pytest.mark.numerics
@pytest.mark.parametrize("name", METHODS)
def test_steps_in_four_parts_equal_whole_ones(whole, in_parts, name):
    (rows, tensors), (expected_rows, expected) = in_parts[name], whole[name]
    for row, expected_row in zip(rows, expected_rows, strict=True):
        wanted = {metric: value for metric, value in expected_row.items() if "koleo" not in metric}
        assert {"gauge/rank", "gauge/gradient_norm", "loss/total"} <= wanted.keys()
        rank = wanted.pop("gauge/rank")  # of roots of eigenvalues that are nearly 0
        assert row["gauge/rank"] == pytest.approx(rank, rel=1e-6)
        assert {metric: row[metric] for metric in wanted} == pytest.approx(wanted, rel=1e-9)
    torch.testing.assert_close(tensors, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.numerics
def test_koleo_alone_depends_on_the_parts(whole, in_parts):
    (found,), (expected,) = in_parts["koleo"][0], whole["koleo"][0]
    for name in ("loss/dino_global", "loss/dino_local", "loss/ibot"):
        assert found[name] == pytest.approx(expected[name], rel=1e-9)
    assert found["loss/koleo"] < expected["loss/koleo"]  # the nearest of fewer candidates is farther


class OnePoisonedPart(Dinov2):
    """A method whose second part of the third step has a number that is none."""

    def views(self, batch, rates, device):
        first, second = super().views(batch, rates, device)
        if batch.step == 2:
            second.globals[0] = torch.nan
        return [first, second]


def test_a_number_that_is_none_in_one_part_ends_the_run(tmp_path):
    dataset = place(str(tmp_path))
    small_dataset(dataset, 75)
    loop = small_loop(dataset, small_recipe("train.accumulate=2", "train.log_every=4"))
    loop.method = OnePoisonedPart(loop.recipe)
    with pytest.raises(IllError) as caught:
        list(loop.run())
    assert (caught.value.step, caught.value.sign) == (3, NOT_FINITE)


def test_parts_are_known_from_the_counts_alone():
    assert part_counts((7, 2, 0), 4) == [(2, 1, 0), (2, 1, 0), (2, 0, 0), (1, 0, 0)]
    for count in range(9):
        for parts in range(1, 6):
            expected = [len(part) for part in np.array_split(np.arange(count), parts)]
            assert [part for (part,) in part_counts((count,), parts)] == expected
            rows = [np.arange(count)[part] for part in part_rows(count, parts)]
            assert np.array_equal(np.concatenate(rows), np.arange(count))
    assert number_of_parts((3, 1), 8) == 3  # no part without a slice of any worker
    assert number_of_parts((3, 9), 8) == 8


@pytest.mark.parametrize(
    "settings", [("model.drop_path=0.4",), ("model.drop_path=0.4", "augment.local_crops=0")]
)
def test_parts_are_cut_from_the_views_of_the_whole(settings):
    def views(parts):
        recipe = small_recipe(*settings, f"train.accumulate={parts}")
        return method_of(recipe).views(batch_of_step(0, (5,), 0), rates_at(0, 10, recipe), CPU)

    (whole,), parts = views(1), views(2)
    assert [len(part.globals) for part in parts] == [6, 4]
    for part, rows in zip(parts, (range(3), range(3, 5)), strict=True):
        places = [*rows, *(row + 5 for row in rows)]
        assert torch.equal(part.globals, whole.globals[places])
        assert torch.equal(part.masked.grid, whole.masked.grid[places])
        assert (part.locals is None) == (whole.locals is None)
        for mine, everyone in zip(part.drop[0], whole.drop[0], strict=True):
            for branch, all_rows in zip(mine, everyone, strict=True):
                kept = [places.index(row) for row in all_rows.rows.tolist() if row in places]
                assert (sorted(kept), all_rows.scale) == (branch.rows.tolist(), branch.scale)
