"""Every setting of mricore, as frozen pydantic models. Unknown names are refused.

Units and sources stand beside the fields. A schedule quantity that ends in ``_fraction`` is a fraction
of the whole run, so that a recipe keeps its shape when its length changes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator


class Frozen(BaseModel):
    """Base of all settings: immutable, strict about names, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]


def _ascending(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError(f"the first of {list(values)} must not be above the second")
    return values


ShareRange = Annotated[tuple[Share, Share], AfterValidator(_ascending)]
Positive = Annotated[float, Field(gt=0)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
Moment = Annotated[float, Field(ge=0, lt=1)]


Location = Literal[
    "brain",
    "head",
    "face",
    "neck",
    "cervical_spine",
    "lumbar_spine",
    "thoracic_spine",
    "spine",
    "prostate",
    "heart",
    "breast",
    "chest",
    "abdomen",
    "pelvis",
    "hip",
    "thigh",
    "knee",
    "lower_leg",
    "ankle",
    "foot",
    "shoulder",
    "upper_arm",
    "elbow",
    "forearm",
    "wrist",
    "hand",
    "extremity",
    "whole_body",
]
"""Names of anatomy that a policy may use; ``mricore.imaging.anatomy`` finds them in headers."""


def _with_letters(phrase: str) -> str:
    """Refuse what would match nothing: texts are compared by their Latin letters and digits."""
    if not re.search("[A-Z0-9]", unicodedata.normalize("NFKD", phrase).upper()):
        raise ValueError(f"{phrase!r} has no Latin letter and no digit, so it would never be found")
    return phrase


Phrase = Annotated[str, AfterValidator(_with_letters)]
"""One or more words, found as whole words whatever their case and accents."""


class Protocol(Frozen):
    """A kind of exam that a policy names: a text with one of ``any_of`` and with none of ``none_of``."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    any_of: tuple[Phrase, ...] = Field(min_length=1)
    none_of: tuple[Phrase, ...] = ()

    def __hash__(self) -> int:
        # protocols are looked up once per image, and their names are unique
        return hash(self.name)


def _unique_names(protocols: tuple[Protocol, ...]) -> tuple[Protocol, ...]:
    for name, count in Counter(protocol.name.casefold() for protocol in protocols).items():
        if count > 1:
            raise ValueError(f"{count} protocols have the name {name!r}")
    return protocols


class Curation(Frozen):
    """What enters a dataset (paper section 4.1) and how it is stored.

    ``mricore.config.policy`` reads it from a file that people edit; docs/policies.md explains each field.
    """

    seed: Seed = 0
    exclude_locations: tuple[Location, ...] = (
        "brain",
        "head",
        "face",
        "neck",
        "cervical_spine",
        "whole_body",
    )
    """Anatomy that shows a face."""
    unknown_location: Literal["exclude", "include"] = "exclude"
    """A series without any evidence of its anatomy may show a face, so it stays out by default."""
    exclude_words: tuple[Phrase, ...] = (
        *("autopsy", "necropsy", "post mortem", "postmortem", "cadaver", "specimen", "ex vivo"),
        *("animal", "veterinary"),
    )
    """An image whose descriptions contain one of these stays out."""
    protocols: Annotated[tuple[Protocol, ...], AfterValidator(_unique_names)] = ()
    """The exams that are wanted, the first match decides; if empty, every report type is a protocol."""
    exams_per_protocol: int = Field(150, ge=1)
    one_exam_per_patient: bool = True
    min_slices: int = Field(5, ge=1)
    min_pixels: int = Field(64, ge=1)
    """Smallest allowed number of rows and of columns."""
    spacing_tolerance: float = Field(0.1, gt=0)
    """Largest deviation of a slice distance from the volume's median, as a fraction of it."""
    repeated_volumes: Literal["keep", "drop"] = "drop"
    """The same pixels once more, e.g. sent twice under new UIDs: they tell nothing new and weigh double."""
    near_duplicates: Literal["keep", "drop"] = "keep"
    """Phases of a dynamic scan and repeats of a sequence look alike, yet each is an acquisition."""
    slices_per_shard: int = Field(512, ge=1)
    slices_per_row_group: int = Field(32, ge=1)


Normalization = Literal["slice", "volume", "percentile"]


class Data(Frozen):
    """How slices travel from shards to a training worker."""

    source: Literal["ray", "in_process"] = "ray"
    """Ray Data, or a thread of the worker; the order of slices is the same."""
    normalization: Normalization = "slice"
    """Min-max over the slice (winner of paper section 2.1.1), over the volume, or 0.5-99.5% of the slice."""
    replacement: bool = False
    """Draw with replacement: the paper's losing ablation arm."""
    lanes: int = Field(8, ge=1)
    """Number of parallel streams of the epoch plan; a multiple of every worker count that may be used."""
    window_steps: int = Field(16, ge=1)
    """Rows of a lane are shuffled inside windows of this many steps."""


class Model(Frozen):
    """SAM's image encoder (arXiv 2304.02643; method: ViTDet, arXiv 2203.16527) and its image token."""

    dim: int = Field(768, ge=8)
    depth: int = Field(12, ge=1)
    heads: int = Field(12, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    patch: int = Field(16, ge=1)
    window: int = Field(14, ge=1)
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    native_grid: int = Field(64, ge=1)
    """Side of the position master in tokens: 64 is SAM's 1024 px / 16 px."""
    neck_dim: int = Field(256, ge=1)
    attention: Literal["sdpa", "xformers"] = "sdpa"
    """Attention backend. xformers needs a CUDA device; nothing falls back."""

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if any(not 0 <= block < self.depth for block in self.global_blocks):
            raise ValueError(f"global_blocks {self.global_blocks} must lie in 0..{self.depth - 1}")
        return self


class Head(Frozen):
    """Projection head shared by image and patch tokens (arXiv 2304.07193, appendix)."""

    prototypes: int = Field(65536, ge=2)
    hidden: int = Field(2048, ge=1)
    bottleneck: int = Field(256, ge=1)
    layers: int = Field(3, ge=1)


class Augment(Frozen):
    """Two global and some local crops per slice, and the block masks of iBOT."""

    global_size: int = Field(224, ge=8)
    global_scale: ShareRange = (0.32, 1.0)
    local_size: int = Field(96, ge=8)
    local_scale: ShareRange = (0.05, 0.32)
    local_crops: int = Field(8, ge=0)
    ratio: PositiveRange = (0.75, 4.0 / 3.0)
    flip_probability: float = Field(0.5, ge=0, le=1)
    jitter_probability: float = Field(0.8, ge=0, le=1)
    brightness: float = Field(0.4, ge=0, lt=1)
    contrast: float = Field(0.4, ge=0, lt=1)
    gamma: float = Field(0.2, ge=0, lt=1)
    """Exponent drawn log-uniformly from [1 - gamma, 1 / (1 - gamma)]."""
    blur_probability: tuple[Share, Share, Share] = (1.0, 0.1, 0.5)
    """For global crop 1, global crop 2 and local crops (the intended values of DINOv2)."""
    blur_sigma: PositiveRange = (0.1, 2.0)
    mask_probability: float = Field(0.5, ge=0, le=1)
    """Fraction of global crops that are masked."""
    mask_ratio: ShareRange = (0.1, 0.5)


class Objective(Frozen):
    """Weights and temperatures of DINO, iBOT and KoLeo (arXiv 2304.07193, section 4)."""

    dino_weight: float = Field(1.0, ge=0)
    ibot_weight: float = Field(1.0, ge=0)
    koleo_weight: float = Field(0.1, ge=0)
    centering: Literal["center", "sinkhorn"] = "sinkhorn"
    student_temperature: float = Field(0.1, gt=0)
    teacher_temperature: float = Field(0.07, gt=0)
    teacher_temperature_start: float = Field(0.04, gt=0)
    teacher_temperature_warmup_fraction: float = Field(0.25, ge=0, le=1)
    center_momentum: float = Field(0.9, ge=0, le=1)
    teacher_momentum: float = Field(0.992, ge=0, le=1)
    """Rises to 1 along a cosine over the run."""


class Optimizer(Frozen):
    """AdamW with the parameter groups of DINOv2."""

    lr: float = Field(4e-4, gt=0)
    """Base learning rate; the peak is lr * sqrt(train.batch_size / 1024)."""
    min_lr: float = Field(1e-6, ge=0)
    warmup_fraction: float = Field(0.1, ge=0, le=1)
    weight_decay: float = Field(0.04, ge=0)
    weight_decay_end: float = Field(0.4, ge=0)
    betas: tuple[Moment, Moment] = (0.9, 0.999)
    layer_decay: float = Field(0.9, gt=0, le=1)
    patch_embed_lr_scale: float = Field(0.2, ge=0)
    freeze_prototypes_fraction: float = Field(0.01, ge=0, le=1)
    clip_norm: float = Field(3.0, gt=0)


class Train(Frozen):
    """Length, size and place of a run."""

    epochs: int = Field(4, ge=1)
    batch_size: int = Field(512, ge=1)
    """Slices per step over all workers; up to ``data.lanes`` more where lanes are of unequal length."""
    workers: int = Field(4, ge=1)
    cpus_per_worker: float = Field(1.0, gt=0)
    gpu: bool = True
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    threads_per_worker: int = Field(1, ge=1)
    """CPU threads that torch uses in each worker."""
    checkpoint_seconds: float = Field(30.0, gt=0)
    """A checkpoint is written when this much time has passed; at most this much work is lost."""
    keep_checkpoints: int = Field(2, ge=1)
    max_failures: int = Field(3, ge=0)
    log_every: int = Field(10, ge=1)


class Tracking(Frozen):
    """Names in MLflow."""

    experiment: str = "mricore"
    model_name: str = "mri-core"
    alias: str = "champion"


class Recipe(Frozen):
    """Everything that decides a run; stored with each checkpoint, run and model version."""

    name: str
    seed: Seed = 0
    curation: Curation = Curation()
    data: Data = Data()
    model: Model = Model()
    head: Head = Head()
    augment: Augment = Augment()
    objective: Objective = Objective()
    optimizer: Optimizer = Optimizer()
    train: Train = Train()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        for size in (self.augment.global_size, self.augment.local_size):
            if size % self.model.patch:
                raise ValueError(f"crop size {size} must be a multiple of model.patch {self.model.patch}")
        if self.train.batch_size % self.data.lanes:
            raise ValueError(
                f"train.batch_size {self.train.batch_size} must be a multiple of data.lanes {self.data.lanes}"
            )
        if self.model.attention == "xformers" and not self.train.gpu:
            raise ValueError("model.attention=xformers needs train.gpu=true")
        if self.data.lanes % self.train.workers:
            raise ValueError(
                f"data.lanes {self.data.lanes} must be a multiple of train.workers {self.train.workers}"
            )
        return self
