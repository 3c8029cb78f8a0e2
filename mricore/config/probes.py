"""Settings of the protocols on frozen features: probes of slices and patches, neighbours, clusters."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mricore.config.fields import Frozen, Positive
from mricore.errors import UserError

Vector = Literal["pooled", "mean", "mean_neck"]
Grid = Literal["dense", "neck"]
MOST_CLUSTERS = 256
"""Maps of clusters are kept as 8 bits."""
Kind = Literal["pooled", "mean", "mean_neck", "dense", "neck"]


class Features(Frozen):
    """What is taken from a frozen encoder, and where it is computed.

    One vector per slice: ``pooled`` is the encoder's own readout, ``mean`` the mean of its patch features,
    ``mean_neck`` that of the features behind SAM's neck. A grid per slice: ``dense`` are the patch features
    before the neck (768 channels of a ViT-B, as SAM's blocks leave them; behind the final norm of a plain
    encoder), ``neck`` those behind it (256 channels). The paper does not say which it clusters and probes,
    so both can be asked for; pretraining never trains the neck.
    """

    kind: Kind = "mean"
    image_size: int = Field(1024, ge=16)
    """Slices are resized to this square; the paper's is 1024."""
    source: Literal["ray", "in_process"] = "ray"
    """Ray Data tasks, or this process: for machines without Ray and for tests."""
    batch: int = Field(8, ge=1)
    """Slices that go through the encoder together."""
    slices_per_task: int = Field(128, ge=1)
    """A Ray task takes whole volumes until it has as many slices."""
    cpus: Positive = 1.0
    """CPUs of a Ray task."""
    gpus: float = Field(0.0, ge=0)
    """GPUs of a Ray task, which then computes on one."""

    @property
    def is_grid(self) -> bool:
        """Whether there are features of each patch."""
        return self.kind in ("dense", "neck")


class PaperProbe(Frozen):
    """Linear probe of the paper, sections 2.2 and 4.4: one split, and the best epoch on what is reported.

    Batch size, strength of L2, first weights and scaling are not stated there; these are our choices.
    """

    mode: Literal["paper"] = "paper"
    training_share: float = Field(0.6, gt=0, lt=1)
    """Of the patients."""
    lr: Positive = 1e-4
    epochs: int = Field(100, ge=1)
    batch_size: int = Field(32, ge=1)
    l2: float = Field(1e-4, ge=0)
    """Added to the gradient as Adam's weight decay."""
    standardize: bool = False
    """Scale each channel by mean and deviation of the training slices, else features stay as they are."""


class StrictProbe(Frozen):
    """Linear probe whose reported patients take no part in any choice: logistic regression, nested.

    The strength of L2 is chosen by accuracy in inner folds of the training patients, of equal ones the
    strongest; channels are scaled by mean and deviation of the slices that are learned from.
    """

    mode: Literal["strict"] = "strict"
    training_share: float = Field(0.6, gt=0, lt=1)
    folds: int = Field(3, ge=2)
    l2: tuple[Positive, ...] = Field((1e-4, 1e-3, 1e-2, 1e-1, 1.0), min_length=1)
    """Candidates; half the squared weights times this is added to the mean cross-entropy."""


LinearProbe = PaperProbe | StrictProbe


class PatchProbe(Frozen):
    """Segmentation of patches from the patches of a few slices; neither decoder nor adapter is trained.

    ``linear`` is logistic regression, whose L2 is chosen by Dice on the draw's validation slices, of equal
    ones the strongest; ``knn`` asks the nearest patches by cosine and chooses nothing.
    """

    head: Literal["linear", "knn"] = "linear"
    l2: tuple[Positive, ...] = Field((1e-3, 1e-2, 1e-1), min_length=1)
    neighbours: int = Field(10, ge=1)
    """``knn`` only."""
    temperature: Positive = 0.07
    """``knn`` only: a neighbour votes with exp(cosine / temperature)."""


class NearestNeighbours(Frozen):
    """Weighted k-NN on features of whole slices, as in DINO (arXiv 2104.14294)."""

    neighbours: int = Field(10, ge=1)
    temperature: Positive = 0.07
    """A neighbour votes with exp(cosine / temperature)."""


class CuratedSample(Frozen):
    """Which slices of a curated dataset are judged, and how encoders see them."""

    slices: int = Field(1000, ge=1)
    """Of randomly chosen row groups; the same for all encoders."""
    image_size: int = Field(0, ge=0)
    """Side in pixels to which slices are resized; 0: the size that each encoder has by itself."""


class Clusters(Frozen):
    """Zero-shot segmentation by k-means (paper sections 2.3 and 4.4).

    ``image``: each slice is clustered by itself. ``pooled``: all slices together. The paper does not say.
    ``transferred``: clusters and the meaning of each by majority come from the pool's patients, so that no
    truth of a judged slice is used; only the majority is scored then. In the other two the mapping
    from clusters to classes is read off the truth of the very slices that are scored: an upper bound.
    """

    counts: tuple[int, ...] = Field((4, 8, 16, 32, 64, 128), min_length=1)
    scope: Literal["image", "pooled", "transferred"] = "image"
    starts: int = Field(1, ge=1)
    """scikit-learn's n_init; its "auto", which the paper must have meant, is 1 with k-means++."""
    objects: Literal["single", "each"] = "single"
    """The best cluster is sought on slices that show one class alone, which is how we read the paper's
    "only one object of interest", or for each class shown."""
    standardize: bool = False
    """Scale each channel by its mean and deviation before clustering."""
    sample: int = Field(20_000, ge=1)
    """Patches that pooled clusters are fitted on at most; all are labelled."""
    pixel_size: int = Field(128, ge=4)
    """Raw pixels, the baseline, are clustered on slices of this side."""

    @model_validator(mode="after")
    def _counts_are_clusters(self) -> Self:
        if not all(2 <= count <= MOST_CLUSTERS for count in self.counts):
            raise ValueError(f"numbers of clusters must lie in 2..{MOST_CLUSTERS}")
        return self


def linear_probe(mode: str) -> LinearProbe:
    """The settings of a mode.

    Raises:
        UserError: there is no such mode.
    """
    modes: dict[str, LinearProbe] = {"paper": PaperProbe(), "strict": StrictProbe()}
    if mode not in modes:
        raise UserError(f"unknown mode {mode!r} of the linear probe", f"valid names: {', '.join(modes)}")
    return modes[mode]
