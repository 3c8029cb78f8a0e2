"""Settings of few-shot segmentation (paper section 4.3.1), and the three presets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from mricore.config.fields import Frozen, PositiveRange, Seed, Share
from mricore.errors import UserError


class FewShot(Frozen):
    """How an encoder is adapted on a few slices. The defaults are those of the preset "strict".

    What the published code (github.com/mazurowski-lab/mri_foundation) does otherwise than the paper, or
    by mistake, is a switch of its own, so that each can be judged alone; preset "paper" has all of them.
    """

    name: str = "strict"
    """The mode that rows of results carry."""
    metrics: Literal["paper", "strict"] = "strict"
    """Definitions of the metrics."""
    seed: Seed = 0
    """With a draw's number it settles first weights, order of slices and augmentation."""

    image_size: int = Field(1024, ge=16)
    """Side in pixels to which slices are resized; the nearest multiple of the encoder's patch is taken."""
    epochs: int = Field(3000, ge=1)
    least_epochs: int = Field(1000, ge=0)
    patience: int = Field(200, ge=1)
    """Epochs without a better validation score that end adaptation, once ``least_epochs`` are over."""
    evaluate_every: int = Field(10, ge=1)
    """Epochs."""
    batch_size: int = Field(2, ge=1)
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    warmup_steps: int = Field(200, ge=0)

    adapters_first: int = Field(2, ge=0)
    adapters_last: int = Field(2, ge=0)
    """Blocks of the encoder, from either end, that get adapters."""
    adapter_ratio: float = Field(0.25, gt=0)
    adapter_zero: bool = True
    """Adapters begin as nothing, so that the first step sees the pretrained function. Published: random."""

    brightness: Share = 0.3
    contrast: Share = 0.3
    crop_area: PositiveRange = (0.5, 1.5)
    """Share of the slice in a crop; what is above 1 is drawn again, which gives 0.5 to 1 in effect."""
    crop_ratio: PositiveRange = (3 / 4, 4 / 3)
    rotation: float = Field(0.0, ge=0, le=180)
    """Largest angle in degrees. Published: 45, not in the paper."""
    equalize: Share = 0.0
    """Probability that the histogram is equalised. Published: 0.1, not in the paper."""

    together: bool = False
    """All classes as one. Published: always."""
    evaluation_batch: int = Field(8, ge=1)
    """Slices per pass without gradient."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """In which encoder and decoder compute; losses and weights are float32. Published: float32."""
    attention: Literal["sdpa", "xformers", "triton"] = "sdpa"
    """Kernels of the encoder's attention, as ``model.attention`` in training; all but sdpa need a GPU."""
    compile: bool = False
    """The encoder's blocks and the decoder through torch.compile, which takes a minute and a C compiler."""
    kept_gib: float = Field(1.0, ge=0)
    """Memory for what frozen blocks before the first adapter make of validation slices, which is then not
    computed at each look again; 0: none. Blocks before the first adapter are there with adapters_first=0."""

    eight_bit: bool = False
    """Published: slices are cut to 256 grey values after the resize."""
    nearest: bool = False
    """Published: augmented slices are resampled to the nearest pixel instead of bilinearly."""
    relative_positions: bool = True
    """Published: off, for SAM too. A plain encoder has none."""
    norm_after_padding: bool = False
    """Published: windows are padded before the norm. A plain encoder has no windows."""
    train_tokens: bool = True
    """SAM's mask tokens and hypernetworks are kept and trained. Published: tokens are random and frozen."""
    handicapped_random: bool = False
    """Published: the baseline without pretraining keeps a random decoder that is frozen, and sees grey values
    without ImageNet's statistics."""
    judge_at_logits: bool = False
    """Published: loss and metrics at the size of the decoder's output, whose masks lose thin structures,
    instead of the loss at the input's size and the metrics at the slice's own."""
    drop_empty: bool = False
    """Published: test slices without a class are left out."""
    late_rate: bool = False
    """Published: the learning rate is set after a step, so that each step has that of the one before."""

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.least_epochs > self.epochs:
            raise ValueError(f"least_epochs {self.least_epochs} must not exceed epochs {self.epochs}")
        if self.crop_area[0] > 1:
            raise ValueError("crop_area must begin at 1 or less: a crop lies inside the slice")
        return self


def paper() -> FewShot:
    """The published code, fault by fault, as far as it concerns adaptation."""
    return FewShot(
        name="paper",
        metrics="paper",
        adapter_zero=False,
        rotation=45.0,
        equalize=0.1,
        together=True,
        eight_bit=True,
        nearest=True,
        relative_positions=False,
        norm_after_padding=True,
        train_tokens=False,
        handicapped_random=True,
        judge_at_logits=True,
        drop_empty=True,
        late_rate=True,
    )


def strict() -> FewShot:
    """The paper's protocol without the faults of its code; sizes and schedule are the paper's."""
    return FewShot()


def cpu() -> FewShot:
    """The strict protocol at a size for one core: about a minute for a draw of a ViT-S.

    Adapters sit in the last two blocks alone, so that the gradient stops there. Slices are not smaller, since
    at 112 px a patch of 14 px is too coarse for what is segmented. docs/log.md tells what was measured.
    """
    return FewShot(
        name="cpu",
        image_size=224,
        epochs=40,
        least_epochs=40,
        patience=20,
        evaluate_every=5,
        lr=1e-3,
        warmup_steps=10,
        adapters_first=0,
    )


PRESETS: dict[str, Callable[[], FewShot]] = {"paper": paper, "strict": strict, "cpu": cpu}


def few_shot(preset: str) -> FewShot:
    """Settings by the name of a preset.

    Raises:
        UserError: there is no such preset.
    """
    if preset not in PRESETS:
        raise UserError(f"unknown few-shot preset {preset!r}", f"choose one of {', '.join(PRESETS)}")
    return PRESETS[preset]()
