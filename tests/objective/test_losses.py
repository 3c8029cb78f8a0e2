"""Each loss against its slow reference, its golden value, and its corner cases."""

import math
from contextlib import nullcontext

import numpy as np
import pytest
import reference
import torch
from waiting import nothing_waits
from whole_step import targets_and_losses

from mricore.config.schema import Objective
from mricore.model.masked import masked_patches
from mricore.model.network import Projections
from mricore.objective.communication import Alone
from mricore.objective.dino import dino_shares
from mricore.objective.dinov2 import Centers
from mricore.objective.ibot import ibot_share
from mricore.objective.koleo import koleo_share
from mricore.objective.targets import centered_targets, plain_targets, updated_center

B, L, K = 5, 3, 11
CPU = torch.device("cpu")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def tensor(array):
    return torch.from_numpy(np.asarray(array)).double()


def probabilities(rng, *shape):
    return np.apply_along_axis(reference.softmax, -1, rng.normal(size=(*shape, K)))


@pytest.mark.numerics
def test_dino_equals_the_reference(rng):
    globals_, locals_ = rng.normal(size=(2, B, K)), rng.normal(size=(L, B, K))
    targets = probabilities(rng, 2, B)
    got = dino_shares(
        tensor(globals_).flatten(0, 1), tensor(locals_).flatten(0, 1), tensor(targets).flatten(0, 1), 0.1, B
    )
    assert [float(value) for value in got] == pytest.approx(
        reference.dino(globals_, locals_, targets, 0.1), rel=1e-12
    )


@pytest.mark.numerics
def test_ibot_equals_the_reference(rng):
    masks = rng.random((2 * B, 4, 4)) < 0.3
    masks[3] = False
    logits, targets = rng.normal(size=(masks.sum(), K)), probabilities(rng, masks.sum())
    got = ibot_share(tensor(logits), tensor(targets), masked_patches(masks, CPU).weights.double(), 0.1, B)
    assert float(got) == pytest.approx(reference.ibot(logits, targets, masks, 0.1), rel=1e-6)


@pytest.mark.numerics
def test_koleo_equals_the_reference_also_with_duplicates(rng):
    tokens = rng.normal(size=(8, 16))
    tokens[5] = tokens[2]
    got = koleo_share(tensor(tokens), [8], 8, Alone())
    assert float(got) == pytest.approx(reference.koleo(tokens), rel=1e-5)


@pytest.mark.numerics
def test_centering_subtracts_the_center_and_the_center_follows_the_batch(rng):
    logits, center = rng.normal(size=(7, K)), rng.normal(size=K)
    expected = [reference.softmax((row - center) / 0.07) for row in logits]
    np.testing.assert_allclose(
        centered_targets(tensor(logits), tensor(center), 0.07).numpy(), expected, rtol=1e-12
    )
    without = [reference.softmax(row / 0.07) for row in logits]
    np.testing.assert_allclose(plain_targets(tensor(logits), 0.07).numpy(), without, rtol=1e-12)
    moved = updated_center(tensor(center), tensor(logits), 0.9, Alone()).numpy()
    np.testing.assert_allclose(moved, 0.9 * center + 0.1 * logits.mean(0), rtol=1e-5)
    same = updated_center(tensor(center), torch.zeros(0, K), 0.9, Alone()).numpy()
    np.testing.assert_allclose(same, center)


@pytest.mark.numerics
def test_golden_values_at_uniform_answers():
    """With 65,536 prototypes, 8 local crops, half of the crops masked, as in published configurations."""
    prototypes, slices = 65536, 2
    uniform = torch.full((2 * slices, prototypes), 1 / prototypes)
    zeros = torch.zeros(2 * slices, prototypes)
    across, local = dino_shares(zeros, zeros.repeat(4, 1), uniform, 0.1, slices)
    masks = np.zeros((2 * slices, 2, 2), bool)
    masks[:slices, 0] = True
    ibot = ibot_share(zeros, uniform, masked_patches(masks, CPU).weights, 0.1, slices)
    assert float(across) == pytest.approx(1.232, abs=1e-3)
    assert float(local) == pytest.approx(9.858, abs=1e-3)
    assert float(ibot) == pytest.approx(5.545, abs=1e-3)
    assert float(across + local) == pytest.approx(math.log(prototypes), rel=1e-5)


def koleo_as_published(tokens):
    """-mean(log(distance to the token of largest cosine)), for which a duplicate is at distance 0."""
    unit = torch.nn.functional.normalize(tokens, dim=-1, eps=1e-8)
    cosines = unit @ unit.T
    cosines.fill_diagonal_(-1)
    distances = torch.nn.functional.pairwise_distance(unit, unit[cosines.argmax(1)], eps=1e-8)
    return -torch.log(distances + 1e-8).mean()


def with_a_duplicate():
    tokens = torch.randn(8, 768, generator=torch.Generator().manual_seed(0))
    tokens[5] = tokens[2]
    return tokens


@pytest.mark.numerics
def test_koleo_equals_the_published_form_where_nothing_is_a_duplicate():
    tokens = with_a_duplicate()[:5]
    torch.testing.assert_close(koleo_share(tokens, [5], 5, Alone()), koleo_as_published(tokens))


@pytest.mark.numerics
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_duplicated_pair_is_finite_in_every_precision_and_pushes_nothing_apart(dtype):
    """The published form is about 3.5 in float32 and infinite in float16 (golden numbers)."""
    assert float(koleo_as_published(with_a_duplicate())) == pytest.approx(3.5, abs=0.1)
    assert koleo_as_published(with_a_duplicate().half()) == torch.inf
    tokens = with_a_duplicate().to(dtype).requires_grad_()
    loss = koleo_share(tokens, [8], 8, Alone())
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference.koleo(tokens.detach().double().numpy()), rel=1e-5)
    assert torch.isfinite(tokens.grad).all()
    assert loss < 0  # random tokens are more than 1 apart


@pytest.mark.parametrize("count", [1, 2, 8])
def test_koleo_of_equal_or_single_tokens_is_finite_with_a_finite_gradient(count):
    tokens = torch.ones(count, 4, requires_grad=True)
    loss = koleo_share(tokens, [count], count, Alone())
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(tokens.grad).all()


def projections(rng, masked, requires_grad=False, locals_=True):
    def random(*shape):
        return torch.from_numpy(rng.normal(size=shape).astype(np.float32)).requires_grad_(requires_grad)

    return Projections(
        random(2 * B, K), random(masked, K), random(L * B, K) if locals_ else None, random(2 * B, 6)
    )


@pytest.mark.parametrize("centering", ["center", "sinkhorn", "none"])
@pytest.mark.parametrize("locals_", [True, False])
@pytest.mark.parametrize("any_mask", [True, False])
def test_the_total_is_the_weighted_sum_and_has_a_gradient(rng, centering, locals_, any_mask):
    settings = Objective(centering=centering, dino_weight=0.7, ibot_weight=0.5, koleo_weight=0.3)
    masks = np.zeros((2 * B, 3, 3), bool)
    masks[:B, 1] = any_mask
    masked = masked_patches(masks, CPU)
    student = projections(rng, int(masks.sum()), requires_grad=True, locals_=locals_)
    teacher = projections(rng, int(masks.sum()))
    centers = Centers(torch.zeros(K), torch.zeros(K))
    losses, following = targets_and_losses(student, teacher, masked, centers, settings, 0.05, [B], Alone())
    expected = 0.7 * (losses.dino_global + losses.dino_local) + 0.5 * losses.ibot + 0.3 * losses.koleo
    torch.testing.assert_close(losses.total, expected)
    assert (losses.ibot > 0) == any_mask
    losses.total.backward()
    assert all(torch.isfinite(part.grad).all() for part in (student.image_logits, student.image_tokens))
    assert (following.image.abs().sum() > 0) == (centering == "center")


class SecondOfTwo:
    """A worker without slices beside another that holds all five."""

    rank, world_size = 1, 2

    def sum(self, tensor):
        return tensor + 1

    def maximum(self, tensor):
        return tensor.clamp(min=0)

    def gather_rows(self, rows, counts):
        return torch.cat([torch.ones(counts[0], rows.shape[1]), rows])


@pytest.mark.parametrize("centering", ["center", "sinkhorn", "none"])
def test_a_worker_without_slices_has_no_share_and_no_gradient(centering):
    def nothing():
        return Projections(*(torch.zeros(0, width, requires_grad=True) for width in (K, K, K, 6)))

    student, masked = nothing(), masked_patches(np.zeros((0, 2, 2), bool), CPU)
    centers, settings = Centers(torch.zeros(K), torch.zeros(K)), Objective(centering=centering)
    losses, following = targets_and_losses(
        student, nothing(), masked, centers, settings, 0.05, (B, 0), SecondOfTwo()
    )
    losses.total.backward()
    assert losses.total == 0
    assert torch.isfinite(following.image).all()


def test_losses_are_the_same_under_autocast(rng):
    masked = masked_patches(np.ones((2 * B, 2, 2), bool), CPU)
    student, teacher = (projections(rng, 8 * B) for _ in range(2))
    centers = Centers(torch.zeros(K), torch.zeros(K))
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled):
            losses, _ = targets_and_losses(student, teacher, masked, centers, Objective(), 0.05, [B], Alone())
        found.append(torch.stack([losses.total, losses.koleo, losses.ibot]))
    assert torch.equal(*found)


@pytest.mark.gpu
@pytest.mark.parametrize("centering", ["center", "sinkhorn", "none"])
def test_on_cuda_nothing_waits_and_tf32_changes_nothing(rng, centering, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    settings, found = Objective(centering=centering), {}
    masks = rng.random((2 * B, 3, 3)) < 0.4
    student, teacher = (projections(rng, masks.sum(), requires_grad=True) for _ in range(2))

    def moved(parts, device):
        tensors = (getattr(parts, name).detach().to(device) for name in parts.__dataclass_fields__)
        return Projections(*(tensor.requires_grad_() for tensor in tensors))

    for device in (CPU, torch.device("cuda")):
        inputs = moved(student, device), moved(teacher, device), masked_patches(masks, device)
        centers = Centers(torch.zeros(K, device=device), torch.zeros(K, device=device))
        with nothing_waits() if device.type == "cuda" else nullcontext():
            losses, _ = targets_and_losses(*inputs, centers, settings, 0.05, [B], Alone())
            losses.total.backward()
        gradients = [getattr(inputs[0], name).grad for name in inputs[0].__dataclass_fields__]
        found[device.type] = [losses.total.detach().cpu(), *(gradient.cpu() for gradient in gradients)]
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-5, atol=1e-7)
