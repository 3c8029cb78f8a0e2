"""Whole draws of few-shot segmentation on generated discs, with tiny encoders of both kinds."""

import dataclasses

import numpy as np
import pytest
import torch
from foreign_weights import PLAIN, SAM, meta_sam, shaken

from mricore.config.few_shot import FewShot, paper
from mricore.config.task import Task
from mricore.errors import UserError
from mricore.evaluation.contender import Contender
from mricore.evaluation.few_shot.fitting import batches, fit
from mricore.evaluation.few_shot.judge import Judge
from mricore.evaluation.few_shot.run import run_draw
from mricore.evaluation.few_shot.segmenter import build_segmenter
from mricore.evaluation.few_shot.slices import prepared
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Draw, Split
from mricore.evaluation.tasks.volume import LabelledVolume, SliceKey
from mricore.model.embedder import Embedder
from mricore.model.initialise import initialise

QUICK = FewShot(
    name="quick",
    image_size=32,
    epochs=25,
    least_epochs=25,
    evaluate_every=10,
    lr=5e-3,
    warmup_steps=5,
    adapters_first=1,
    adapters_last=1,
)
SETTINGS = {"sam": SAM, "plain": PLAIN}
DECODER = ("prompt_encoder.", "mask_decoder.")


def contender(kind, with_decoder=False, origin="made for a test"):
    embedder = Embedder(SETTINGS[kind], 32, "slice")
    initialise(embedder, torch.Generator().manual_seed(0))
    shaken(embedder.encoder).requires_grad_(False)
    tensors = meta_sam().state_dict() if with_decoder else {}
    decoder = {name: tensor for name, tensor in tensors.items() if name.startswith(DECODER)}
    return Contender(kind, embedder.requires_grad_(False).eval(), "0" * 64, origin, decoder)


def discs(rng, classes, slices=3, side=40):
    """Slices with a bright disc (1) and, of two classes, a dark one (2); the last slice is empty."""
    image = rng.normal(100, 5, (slices, side, side))
    mask = np.zeros((slices, side, side), np.uint8)
    rows, columns = np.mgrid[:side, :side]
    for index in range(slices - 1):
        for label in range(1, classes + 1):
            y, x = rng.uniform(10, side - 10), side * (0.25 if label == 1 else 0.75)
            inside = (rows - y) ** 2 + (columns - x) ** 2 < 64
            image[index][inside] += 80 if label == 1 else -80
            mask[index][inside] = label
    return image, mask


def labelled(classes=1, patients=8, shuffled=False):
    rng = np.random.default_rng(0)
    drawn = [discs(rng, classes) for _ in range(patients)]
    masks = [mask for _, mask in drawn]
    if shuffled:  # each image gets a mask of a disc that is elsewhere
        masks = [np.roll(mask, (7 * n + 11, 13 * n + 5), (1, 2)) for n, mask in enumerate(masks)]
    names = [f"case-{n}" for n in range(patients)]
    volumes = tuple(
        LabelledVolume(name, f"patient-{n}", drawn[n][0], masks[n], (3.0, 1.0, 1.0))
        for n, name in enumerate(names)
    )
    owners = [volume.patient for volume in volumes]
    return LabelledTask(task(classes), volumes, Split(tuple(owners[:6]), (), tuple(owners[6:])), "0" * 64)


def task(classes):
    return Task.model_validate(
        {
            "name": "discs",
            "title": "Discs",
            "source": {
                "kind": "nifti",
                "images": "{case}.nii.gz",
                "masks": "{case}.nii.gz",
                "patient": "{case}",
            },
            "classes": {"bright": (1,), "dark": (2,)} if classes == 2 else {"bright": (1,)},
            "split": {"pool": 0.7, "development": 0.0, "test": 0.3},
            "about": {"licence": "none", "where_to_get": "generated"},
        }
    )


def keys(*cases):
    return tuple(SliceKey(f"case-{n}", 0) for n in cases)


DRAW = Draw(0, keys(0, 1, 2), keys(3, 4, 5))


def mean(outcome, label="mean"):
    """Mean 2D Dice of the slices that show something: in the others noise is scaled to 0..1."""
    values = [
        row.value
        for row in outcome.rows
        if (row.metric, row.label) == ("dice_2d", label) and not row.case.endswith("/2")
    ]
    return float(np.mean(values))


@pytest.fixture(scope="module")
def plain_outcome():
    return run_draw(contender("plain"), labelled(2), DRAW, QUICK.model_copy(update={"lr": 1e-3}))


def test_a_slice_is_learned_by_heart():
    """Training, validation and test are one slice, without augmentation that could hide a mix-up."""
    world = labelled()
    same = dataclasses.replace(world, split=Split((), (), ("patient-0",)))
    once = QUICK.model_copy(update={"brightness": 0.0, "contrast": 0.0, "crop_area": (1.0, 1.0)})
    outcome = run_draw(contender("sam"), same, Draw(0, keys(0), keys(0)), once)
    found = next(row.value for row in outcome.rows if (row.case, row.metric) == ("case-0/0", "dice_2d"))
    assert found > 0.9
    assert outcome.curve[-1].loss < 0.3 < outcome.curve[0].loss


def test_a_plain_encoder_finds_two_classes_in_patients_that_it_never_saw(plain_outcome):
    for label in ("bright", "dark"):
        assert mean(plain_outcome, label) > 0.7
    rows = plain_outcome.rows
    assert {row.patient for row in rows} == {"patient-6", "patient-7"}
    assert {(row.protocol, row.task, row.mode, row.encoder, row.draw) for row in rows} == {
        ("few_shot", "discs", "quick", "plain", 0)
    }
    assert {row.metric for row in rows} == {"dice_2d", "dice_3d", "nsd_mm"}
    assert {row.case for row in rows if row.metric == "dice_2d"} == {
        f"case-{c}/{s}" for c in (6, 7) for s in range(3)
    }


def test_the_curve_names_the_epochs_looked_at_and_the_best_of_them(plain_outcome):
    curve = plain_outcome.curve
    assert [point.epoch for point in curve] == [0, 10, 20, 24]
    assert plain_outcome.steps == 25 * 2
    scores = {point.epoch: point.validation for point in curve}
    assert scores[plain_outcome.best_epoch] == max(scores.values())
    assert curve[-1].loss < curve[0].loss


def test_pictures_show_slices_of_the_judged_part_with_truth_and_prediction(plain_outcome):
    assert {one.case for one in plain_outcome.predictions} == {"case-6", "case-7"}
    for one in plain_outcome.predictions:
        overlap = (one.truth == one.layers["prediction"])[one.truth > 0].mean()
        assert overlap > 0.6
        assert one.image.shape == one.truth.shape == (40, 40)


def test_the_same_draw_gives_the_same_bits_and_another_draw_others(plain_outcome):
    short = QUICK.model_copy(update={"epochs": 2, "least_epochs": 0})
    one = contender("plain")
    runs = [
        run_draw(one, labelled(2), dataclasses.replace(DRAW, number=number), settings)
        for number, settings in (
            (0, short),
            (0, short),
            (1, short),
            (0, short.model_copy(update={"seed": 1})),
        )
    ]
    assert runs[0].curve == runs[1].curve
    assert repr(runs[0].rows) == repr(runs[1].rows)
    assert len({run.curve[0].loss for run in runs}) == 3


def test_shuffled_labels_teach_nothing():
    """A control: with masks of other images there is nothing to learn but where discs are on average."""
    scores = [mean(run_draw(contender("sam"), labelled(1, shuffled=s), DRAW, QUICK)) for s in (False, True)]
    assert scores[0] > 0.8
    assert scores[1] < 0.3


@pytest.mark.parametrize("with_decoder", [False, True])
@pytest.mark.parametrize("kind", ["sam", "plain"])
def test_only_what_is_trained_has_gradients_and_all_else_keeps_its_bits(kind, with_decoder):
    one = contender(kind, with_decoder)
    frozen = {name: tensor.clone() for name, tensor in one.embedder.state_dict().items()}
    given = {name: tensor.clone() for name, tensor in one.decoder.items()}
    segmenter = build_segmenter(one, 1, QUICK, 0)
    before = {name: tensor.clone() for name, tensor in segmenter.state_dict().items()}
    trained = segmenter.trained()
    parts = {name for name in trained if "adapter" not in name}
    if with_decoder:
        allowed = ("decoder.mask_decoder.mask_tokens", "decoder.mask_decoder.output_hypernetworks_mlps.1")
    else:
        allowed = ("decoder.", "bridge.neck")
    assert all(name.startswith((*allowed, "bridge.linear", "bridge.norm")) for name in parts)
    optimizer = torch.optim.SGD(trained.values(), lr=0.1)
    segmenter(
        torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ).square().mean().backward()
    assert {name for name, one in segmenter.named_parameters() if one.grad is not None} == set(trained)
    optimizer.step()
    after, may_change = segmenter.state_dict(), {id(parameter) for parameter in trained.values()}
    names = {
        name for name, one in segmenter.named_parameters(remove_duplicate=False) if id(one) in may_change
    }
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert changed <= names
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in one.embedder.state_dict().items())
    assert all(torch.equal(tensor, given[name]) for name, tensor in one.decoder.items())


def test_a_draw_leaves_the_contender_as_it_was():
    one = contender("sam", with_decoder=True)
    frozen = {name: tensor.clone() for name, tensor in one.embedder.state_dict().items()}
    images = np.random.default_rng(0).random((1, 32, 32))
    before = one.embedder.neck(images)
    run_draw(one, labelled(), DRAW, QUICK.model_copy(update={"epochs": 2, "least_epochs": 0}))
    assert set(one.embedder.state_dict()) == set(frozen)
    assert all(torch.equal(tensor, frozen[name]) for name, tensor in one.embedder.state_dict().items())
    assert not any(parameter.requires_grad for parameter in one.embedder.parameters())
    np.testing.assert_array_equal(one.embedder.neck(images), before)


def test_sams_decoder_from_the_file_segments_like_sam_before_the_first_step():
    """Adapters that begin at zero: what comes out are SAM's own masks of its own encoder's maps."""
    one = contender("sam", with_decoder=True)
    segmenter = build_segmenter(one, 3, QUICK, 0)
    sam = meta_sam()
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = one.embedder.encoder.to_neck(one.embedder.encoder(images).grid)
        sparse, dense = sam.prompt_encoder(None, None, None)
        expected = sam.mask_decoder(maps, sam.prompt_encoder.get_dense_pe(), sparse, dense, True)[0]
        torch.testing.assert_close(segmenter(images), expected, atol=1e-5, rtol=1e-5)


def test_the_published_mode_judges_all_classes_as_one_at_the_decoders_size_without_empty_slices():
    short = {"image_size": 32, "epochs": 2, "least_epochs": 0, "adapters_first": 1, "adapters_last": 1}
    settings = paper().model_copy(update=short)
    outcome = run_draw(contender("sam", with_decoder=True), labelled(2), DRAW, settings)
    assert {row.metric for row in outcome.rows} == {"dice_2d", "dice_3d", "nsd_voxel"}
    assert {row.label for row in outcome.rows} == {"foreground", "mean"}
    assert {row.case for row in outcome.rows} == {"case-6", "case-7", "case-6/0", "case-7/0"}
    assert all(one.truth.max() == 1 and one.truth.shape == (40, 40) for one in outcome.predictions)
    judge = Judge(build_segmenter(contender("sam", True), 1, settings, 0), 1, settings)
    volume = labelled(2).volumes[0]
    assert judge.truth(volume.mask).shape == judge.predicted(volume.image).shape == (3, 32, 32)


def test_the_published_mode_trains_adapters_alone_and_handicaps_the_random_baseline():
    settings = paper().model_copy(update={"adapters_first": 1, "adapters_last": 1})
    judged = build_segmenter(contender("sam", with_decoder=True), 1, settings, 0)
    baseline = build_segmenter(contender("sam", origin="random, seed 0"), 1, settings, 0)
    other = build_segmenter(contender("sam"), 1, settings, 0)
    assert all("adapter" in name for segmenter in (judged, baseline) for name in segmenter.trained())
    assert not all("adapter" in name for name in other.trained())
    grey = torch.rand(1, 1, 32, 32)
    assert torch.equal(baseline.input_norm(grey), grey.expand(-1, 3, -1, -1))
    assert not torch.equal(judged.input_norm(grey), grey.expand(-1, 3, -1, -1))


def test_a_slice_is_resized_to_the_nearest_multiple_of_the_patch():
    sizes = {32: 32, 33: 32, 35: 36, 1: 4}
    for asked, side in sizes.items():
        judge = Judge(build_segmenter(contender("plain"), 1, QUICK, 0), 1, QUICK)
        settings = QUICK.model_copy(update={"image_size": asked})
        assert dataclasses.replace(judge, settings=settings).side == side


def test_batches_are_a_function_of_seed_epoch_and_place():
    segmenter = build_segmenter(contender("plain"), 1, QUICK, 0)
    slices = prepared([labelled().slice(key) for key in keys(0, 1, 2, 3, 4)], 32, eight_bit=False)

    def epoch(number, seed):
        return [images for images, _ in batches(segmenter, slices, 1, number, QUICK, (0, seed))]

    sizes = [len(images) for images in epoch(0, 0)]
    assert sizes == [2, 2, 1]
    assert all(torch.equal(a, b) for a, b in zip(epoch(3, 0), epoch(3, 0), strict=True))
    assert not torch.equal(epoch(3, 0)[0], epoch(4, 0)[0])
    assert not torch.equal(epoch(3, 0)[0], epoch(3, 1)[0])


def fitted(scores, **settings):
    """Adaptation whose validation scores are given, what it says, and its parameters at each look."""
    segmenter = build_segmenter(contender("sam"), 1, QUICK, 0)
    slices = prepared([labelled().slice(key) for key in keys(0, 1)], 32, eight_bit=False)
    seen, left = [], iter(scores)

    def validate():
        seen.append([one.detach().clone() for one in segmenter.trained().values()])
        return next(left)

    quick = QUICK.model_copy(update={"epochs": 12, "least_epochs": 4, "evaluate_every": 2, **settings})
    found = fit(segmenter, slices, validate, 1, quick, (0, 0))
    return found, seen, list(segmenter.trained().values())


def test_adaptation_stops_without_improvement_once_it_may_and_goes_back_to_its_best():
    found, seen, end = fitted([0.1, 0.9, 0.2, 0.9, 0.3], patience=4)
    assert (found.best_epoch, found.steps) == (2, 7)
    assert [point.epoch for point in found.curve] == [0, 2, 4, 6]
    assert all(torch.equal(a, b) for a, b in zip(end, seen[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(end, seen[-1], strict=True))


def test_adaptation_does_not_stop_before_its_least_epochs_or_while_it_improves():
    assert fitted([0.9] + 6 * [0.1], patience=2, least_epochs=8)[0].curve[-1].epoch == 8
    assert fitted([n / 10 for n in range(7)], patience=2)[0].best_epoch == 11


def test_a_score_of_zero_at_every_look_still_leaves_the_first():
    found, seen, end = fitted(7 * [0.0], patience=20)
    assert found.best_epoch == 0
    assert all(torch.equal(a, b) for a, b in zip(end, seen[0], strict=True))


def test_a_diverging_loss_ends_with_what_to_do():
    with pytest.raises(UserError, match=r"diverged.*smaller lr"):
        fitted(7 * [0.5], lr=1e25, warmup_steps=0)


def test_a_late_rate_gives_each_step_the_one_before():
    """With no rise, both begin alike; a rise of 4 steps is taken one step later."""
    punctual, late = (fitted([0.0], epochs=1, least_epochs=0, late_rate=one)[1] for one in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(punctual[0], late[0], strict=True))
    punctual, late = (fitted(2 * [0.0], epochs=2, least_epochs=0, late_rate=one)[1] for one in (False, True))
    assert not all(torch.equal(a, b) for a, b in zip(punctual[1], late[1], strict=True))


def test_a_decoder_of_another_width_than_the_neck_is_told_before_anything_runs():
    one = contender("sam", with_decoder=True)
    narrow = SAM.model_copy(update={"neck_dim": SAM.neck_dim // 2})
    embedder = Embedder(narrow, 32, "slice")
    initialise(embedder, torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match=r"neck of 16 channels .* decoder of 32"):
        build_segmenter(dataclasses.replace(one, embedder=embedder), 1, QUICK, 0)
