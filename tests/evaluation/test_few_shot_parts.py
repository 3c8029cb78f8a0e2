"""The pure parts of few-shot adaptation: loss, learning rate, augmentation, preparation, settings."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from mricore.config.few_shot import PRESETS, FewShot, few_shot
from mricore.errors import UserError
from mricore.evaluation.few_shot.augmentation import (
    Choices,
    cropped,
    draw,
    equalized,
    with_other_intensities,
)
from mricore.evaluation.few_shot.judge import mean_dice
from mricore.evaluation.few_shot.losses import dice_ce, one_hot
from mricore.evaluation.few_shot.schedule import rate_at
from mricore.evaluation.few_shot.slices import prepared, prepared_images, shrunken


def logits_and_masks(classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, classes, 9, 11, generator=generator)
    masks = torch.randint(0, 1 + classes, (4, 9, 11), generator=generator)
    masks[0] = 0  # a slice without any class
    return logits, masks


def slow_dice_ce(logits, masks, classes):
    """Pixel by pixel, in float64 and without a softmax of torch."""
    dice, entropy = [], []
    for image, mask in zip(logits.double().tolist(), masks.tolist(), strict=True):
        shares = np.exp([np.zeros_like(image[0]), *image])
        shares /= shares.sum(0)
        mask = np.array(mask)
        entropy.append(np.mean([-math.log(shares[(mask[at], *at)]) for at in np.ndindex(mask.shape)]))
        for label in range(1, classes + 1):
            true = mask == label
            dice.append(
                1 - (2 * shares[label][true].sum() + 1e-5) / (shares[label].sum() + true.sum() + 1e-5)
            )
    return np.mean(dice) + np.mean(entropy)


@pytest.mark.numerics
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_the_loss_is_dice_and_cross_entropy_written_out(classes):
    logits, masks = logits_and_masks(classes)
    found = dice_ce(logits, one_hot(masks, classes))
    assert float(found) == pytest.approx(slow_dice_ce(logits, masks, classes), rel=1e-6)


@pytest.mark.numerics
def test_the_loss_of_one_class_is_binary_cross_entropy_and_sigmoid_dice():
    """Golden: DiceCE(sigmoid) of MONAI equals Dice(1e-5, 1e-5, of each image) + BCEWithLogits."""
    logits, masks = logits_and_masks(1)
    target = masks[:, None].float()
    shares = logits.sigmoid()
    sums = (shares * target).sum((1, 2, 3)), shares.sum((1, 2, 3)) + target.sum((1, 2, 3))
    dice = 1 - (2 * sums[0] + 1e-5) / (sums[1] + 1e-5)
    expected = dice.mean() + F.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(dice_ce(logits, one_hot(masks, 1)), expected)


@pytest.mark.numerics
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classes", [1, 4])
def test_the_loss_is_that_of_monai(classes):
    losses = pytest.importorskip("monai.losses", reason="MONAI is not installed: pip install -e .[dev]")
    logits, masks = logits_and_masks(classes)
    if classes == 1:
        expected = losses.DiceCELoss(sigmoid=True)(logits, masks[:, None].float())
    else:
        both = losses.DiceCELoss(softmax=True, include_background=False, to_onehot_y=True)
        expected = both(torch.cat([torch.zeros_like(logits[:, :1]), logits], 1), masks[:, None])
    torch.testing.assert_close(dice_ce(logits, one_hot(masks, classes)), expected)


def test_the_learning_rate_rises_for_200_steps_and_then_decays_over_all_9000():
    rates = [rate_at(step, 9000, 200, 1e-4) for step in range(9000)]
    assert rates[0] == pytest.approx(1e-4 / 200)
    assert rates[199] == rates[200] == pytest.approx(1e-4)
    assert rates[3000] == pytest.approx(1e-4 * (1 - 2800 / 9000) ** 0.9) == pytest.approx(7.15e-5, rel=1e-3)
    assert rates[-1] > 0
    assert max(rates) == rates[199]


def generators(seed, count=1):
    return [np.random.default_rng([seed, place]) for place in range(count)]


def test_crops_cover_half_to_all_of_a_slice_in_the_published_distribution():
    """Mean area .695 and 1% whole slices were measured of torchvision's transform with these numbers."""
    boxes = draw(generators(0, 4000), FewShot()).boxes.numpy()
    areas = boxes[:, 2] * boxes[:, 3]
    ratios = boxes[:, 2] / boxes[:, 3]
    assert areas.min() > 0.49
    assert areas.mean() == pytest.approx(0.695, abs=0.01)
    assert (areas == 1).mean() == pytest.approx(0.01, abs=0.01)
    assert ratios.min() > 0.74
    assert ratios.max() < 1.34
    assert (np.abs(boxes[:, :2]) + boxes[:, 2:]).max() <= 1 + 1e-6


def test_choices_depend_on_their_generator_alone_and_not_on_other_settings():
    together = draw(generators(0, 3), FewShot())
    alone = draw(generators(0, 3)[1:2], FewShot(rotation=45, equalize=1.0))
    assert torch.equal(together.boxes[1:2], alone.boxes)
    assert torch.equal(together.contrast[1:2], alone.contrast)
    assert alone.equalize.all()
    assert not together.equalize.any()
    assert not together.angles.any()
    assert not torch.equal(together.boxes, draw(generators(1, 3), FewShot()).boxes)


def unchanged(count=1, **other):
    ones, flags = torch.ones(count), torch.zeros(count, dtype=torch.bool)
    same = Choices(ones, ones, flags, flags, torch.tensor([[0.0, 0, 1, 1]] * count), torch.zeros(count))
    return same._replace(**{name: torch.tensor(values) for name, values in other.items()})


def test_no_change_changes_nothing():
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    masks = (images[:, 0] > 0.5).to(torch.uint8)
    torch.testing.assert_close(with_other_intensities(images, unchanged(2)), images)
    moved, labels = cropped(images, masks, unchanged(2), nearest=False)
    torch.testing.assert_close(moved, images)
    assert torch.equal(labels, masks)


@pytest.mark.parametrize("nearest", [False, True])
def test_a_crop_and_its_mask_show_the_same_quarter(nearest):
    image = torch.arange(64.0).view(1, 1, 8, 8)
    upper_right = unchanged(boxes=[[0.5, -0.5, 0.5, 0.5]])
    moved, labels = cropped(image, image[:, 0].to(torch.uint8), upper_right, nearest)
    assert torch.equal(labels[0, ::2, ::2], image[0, 0, :4, 4:].to(torch.uint8))
    if nearest:
        assert torch.equal(moved[0, 0].to(torch.uint8), labels[0])
    else:
        torch.testing.assert_close(moved[0, 0, 1:-1, 1:-1].mean(), image[0, 0, :4, 4:].mean())


def test_a_quarter_turn_turns_and_an_eighth_brings_in_zeros_at_the_corners_only():
    image = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0)) + 1
    mask = (image[:, 0] * 10).to(torch.uint8)
    turned, labels = cropped(image, mask, unchanged(angles=[math.pi / 2]), nearest=True)
    assert any(torch.equal(turned[0, 0], image[0, 0].rot90(k)) for k in (1, 3))
    assert any(torch.equal(labels[0], mask[0].rot90(k)) for k in (1, 3))
    tilted, labels = cropped(image, mask, unchanged(angles=[math.pi / 4]), nearest=True)
    assert not tilted[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]].any()
    assert (tilted[0, 0, 2:-2, 2:-2] > 0).all()
    assert torch.equal(tilted[0, 0] > 0, labels[0] > 0)


def test_what_a_rotation_of_a_crop_brings_in_is_nothing_even_where_the_slice_goes_on():
    image = torch.ones(1, 1, 16, 16)
    small = unchanged(boxes=[[0.0, 0, 0.5, 0.5]], angles=[math.pi / 4])
    moved, _ = cropped(image, image[:, 0], small, nearest=False)
    assert not moved[0, 0, 0, 0]


def test_jitter_follows_its_formulas_in_either_order():
    images = torch.tensor([[0.2, 0.4], [0.6, 0.8]]).view(1, 1, 2, 2).repeat(2, 1, 1, 1)
    choices = unchanged(2, brightness=[1.5, 1.5], contrast=[0.5, 0.5], brightness_first=[True, False])
    found = with_other_intensities(images, choices)
    bright = torch.tensor([0.3, 0.6, 0.9, 1.0])
    torch.testing.assert_close(found[0].flatten(), bright.mean() + 0.5 * (bright - bright.mean()))
    torch.testing.assert_close(found[1].flatten(), 1.5 * (0.5 + 0.5 * (images[0].flatten() - 0.5)))


@pytest.mark.numerics
@pytest.mark.parametrize("kind", ["noise", "dark", "two values", "constant"])
def test_equalisation_is_that_of_pillow(kind):
    rng = np.random.default_rng(0)
    grey = {
        "noise": rng.integers(0, 256, (40, 40)),
        "dark": (rng.random((40, 40)) ** 3 * 200).astype(int),
        "two values": np.where(rng.random((40, 40)) < 0.2, 250, 3),
        "constant": np.full((40, 40), 7),
    }[kind].astype(np.uint8)
    expected = np.asarray(ImageOps.equalize(Image.fromarray(grey)))
    found = equalized(torch.from_numpy(grey)[None] / 255)
    np.testing.assert_array_equal((found[0] * 255).round().numpy(), expected)


def test_only_the_chosen_slices_are_equalised():
    images = torch.rand(2, 1, 30, 30, generator=torch.Generator().manual_seed(0)) * 0.5
    found = with_other_intensities(images, unchanged(2, equalize=[False, True]))
    torch.testing.assert_close(found[0], images[0])
    assert found[1].max() > 0.9


def test_each_slice_is_scaled_by_its_own_range_after_the_resize():
    slices = [(np.full((6, 4), 7.0), np.zeros((6, 4), np.uint8))]
    slices.append((np.arange(80.0).reshape(10, 8) * 100 - 9, np.eye(10, 8, dtype=np.uint8)))
    found = prepared(slices, 5, eight_bit=False)
    assert not found.images[0].any()
    assert (float(found.images[1].min()), float(found.images[1].max())) == (0, 1)
    assert found.masks.shape == (2, 5, 5)
    coarse = prepared(slices, 5, eight_bit=True).images[1]
    assert (coarse - found.images[1]).abs().max() <= 1 / 255
    torch.testing.assert_close(coarse * 255, (coarse * 255).round())


def test_a_slice_that_is_not_finite_is_refused():
    with pytest.raises(UserError, match="NaN"):
        prepared_images(np.full((1, 4, 4), np.nan), 4, eight_bit=False)


def test_shrunken_masks_lose_what_is_thin_as_the_published_ones_do():
    """Golden: at 1024 -> 256 a line of one pixel and a square of three vanish, a square of four stays."""
    masks = torch.zeros(3, 1024, 1024, dtype=torch.uint8)
    masks[0, 100, 40:80] = 1
    masks[1, 40:43, 40:43] = 1
    masks[2, 40:44, 40:44] = 1
    found = shrunken(one_hot(masks, 1), 256)
    assert [int(one.sum()) for one in found[:, 1]] == [0, 0, 1]
    assert torch.equal(found.sum(1), torch.ones(3, 256, 256))


def test_validation_looks_at_the_classes_that_a_slice_shows():
    truth = np.array([[1, 1, 0, 0]], np.uint8)
    assert mean_dice([np.array([[1, 0, 2, 0]], np.uint8)], [truth]) == pytest.approx(2 / 3)
    assert mean_dice([truth, truth], [truth, np.array([[2, 2, 1, 1]], np.uint8)]) == pytest.approx(1 / 3 * 1)
    with pytest.raises(ValueError, match="no validation slice"):
        mean_dice([truth], [np.zeros_like(truth)])


def test_presets_have_their_names_and_paper_has_every_published_fault():
    assert [few_shot(name).name for name in PRESETS] == ["paper", "strict", "cpu"]
    paper, strict = few_shot("paper"), few_shot("strict")
    same = {name for name in FewShot.model_fields if getattr(paper, name) == getattr(strict, name)}
    assert same == {
        *("seed", "image_size", "epochs", "least_epochs", "patience", "evaluate_every", "batch_size", "lr"),
        *("weight_decay", "warmup_steps", "adapters_first", "adapters_last", "adapter_ratio", "brightness"),
        *("contrast", "crop_area", "crop_ratio", "evaluation_batch"),
        *("precision", "attention", "compile", "kept_gib"),
    }
    assert (paper.image_size, paper.epochs, paper.least_epochs, paper.patience) == (1024, 3000, 1000, 200)
    with pytest.raises(UserError, match="choose one of paper, strict, cpu"):
        few_shot("fast")
    with pytest.raises(ValueError, match="least_epochs"):
        FewShot(epochs=10)
