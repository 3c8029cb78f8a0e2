"""Votes of patches against a plain loop, in whatever parts they are computed."""

import numpy as np
import pytest
import torch

from mricore.evaluation import patch_votes
from mricore.evaluation.patch_votes import PatchBank


def drawn(seed=9, patches=30, channels=5, queries=(2, 3), classes=4):
    rng = np.random.default_rng(seed)
    bank = rng.normal(size=(patches, channels)).astype(np.float32)
    asked = rng.normal(size=(*queries, channels)).astype(np.float32)
    return bank, rng.dirichlet(np.ones(classes), patches), asked


def plain_votes(bank, shares, query, neighbours, temperature):
    cosines = [float(query @ one / np.linalg.norm(query) / np.linalg.norm(one)) for one in bank]
    nearest = sorted(range(len(bank)), key=lambda index: -cosines[index])[:neighbours]
    weights = [np.exp(cosines[index] / temperature) for index in nearest]
    return sum(w * shares[index] for w, index in zip(weights, nearest, strict=True)) / sum(weights)


@pytest.mark.numerics
@pytest.mark.parametrize(("neighbours", "temperature"), [(1, 0.07), (7, 0.2), (30, 1.0)])
def test_votes_of_patches_are_those_of_a_plain_loop(neighbours, temperature):
    bank, shares, queries = drawn()
    found = PatchBank.of(bank, shares, neighbours, temperature).votes(queries)
    assert found.shape == (2, 3, 4)
    assert found.dtype == np.float64
    for place in np.ndindex(2, 3):
        expected = plain_votes(bank, shares, queries[place], neighbours, temperature)
        np.testing.assert_allclose(found[place], expected, rtol=1e-4)


def test_with_fewer_patches_than_neighbours_all_vote():
    bank, shares, queries = drawn()
    few = PatchBank.of(bank[:2], shares[:2], 7, 0.07).votes(queries)
    np.testing.assert_allclose(few.sum(-1), 1)
    np.testing.assert_allclose(few, PatchBank.of(bank[:2], shares[:2], 2, 0.07).votes(queries))


@pytest.mark.parametrize("most", [1, 100, 299])
def test_the_parts_in_which_queries_are_asked_change_nothing(most, monkeypatch):
    bank, shares, queries = drawn(queries=(5, 4))
    whole = PatchBank.of(bank, shares, 7, 0.2).votes(queries)
    monkeypatch.setattr(patch_votes, "MOST_COSINES", most)
    sizes = []
    voted = PatchBank._voted
    monkeypatch.setattr(PatchBank, "_voted", lambda self, unit: sizes.append(len(unit)) or voted(self, unit))
    np.testing.assert_allclose(PatchBank.of(bank, shares, 7, 0.2).votes(queries), whole, rtol=1e-5)
    assert max(sizes) == max(1, most // 30)
    assert sum(sizes) == 20


def test_features_of_nothing_have_no_direction_and_still_give_shares():
    bank, shares, queries = drawn()
    queries[0, 0] = 0
    queries.setflags(write=False)
    found = PatchBank.of(bank, shares, 7, 0.07).votes(queries)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(-1), 1)
    turned = PatchBank.of(bank, shares, 7, 0.07).votes(queries[::-1, ::-1])
    np.testing.assert_allclose(turned, found[::-1, ::-1], rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("neighbours", [1, 10])
def test_a_gpu_gives_the_votes_of_the_cpu(neighbours):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    bank, shares, queries = drawn(patches=5000, channels=64, queries=(40, 40))
    cpu, gpu = (PatchBank.of(bank, shares, neighbours, 0.07, one).votes(queries) for one in ("cpu", "cuda"))
    # two neighbours as near as each other may change places at the end of the ranks
    assert (np.abs(cpu - gpu).max(-1) > 1e-4).mean() < 0.002
