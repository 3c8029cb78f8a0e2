"""Settings of learning, and the recipe that joins all settings. Unknown names are refused.

Units and sources stand beside the fields. A schedule quantity that ends in ``_fraction`` is a fraction
of the schedule's length (``train.schedule_epochs``, by default the whole run), so that a recipe keeps its
shape when its length changes.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mricore.config.curation import Curation
from mricore.config.fields import Frozen, Moment, PositiveRange, Seed, Share, ShareRange

Normalization = Literal["slice", "volume", "percentile"]


class Data(Frozen):
    """How slices travel from shards to a training worker."""

    source: Literal["ray", "in_process"] = "ray"
    """Ray Data, or threads of the worker; the order of slices is the same."""
    readers: int = Field(4, ge=1)
    """Threads that read and decode for each worker, wherever they run; more hide the delays of S3."""
    normalization: Normalization = "slice"
    """Min-max over the slice (winner of paper section 2.1.1), over the volume, or 0.5-99.5% of the slice."""
    replacement: bool = False
    """Draw with replacement: the paper's losing ablation arm."""
    lanes: int = Field(8, ge=1)
    """Number of parallel streams of the epoch plan; a multiple of every worker count that may be used."""
    window_steps: int = Field(16, ge=1)
    """Rows of a lane are shuffled inside windows of this many steps."""


class Model(Frozen):
    """The encoder: SAM's (arXiv 2304.02643; method: ViTDet, arXiv 2203.16527) or a plain ViT.

    ``plain`` is DINOv2's ViT without LayerScale (arXiv 2304.07193): class token, absolute positions, global
    attention. It is the layout of the released MRI-CORE.
    """

    kind: Literal["sam", "plain"] = "sam"
    dim: int = Field(768, ge=8)
    depth: int = Field(12, ge=1)
    heads: int = Field(12, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    patch: int = Field(16, ge=1)
    native_grid: int = Field(64, ge=1)
    """Side of the table of absolute positions in patches: 64 is SAM's 1024 px / 16 px."""
    readout: Literal["attention", "mean", "class"] = "attention"
    """One vector per slice: attention pooling, the mean of the patches that are not masked, or (plain
    only) the class token."""
    window: int = Field(14, ge=1)
    """``sam`` only: side of an attention window in patches."""
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    """``sam`` only: blocks without windows."""
    neck_dim: int = Field(256, ge=1)
    """``sam`` only: channels that SAM's mask decoder takes."""
    compat: Literal["none", "sam"] = "none"
    """``sam`` only: "sam" treats a grid smaller than a window, and tables of relative positions, literally as
    segment_anything does: padded with zeros that act as keys, and stretched."""
    attention: Literal["sdpa", "xformers", "triton"] = "sdpa"
    """Attention backend. xformers and triton (kernels of our own where those are faster than torch's: the
    fastest) need a CUDA device; nothing falls back."""
    drop_path: float = Field(0.0, ge=0, lt=1)
    """Share of crops that skip a residual branch of the student, drawn anew for each branch."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        if self.kind == "sam" and any(not 0 <= block < self.depth for block in self.global_blocks):
            raise ValueError(f"global_blocks {self.global_blocks} must lie in 0..{self.depth - 1}")
        if self.kind == "sam" and self.readout == "class":
            raise ValueError("SAM's encoder has no class token: use readout attention or mean")
        if self.kind == "plain" and self.readout == "attention":
            raise ValueError("a plain encoder pools nothing by attention: use readout class or mean")
        return self


class Initial(Frozen):
    """Weights to start from; docs/weights.md tells where to get each file."""

    layout: Literal["none", "sam", "mri_core", "dinov2", "mae", "mricore"] = "none"
    """Whose file it is: SAM or MedSAM, the released MRI-CORE, DINOv2, MAE, or an encoder or run of ours."""
    weights: str = ""
    """File (or folder, for ``mricore``), local or ``s3://``."""
    sha256: str = Field("", pattern="^([0-9a-f]{64})?$")
    """Digest that the file must have; filled in when a run begins, so that a run knows its weights again."""
    into: Literal["both", "student"] = "both"
    """Teacher and student start equal, or the teacher starts from random weights (paper section 2.1.1)."""


class Head(Frozen):
    """Projection head of image and patch tokens (arXiv 2304.07193, appendix)."""

    prototypes: int = Field(65536, ge=2)
    hidden: int = Field(2048, ge=1)
    bottleneck: int = Field(256, ge=1)
    layers: int = Field(3, ge=1)
    shared: bool = True
    """One head for image and patch tokens, or one for each."""


class Stage(Frozen):
    """Crop sizes of a part of the run, which ends at the fraction ``until`` of it."""

    until: Share
    global_size: int = Field(ge=8)
    local_size: int = Field(ge=8)


class Augment(Frozen):
    """Two global and some local crops per slice, and the block masks of iBOT."""

    global_size: int = Field(224, ge=8)
    global_scale: ShareRange = (0.32, 1.0)
    local_size: int = Field(96, ge=8)
    local_scale: ShareRange = (0.05, 0.32)
    local_crops: int = Field(8, ge=0)
    stages: tuple[Stage, ...] = ()
    """Other crop sizes for parts of the run, e.g. small at first and large at the end; after the last stage,
    and if empty, ``global_size`` and ``local_size``."""
    ratio: PositiveRange = (0.75, 4.0 / 3.0)
    foreground_share: Share = 0.25
    """Where a crop shows less of the body than this, another place is looked for."""
    foreground_candidates: int = Field(4, ge=1)
    """Places drawn for a crop: the first that shows enough is taken, else the best; 1: as drawn."""
    flip_probability: Share = 0.5
    jitter_probability: Share = 0.8
    """Of brightness, contrast and gamma together."""
    brightness: float = Field(0.4, ge=0, lt=1)
    contrast: float = Field(0.4, ge=0, lt=1)
    gamma: float = Field(0.2, ge=0, lt=1)
    """Exponent drawn log-uniformly from [1 - gamma, 1 / (1 - gamma)]."""
    bias_probability: Share = 0.3
    bias_strength: float = Field(0.3, ge=0, lt=2)
    """Largest logarithm of the smooth field of a coil that multiplies a crop."""
    noise_probability: Share = 0.2
    noise_sigma: ShareRange = (0.01, 0.05)
    """Of the complex Gaussian noise whose magnitude is Rician, as a fraction of the slice's range."""
    blur_probability: tuple[Share, Share, Share] = (1.0, 0.1, 0.5)
    """For global crop 1, global crop 2 and local crops (the intended values of DINOv2)."""
    blur_sigma: PositiveRange = (0.1, 2.0)
    mask_probability: Share = 0.5
    """Fraction of global crops that are masked."""
    mask_ratio: ShareRange = (0.1, 0.5)

    @model_validator(mode="after")
    def _stages_ascend(self) -> Self:
        ends = [stage.until for stage in self.stages]
        if ends != sorted(set(ends)):
            raise ValueError(f"stages must end one after the other, not at {ends}")
        return self


class Objective(Frozen):
    """Weights and temperatures of DINO, iBOT and KoLeo (arXiv 2304.07193, section 4)."""

    dino_weight: float = Field(1.0, ge=0)
    ibot_weight: float = Field(1.0, ge=0)
    koleo_weight: float = Field(0.1, ge=0)
    centering: Literal["center", "sinkhorn", "none"] = "sinkhorn"
    student_temperature: float = Field(0.1, gt=0)
    teacher_temperature: float = Field(0.07, gt=0)
    teacher_temperature_start: float = Field(0.04, gt=0)
    teacher_temperature_warmup_fraction: Share = 0.25
    center_momentum: Share = 0.9
    teacher_momentum: Share = 0.992
    """Rises to 1 along a cosine over the run."""


class Mae(Frozen):
    """Masked autoencoding (arXiv 2111.06377), the paper's rival objective; one global crop per slice."""

    mask_ratio: float = Field(0.75, gt=0, lt=1)
    decoder_dim: int = Field(512, ge=8)
    decoder_depth: int = Field(8, ge=1)
    decoder_heads: int = Field(16, ge=1)
    normalize_targets: bool = True
    """Each patch of the target has mean 0 and variance 1."""

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.decoder_dim % self.decoder_heads or self.decoder_dim % 4:
            raise ValueError(f"decoder_dim {self.decoder_dim} must be a multiple of decoder_heads and of 4")
        return self


class Optimizer(Frozen):
    """AdamW with the parameter groups of DINOv2."""

    lr: float = Field(4e-4, gt=0)
    """Base learning rate; the peak is lr * sqrt(train.batch_size / 1024)."""
    min_lr: float = Field(1e-6, ge=0)
    warmup_fraction: Share = 0.1
    weight_decay: float = Field(0.04, ge=0)
    weight_decay_end: float = Field(0.4, ge=0)
    betas: tuple[Moment, Moment] = (0.9, 0.999)
    layer_decay: float = Field(0.9, gt=0, le=1)
    patch_embed_lr_scale: float = Field(0.2, ge=0)
    freeze_prototypes_fraction: Share = 0.01
    freeze_trunk_fraction: Share = 0.0
    """The encoder rests while the heads warm up to it."""
    ramp_trunk_fraction: Share = 0.0
    """After that, the encoder's learning rate rises from 0 to its own schedule."""
    clip_norm: float = Field(3.0, gt=0)


class Health(Frozen):
    """When a run is ill, and what is done about it; gauges are looked at with every report."""

    action: Literal["pause", "roll_back", "log"] = "pause"
    """Stop with one line; go back to the last checkpoint with a lower learning rate; or only log."""
    patience: int = Field(3, ge=1)
    """A sign of illness counts if it is seen in this many reports in a row."""
    roll_back_lr_scale: float = Field(0.5, gt=0, lt=1)
    max_roll_backs: int = Field(2, ge=1)
    """After these many, the run pauses."""


class Train(Frozen):
    """Length, size and place of a run."""

    epochs: int = Field(4, ge=1)
    schedule_epochs: int | None = Field(None, ge=1)
    """Schedules are laid out for so many epochs, of which ``epochs`` are run; by default all are."""
    batch_size: int = Field(512, ge=1)
    """Slices per step over all workers; up to ``data.lanes`` more where lanes are of unequal length."""
    accumulate: int = Field(1, ge=1)
    """Parts in which each worker goes through its share of a step, for less memory; the batch stays.

    KoLeo alone looks for neighbours within a part."""
    workers: int = Field(4, ge=1)
    min_workers: int | None = Field(None, ge=1)
    """Fewest workers that the run goes on with when machines are lost; by default it waits for all."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Each worker holds all weights, or its share of them (PyTorch's fully_shard), for ViT-L and ViT-H."""
    cpus_per_worker: float = Field(1.0, gt=0)
    gpu: bool = True
    gpus_per_worker: float = Field(1.0, gt=0, le=1)
    """Share of a GPU that the worker of a small training takes, so that several fit on one."""
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    compile: bool = False
    """Blocks, heads and losses are compiled by torch.compile, which takes a minute and needs a C compiler."""
    threads_per_worker: int = Field(1, ge=1)
    """CPU threads that torch uses in each worker."""
    checkpoint_seconds: float = Field(30.0, gt=0)
    """A checkpoint is written when this much time has passed; at most this much work is lost."""
    checkpoint_share: float = Field(0.05, gt=0, le=1)
    """Checkpoints become rarer where saving them would take more than this share of the time."""
    keep_checkpoints: int = Field(2, ge=1)
    """How many of the last checkpoints are kept."""
    validate_steps: int = Field(0, ge=0)
    """The encoder is judged by k-NN every so many steps, and after the last one; 0: never."""
    validate_task: str = ""
    """Labelled task, by name or file, that the encoder is also judged on, by segmentation from its patches
    after five slices; this score then chooses the best checkpoint, in place of k-NN."""
    validate_data: str = ""
    """Folder of the task's images and masks, for the first worker; its test patients are never looked at."""
    validate_digest: str = ""
    """Digest of the task; filled in when a run begins, so that scores of two tasks are told apart."""
    keep_best: int = Field(0, ge=0)
    """How many of the checkpoints that were judged best are kept besides the last."""
    keep_epochs: tuple[int, ...] = ()
    """At the end of each of these epochs a checkpoint is kept for good, besides the last and the best."""
    max_failures: int = Field(3, ge=0)
    log_every: int = Field(10, ge=1)

    @property
    def fewest_workers(self) -> int:
        """As many as a run needs to go on."""
        return self.min_workers or self.workers


class Tracking(Frozen):
    """Names in MLflow."""

    experiment: str = Field("mricore", min_length=1)
    model_name: str = Field("mri-core", pattern=r"^[^/:]+$")
    alias: str = Field("champion", pattern=r"^[A-Za-z0-9_-]+$")

    @model_validator(mode="after")
    def _alias_is_free(self) -> Self:
        if self.alias == "latest" or (self.alias[0] == "v" and self.alias[1:].isdecimal()):
            raise ValueError(f"MLflow keeps {self.alias!r} for versions: choose another tracking.alias")
        return self


class Recipe(Frozen):
    """Everything that decides a run; stored with each checkpoint, run and model version."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    method: Literal["dinov2", "mae"] = "dinov2"
    seed: Seed = 0
    curation: Curation = Curation()
    data: Data = Data()
    model: Model = Model()
    initial: Initial = Initial()
    head: Head = Head()
    augment: Augment = Augment()
    objective: Objective = Objective()
    mae: Mae = Mae()
    optimizer: Optimizer = Optimizer()
    health: Health = Health()
    train: Train = Train()
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        for name, size in self.crop_sizes().items():
            if size % self.model.patch:
                raise ValueError(
                    f"augment.{name} {size} must be a multiple of model.patch {self.model.patch}"
                )
        if min(self.global_sizes()) < 2 * self.model.patch:
            raise ValueError("a global crop must be at least two patches wide")
        if self.train.batch_size % self.data.lanes:
            raise ValueError(
                f"train.batch_size {self.train.batch_size} must be a multiple of data.lanes {self.data.lanes}"
            )
        if self.model.attention != "sdpa" and not self.train.gpu:
            raise ValueError(f"model.attention={self.model.attention} needs train.gpu=true")
        if self.data.lanes % self.train.workers:
            raise ValueError(
                f"data.lanes {self.data.lanes} must be a multiple of train.workers {self.train.workers}"
            )
        if self.train.fewest_workers > self.train.workers:
            raise ValueError("train.min_workers must not be above train.workers")
        if bool(self.train.validate_task) != bool(self.train.validate_data):
            raise ValueError("train.validate_task and train.validate_data go together")
        if (self.train.schedule_epochs or self.train.epochs) < self.train.epochs:
            raise ValueError("train.schedule_epochs must not be below train.epochs")
        return self

    @model_validator(mode="after")
    def _places_fit(self) -> Self:
        train = self.train
        if not all(1 <= epoch <= train.epochs for epoch in train.keep_epochs):
            raise ValueError(f"train.keep_epochs must lie in 1..train.epochs, which is {train.epochs}")
        if train.gpu and train.gpus_per_worker < 1 and train.workers > 1:
            raise ValueError(
                "train.gpus_per_worker below 1 needs train.workers=1: NCCL takes a GPU per worker"
            )
        return self

    @model_validator(mode="after")
    def _mae_can_use_the_encoder(self) -> Self:
        if self.method == "dinov2":
            return self
        if self.model.readout == "attention":
            raise ValueError("method=mae trains no attention pooling: use model.readout=mean (or class)")
        if self.augment.noise_probability or any(self.augment.blur_probability):
            raise ValueError(
                "method=mae would learn to make blur and noise: set augment.noise_probability=0 and "
                "augment.blur_probability=[0,0,0]"
            )
        grid = max(self.crop_sizes().values()) // self.model.patch
        if self.model.kind == "sam" and grid > self.model.window:
            raise ValueError("method=mae feeds visible patches alone: a crop must fit into model.window")
        return self

    def global_sizes(self) -> tuple[int, ...]:
        """Every side of a global crop in pixels that occurs in the run."""
        return (self.augment.global_size, *(stage.global_size for stage in self.augment.stages))

    def crop_sizes(self) -> dict[str, int]:
        """Every side of a crop in pixels that occurs in the run, by the name of its setting."""
        names = ["global_size"]
        if self.method == "dinov2" and self.augment.local_crops:
            names.append("local_size")
        sizes = {name: getattr(self.augment, name) for name in names}
        for index, stage in enumerate(self.augment.stages):
            sizes |= {f"stages[{index}].{name}": getattr(stage, name) for name in names}
        return sizes
