"""Recipes: named settings as functions. Each docstring tells source, command, hardware, time and score."""

from __future__ import annotations

from collections.abc import Callable

from mricore.config.curation import Curation
from mricore.config.encoders import plain_vit_b, sam_vit_b, sam_vit_h, sam_vit_l, sam_vit_s
from mricore.config.schema import (
    Augment,
    Data,
    Head,
    Initial,
    Mae,
    Model,
    Objective,
    Optimizer,
    Recipe,
    Stage,
    Train,
)
from mricore.errors import UserError


def tiny() -> Recipe:
    """The whole method at a size for a laptop: a check of the machinery, not a useful encoder.

    Source: MRI-CORE (arXiv 2506.12186) section 4.2 at toy size; SAM-style encoder, DINO + iBOT + KoLeo.
    Command: ``make pretrain`` or ``python jobs/pretrain.py tiny``.
    Hardware and time: 2 CPU cores, about 3 minutes on the generated collection.
    Score: see docs/log.md for the measured k-NN accuracy before and after.
    """
    return Recipe(
        name="tiny",
        # of 510 slices, larger row groups would make batches of neighbours in the shard
        curation=Curation(slices_per_row_group=32),
        model=Model(
            dim=96,
            depth=4,
            heads=3,
            patch=8,
            window=14,
            global_blocks=(1, 3),
            native_grid=28,
            neck_dim=64,
            drop_path=0.2,
        ),
        head=Head(prototypes=512, hidden=256, bottleneck=64),
        augment=Augment(global_size=96, local_size=48, local_crops=4),
        # at 0.07 a run of 200 steps drifts to uniform answers: 64 image tokens share 512 prototypes
        objective=Objective(teacher_momentum=0.98, teacher_temperature=0.04),
        optimizer=Optimizer(lr=4e-3, layer_decay=1.0, weight_decay_end=0.1),
        data=Data(lanes=4, window_steps=8),
        train=Train(epochs=4, batch_size=32, workers=2, gpu=False, precision="float32", log_every=2),
    )


def tiny_mae() -> Recipe:
    """MAE on the encoder and the data of ``tiny``.

    Source: arXiv 2111.06377, the rival objective of paper section 2.1.1, at toy size; targets are pixels as
    they are, which MAE's own ablation (table 1d) finds a little worse in its long runs.
    Command: ``python jobs/pretrain.py tiny_mae``.
    Hardware and time: 2 CPU cores, about 2 minutes on the generated collection.
    Score: see docs/log.md.
    """
    base = tiny()
    return base.model_copy(
        update={
            "name": "tiny_mae",
            "method": "mae",
            "model": base.model.model_copy(update={"readout": "mean", "drop_path": 0.0}),
            "augment": plain_crops(base.augment),
            # runs of minutes learn next to nothing of normalised targets (docs/log.md, 2026-11-28)
            "mae": Mae(decoder_dim=64, decoder_depth=2, decoder_heads=4, normalize_targets=False),
        }
    )


def vits16_mri() -> Recipe:
    """The method at ViT-S, from random weights: for one GPU, or to try settings.

    Source: MRI-CORE (arXiv 2506.12186) section 4.2 with a smaller encoder; SAM has no weights of this size.
    Command: ``python jobs/pretrain.py vits16_mri --data s3://bucket/dataset``.
    Hardware and time: written for one GPU of 24 GB; speed on a CPU in benchmarks/bench_step.py.
    Score: not yet measured.
    """
    return Recipe(
        name="vits16_mri",
        model=sam_vit_s().model_copy(update={"drop_path": 0.1}),
        data=Data(lanes=64),
        train=Train(workers=1, batch_size=128),
    )


def vitb16_mri() -> Recipe:
    """SAM's ViT-B from SAM's weights, with a complete four-epoch schedule.

    Source: MRI-CORE (arXiv 2506.12186) section 4.2: base learning rate 4e-4, 128 slices per GPU on four
    GPUs, best after four epochs; SAM in both networks. Schedule lengths are fractions of the run.
    Command: ``python jobs/pretrain.py vitb16_mri --data s3://bucket/dataset --set
    initial.weights=sam_vit_b_01ec64.pth`` (docs/weights.md).
    Hardware and time: written for 4 GPUs of 48 GB. Steps of 128 slices on one H200: 744 slices/s and 35 GiB
    with train.compile=true and model.attention=triton, 460 and 43 without; random weights, drop_path 0.
    Score: not yet measured.
    """
    return Recipe(
        name="vitb16_mri",
        model=sam_vit_b().model_copy(update={"drop_path": 0.1}),
        initial=Initial(layout="sam"),
        objective=Objective(teacher_momentum=0.994),
        data=Data(lanes=64),
    )


def vitb16_curriculum() -> Recipe:
    """``vitb16_mri`` that begins with small crops and ends with large ones.

    Source: the low-resolution start saves compute (its attention and its tokens are a third); the
    high-resolution end closes the gap to use at 1024 px (DINOv2, arXiv 2304.07193, ends at 518 px).
    Command: as ``vitb16_mri``.
    Hardware and time: as ``vitb16_mri``; the last tenth needs about three times its memory per slice.
    Score: not yet measured.
    """
    stages = (
        Stage(until=0.4, global_size=128, local_size=64),
        Stage(until=0.9, global_size=224, local_size=96),
    )
    augment = Augment(stages=stages, global_size=448)
    return vitb16_mri().model_copy(update={"name": "vitb16_curriculum", "augment": augment})


def vitl16_mri() -> Recipe:
    """``vitb16_mri`` with SAM's ViT-L.

    Source: the size is SAM's (arXiv 2304.02643), the recipe the paper's.
    Command: as ``vitb16_mri`` with ``--set initial.weights=sam_vit_l_0b3195.pth``.
    Hardware and time: written for 8 GPUs of 80 GB; not yet measured.
    Score: not yet measured.
    """
    return _of_size("vitl16_mri", sam_vit_l())


def vith16_mri() -> Recipe:
    """``vitb16_mri`` with SAM's ViT-H.

    Source: the size is SAM's (arXiv 2304.02643), the recipe the paper's.
    Command: as ``vitb16_mri`` with ``--set initial.weights=sam_vit_h_4b8939.pth``.
    Hardware and time: written for 8 GPUs of 80 GB; not yet measured.
    Score: not yet measured.
    """
    return _of_size("vith16_mri", sam_vit_h())


def _of_size(name: str, model: Model) -> Recipe:
    """``vitb16_mri`` with another encoder."""
    base = vitb16_mri()
    sized = model.model_copy(update={"drop_path": base.model.drop_path})
    return base.model_copy(update={"name": name, "model": sized})


def paper_literal() -> Recipe:
    """What the released MRI-CORE most likely is, faults included; to reproduce it, not to be recommended.

    Source: the layout of the released file (a plain ViT with class token and SAM's block weights), DINOv2's
    short configuration, and paper section 4.2: a schedule laid out for 100 epochs of which four are run,
    centring, one head, drop path 0.3, and blur probabilities as DINOv2's published code inverts them.
    Gamma, bias field, noise and crops that look for the body are ours and off.
    Command: ``python jobs/pretrain.py paper_literal --data s3://bucket/dataset --set
    initial.weights=sam_vit_b_01ec64.pth``.
    Hardware and time: the paper's took 12 hours on four A6000; not yet measured here.
    Score: not yet measured.
    """
    return Recipe(
        name="paper_literal",
        model=plain_vit_b().model_copy(update={"drop_path": 0.3}),
        initial=Initial(layout="sam"),
        augment=Augment(
            gamma=0.0,
            bias_probability=0.0,
            noise_probability=0.0,
            foreground_candidates=1,
            blur_probability=(0.0, 0.9, 0.5),
        ),
        objective=Objective(centering="center", teacher_temperature_warmup_fraction=0.3),
        optimizer=Optimizer(warmup_fraction=0.1, freeze_prototypes_fraction=0.01),
        data=Data(lanes=64),
        train=Train(epochs=4, schedule_epochs=100),
    )


def plain_crops(settings: Augment) -> Augment:
    """MAE's views (arXiv 2111.06377): a crop of a fifth or more of the slice and a flip, nothing else."""
    return settings.model_copy(
        update={
            "global_scale": (0.2, 1.0),
            "jitter_probability": 0.0,
            "bias_probability": 0.0,
            "noise_probability": 0.0,
            "blur_probability": (0.0, 0.0, 0.0),
        }
    )


def vitb16_mae() -> Recipe:
    """MAE from SAM's weights: the paper's rival objective.

    Source: paper section 2.1.1 (no settings are given there); MAE's own (arXiv 2111.06377): mask ratio 0.75,
    decoder of 8 blocks of 512, normalised targets, crops of 0.2 to 1 of the area, no colour, and a peak
    learning rate of 3e-4 at 512 slices.
    Command: ``python jobs/pretrain.py vitb16_mae --data s3://bucket/dataset --set
    initial.weights=sam_vit_b_01ec64.pth``.
    Hardware and time: written for 4 GPUs of 48 GB; not yet measured.
    Score: not yet measured.
    """
    return Recipe(
        name="vitb16_mae",
        method="mae",
        model=sam_vit_b().model_copy(update={"readout": "mean"}),
        initial=Initial(layout="sam"),
        augment=plain_crops(Augment()),
        optimizer=Optimizer(lr=4.2e-4, betas=(0.9, 0.95), weight_decay=0.05, weight_decay_end=0.05),
        data=Data(lanes=64),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    recipe.__name__: recipe
    for recipe in (
        *(tiny, tiny_mae, vits16_mri, vitb16_mri, vitb16_curriculum, vitl16_mri, vith16_mri),
        *(paper_literal, vitb16_mae),
    )
}


def recipe_named(name: str) -> Recipe:
    """The recipe called ``name``.

    Raises:
        UserError: there is no such recipe.
    """
    if name not in RECIPES:
        raise UserError(f"unknown recipe {name!r}", f"choose one of: {', '.join(RECIPES)}")
    return RECIPES[name]()
