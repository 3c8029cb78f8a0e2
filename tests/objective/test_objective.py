"""The whole objective against the slow references, and the moving average."""

import numpy as np
import pytest
import reference
import torch
from whole_step import targets_and_losses

from mricore.config.schema import Objective
from mricore.model.masked import masked_patches
from mricore.model.network import Projections
from mricore.objective.communication import Alone
from mricore.objective.dinov2 import Centers
from mricore.objective.ema import update_teacher

B, K, LOCALS = 4, 7, 3
TEACHER, STUDENT = 0.05, 0.2


def drawn(rng, *shape):
    return torch.from_numpy(rng.normal(size=shape).astype(np.float32))


def exact(tensor, *shape):
    return tensor.double().numpy().reshape(shape or tensor.shape)


@pytest.mark.numerics
@pytest.mark.parametrize("centering", ["center", "sinkhorn", "none"])
def test_every_term_has_its_own_targets_temperature_and_centre(centering):
    rng = np.random.default_rng(0)
    masks = rng.random((2 * B, 3, 3)) < 0.4
    patches = int(masks.sum())
    student = Projections(
        drawn(rng, 2 * B, K), drawn(rng, patches, K), drawn(rng, LOCALS * B, K), drawn(rng, 2 * B, 6)
    )
    teacher = Projections(drawn(rng, 2 * B, K), drawn(rng, patches, K), None, drawn(rng, 2 * B, 6))
    centers = Centers(drawn(rng, K), drawn(rng, K))
    settings = Objective(centering=centering, student_temperature=STUDENT, center_momentum=0.8)
    masked = masked_patches(masks, torch.device("cpu"))
    got, following = targets_and_losses(student, teacher, masked, centers, settings, TEACHER, [B], Alone())

    def targets(logits, center):
        if centering == "sinkhorn":
            return reference.sinkhorn(exact(logits), TEACHER)
        shift = exact(center) if centering == "center" else 0
        return np.array([reference.softmax((row - shift) / TEACHER) for row in exact(logits)])

    image = targets(teacher.image_logits, centers.image).reshape(2, B, K)
    patch = targets(teacher.patch_logits, centers.patch)
    dino = reference.dino(
        exact(student.image_logits, 2, B, K), exact(student.local_logits, LOCALS, B, K), image, STUDENT
    )
    ibot = reference.ibot(exact(student.patch_logits), patch, masks, STUDENT)
    koleo = sum(reference.koleo(crop) for crop in exact(student.image_tokens, 2, B, 6))
    found = [float(term) for term in (got.dino_global, got.dino_local, got.ibot, got.koleo)]
    assert found == pytest.approx([*dino, ibot, koleo], rel=1e-4)
    if centering == "center":
        for now, before, logits in (
            (following.image, centers.image, teacher.image_logits),
            (following.patch, centers.patch, teacher.patch_logits),
        ):
            torch.testing.assert_close(now, 0.8 * before + 0.2 * logits.mean(0))
    else:
        assert following is centers


def test_the_teacher_keeps_the_share_that_the_momentum_says():
    teacher, student = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    expected = 0.9 * teacher.weight.detach() + 0.1 * student.weight.detach()
    update_teacher(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight.detach(), expected)
