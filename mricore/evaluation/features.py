"""Frozen features, computed once: kept under what they depend on, whole or not at all.

A part holds the features of one volume. Vectors are kept as float32 and grids as float16: a grid of a
1024 px slice has three million numbers, and a rounding of 0.05% is far below what separates classes.
What float16 cannot hold is refused rather than stored as infinity.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from mricore.config.probes import Features, Kind
from mricore.config.schema import Normalization
from mricore.data.storage import Place
from mricore.data.tasks import stream
from mricore.errors import UserError
from mricore.evaluation.contender import Contender
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.volume import LabelledVolume
from mricore.model.embedder import Embedder

Array = NDArray[np.float32]
FeaturesOf = Callable[[str], Array]
"""Case -> features of its slices: (S, C), or (S, h, w, C) of a grid."""
Volume = tuple[str, NDArray[Any]]
"""Case and image (S, R, C)."""
DIGEST_BYTES = hashlib.sha256().digest_size
DONE = pa.schema([("case", pa.string())])


@dataclass(frozen=True)
class Parts:
    """The kept features of an encoder on a task."""

    place: Place
    folder: str

    def path(self, case: str) -> str:
        """The file of a volume."""
        return f"{self.folder}/{case}.features"

    def write(self, case: str, features: NDArray[np.floating]) -> None:
        """Keep the features of a volume: SHA-256, then the array as NPY."""
        buffer = io.BytesIO()
        np.save(buffer, features, allow_pickle=False)
        content = buffer.getvalue()
        self.place.write_bytes(self.path(case), hashlib.sha256(content).digest() + content)

    def find(self, case: str) -> Array | None:
        """The features of a volume; None if they are missing or damaged."""
        if not self.place.exists(self.path(case)):
            return None
        kept = self.place.read_bytes(self.path(case))
        digest, content = kept[:DIGEST_BYTES], kept[DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        return np.load(io.BytesIO(content), allow_pickle=False).astype(np.float32)

    def of(self, case: str) -> Array:
        """The features of a volume that has been computed.

        Raises:
            UserError: they were removed or damaged since.
        """
        found = self.find(case)
        if found is None:
            raise UserError(f"features in {self.place.uri} were changed meanwhile", "run the command again")
        return found


def frozen_features(
    contender: Contender,
    labelled: LabelledTask,
    settings: Features,
    cache: Place,
    cases: Collection[str] | None = None,
) -> Parts:
    """Features of a task's volumes (default: all); parts that are whole stay, missing and damaged ones come.

    With ``settings.source`` "ray" the tasks write to the cache themselves, so all nodes must reach it.

    Raises:
        UserError: the encoder has no such features, an image cannot be embedded, or the cache not written.
    """
    embedder = at_size(contender.embedder, settings.image_size)
    parts = Parts(cache, _folder(contender, labelled.digest, settings))
    wanted = [one for one in labelled.volumes if cases is None or one.case in cases]
    missing = [(one.case, one.image) for one in wanted if parts.find(one.case) is None]
    work = partial(_compute, embedder, settings, parts)
    if settings.source == "in_process":
        for _ in work(missing):
            pass
        return parts
    options: dict[str, Any] = {"num_cpus": settings.cpus, "num_gpus": settings.gpus or None}
    for _ in stream(work, list(grouped(missing, settings.slices_per_task)), DONE, **options):
        pass
    return parts


def at_size(embedder: Embedder, image_size: int) -> Embedder:
    """The encoder for slices of another size.

    Raises:
        UserError: the size is no multiple of its patch.
    """
    patch = embedder.settings.patch
    if image_size % patch:
        nearest = max(patch, round(image_size / patch) * patch)
        raise UserError(f"image size {image_size} is no multiple of the patch {patch}", f"use {nearest}")
    return embedder.at_size(image_size)


def features_of(embedder: Embedder, kind: Kind, image: NDArray[Any], batch: int) -> Array:
    """Features of all slices of a volume (S, R, C) of real intensities: (S, C) or (S, h, w, C).

    Raises:
        UserError: the encoder has no such features, or pixels are not finite.
    """
    scaled = as_trained(image, embedder.normalization)
    passes = [
        embedded(embedder, kind, scaled[first : first + batch]) for first in range(0, len(scaled), batch)
    ]
    return np.concatenate(passes)


def embedded(embedder: Embedder, kind: Kind, slices: ArrayLike) -> Array:
    """Features (N, C) or (N, h, w, C) of slices (N, R, C) of one size.

    Raises:
        UserError: the encoder has no such features, or pixels are not finite.
    """
    if kind == "pooled":
        return embedder(slices)
    if kind in ("neck", "mean_neck"):
        grid = np.moveaxis(embedder.neck(slices), 1, -1)
    else:
        grid = embedder.dense(slices)
    return grid if kind in ("dense", "neck") else grid.mean((1, 2))


def as_trained(image: NDArray[Any], normalization: Normalization) -> Array:
    """A volume as an embedder takes it; only scaling by the volume cannot be left to the embedder."""
    values = image.astype(np.float32)
    if normalization != "volume":
        return values
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def grouped(volumes: Sequence[Volume], slices: int) -> Iterator[list[Volume]]:
    """Volumes in their order, in groups that end as soon as they have so many slices."""
    group: list[Volume] = []
    for volume in volumes:
        group.append(volume)
        if sum(len(image) for _, image in group) >= slices:
            yield group
            group = []
    if group:
        yield group


def pixels_of(volumes: Sequence[LabelledVolume], size: int) -> Mapping[str, Array]:
    """Raw pixels as features (S, h, w, 1): slices scaled to [0, 1], averaged to at most ``size`` a side."""
    return {one.case: np.stack([_pixels(image, size) for image in one.image])[..., None] for one in volumes}


def _pixels(image: NDArray[Any], size: int) -> Array:
    values = image.astype(np.float64)
    low, high = values.min(), values.max()
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return block_means(scaled, min(size, image.shape[0]), min(size, image.shape[1])).astype(np.float32)


def block_means(values: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float64]:
    """Means (rows, columns, ...) of an image (R, C, ...) over cells of equal area, exact at any ratio."""
    return np.moveaxis(_cell_means(np.moveaxis(_cell_means(values, rows), 1, 0), columns), 1, 0)


def _cell_means(values: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """Means over the first axis; a cell takes the share of a row that lies in it."""
    total = np.concatenate([np.zeros_like(values[:1]), np.cumsum(values, axis=0)])
    edges = np.linspace(0, len(values), cells + 1)
    whole = np.minimum(edges.astype(np.int64), len(values) - 1)
    rest = (edges - whole).reshape(-1, *[1] * (values.ndim - 1))
    integral = total[whole] + rest * (total[whole + 1] - total[whole])
    return np.diff(integral, axis=0) / (len(values) / cells)


def _compute(
    embedder: Embedder, settings: Features, parts: Parts, volumes: Sequence[Volume]
) -> Iterator[pa.Table]:
    """Write the parts of some volumes; a row for each."""
    if settings.gpus:
        embedder = embedder.to("cuda")
    for case, image in volumes:
        found = features_of(embedder, settings.kind, image, settings.batch)
        parts.write(case, _as_kept(found, settings))
        yield pa.table({"case": [case]}, DONE)


def _as_kept(features: Array, settings: Features) -> NDArray[np.floating]:
    if not settings.is_grid:
        return features
    if not (np.abs(features) <= np.finfo(np.float16).max).all():
        raise UserError(
            f"{settings.kind} features of this encoder exceed what float16 holds",
            "use another kind of features, or look whether the encoder has diverged",
        )
    return features.astype(np.float16)


def _folder(contender: Contender, data: str, settings: Features) -> str:
    """Named by all that decides the numbers, and not by where and in how large batches they were computed."""
    how = f"{settings.kind}-{settings.image_size}-{contender.embedder.normalization}"
    return f"{contender.digest[:16]}/{data[:16]}/{how}"
