"""What a protocol shows of what it did: a few slices with truth, prediction or clusters, for the report.

A file of pictures holds arrays and numbered cases, no identifiers; it is small whatever the task.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.evaluation.tasks.volume import LabelledVolume, SliceKey, Spacing

MOST = 6
"""Slices that one file may hold."""
SIDE = 384
"""Longest side of a stored picture in pixels; larger slices are thinned out in whole steps."""
PERCENTILES = (0.5, 99.5)
PREDICTION = "prediction"
Layer = NDArray[np.uint8]
_DAMAGES = (
    *(ValueError, LookupError, TypeError, EOFError, OSError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error),  # NotImplementedError is a RuntimeError
)
"""What the reader raises for a damaged file, depending on where the damage lies."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A slice (rows, columns) uint8 as it is looked at, with maps of the same shape over it.

    ``truth`` holds 0 and 1..C; ``layers`` are "prediction" (0..C) or clusters as "k=32" (0..k-1).
    ``aspect`` is the height of a pixel over its width.
    """

    task: str
    case: str
    index: int
    image: Layer
    truth: Layer | None = None
    layers: Mapping[str, Layer] = field(default_factory=dict)
    aspect: float = 1.0

    @property
    def key(self) -> str:
        """The same slice in the pictures of all encoders: "task/case/index"."""
        return f"{self.task}/{self.case}/{self.index}"


def slices_to_show(volumes: Sequence[LabelledVolume], most: int = 3) -> list[SliceKey]:
    """The slice with the most labelled pixels of ``most`` volumes, of as many patients as there are.

    A pure function of the task, so that the pictures of all encoders show the same slices.
    """
    labelled = sorted((one for one in volumes if one.mask.any()), key=lambda one: one.case)
    seen: dict[str, int] = {}
    ranked = []
    for volume in labelled:
        seen[volume.patient] = seen.get(volume.patient, 0) + 1
        ranked.append((seen[volume.patient], volume.case, volume))
    ranked.sort(key=lambda one: one[:2])
    areas = [(volume, np.count_nonzero(volume.mask, (1, 2))) for _, _, volume in ranked[:most]]
    return [SliceKey(volume.case, int(area.argmax())) for volume, area in areas]


def shown(
    task: str,
    key: SliceKey,
    image: NDArray[Any],
    truth: NDArray[np.uint8] | None,
    layers: Mapping[str, NDArray[np.integer]],
    spacing: Spacing = (1.0, 1.0, 1.0),
) -> Shown:
    """A slice for storing: intensities (rows, columns) from the 0.5th to the 99.5th percentile as 0..255.

    Raises:
        ValueError: maps do not have the slice's shape, or hold values above 255.
    """
    for layer in [*layers.values()] + ([] if truth is None else [truth]):
        if layer.shape != image.shape or layer.min() < 0 or layer.max() > 255:
            raise ValueError(f"a map {layer.shape} with {layer.max()} over a slice {image.shape}")
    step = -(-max(image.shape) // SIDE)

    def thinned(array: NDArray[Any]) -> Layer:
        return np.ascontiguousarray(array[::step, ::step], np.uint8)

    low, high = np.percentile(image, PERCENTILES)
    scaled = np.rint(255 * np.clip((image - low) / (high - low or 1.0), 0, 1))
    return Shown(
        task,
        key.case,
        key.index,
        thinned(scaled),
        None if truth is None else thinned(truth),
        {name: thinned(layer) for name, layer in layers.items()},
        spacing[1] / spacing[2],
    )


def save_pictures(target: Place, path: str, pictures: Sequence[Shown]) -> None:
    """Write pictures as one compressed file; the same pictures give the same bytes.

    Raises:
        ValueError: there are more than ``MOST``, or one is larger than ``SIDE``.
        UserError: the place may not be written.
    """
    if len(pictures) > MOST or any(max(one.image.shape) > SIDE for one in pictures):
        raise ValueError(f"at most {MOST} pictures of {SIDE} pixels")
    arrays: dict[str, NDArray[Any]] = {}
    facts = []
    for number, one in enumerate(pictures):
        arrays[f"{number}/image"] = one.image
        if one.truth is not None:
            arrays[f"{number}/truth"] = one.truth
        arrays |= {f"{number}/layer/{name}": layer for name, layer in one.layers.items()}
        facts.append({"task": one.task, "case": one.case, "index": one.index, "aspect": one.aspect})
    arrays["facts"] = np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8)
    sink = io.BytesIO()
    np.savez_compressed(sink, allow_pickle=False, **arrays)
    target.write_bytes(path, sink.getvalue())


def load_pictures(source: Place, path: str) -> list[Shown]:
    """Undo ``save_pictures``.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    content = source.read_bytes(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        facts = json.loads(arrays.pop("facts").tobytes())
        return [_shown(number, fact, arrays) for number, fact in enumerate(facts)]
    except _DAMAGES:
        raise UserError(
            f"{path} in {source.uri} holds no pictures",
            "remove it; for new ones remove the .json of its name in results/ too, and evaluate again",
        ) from None


def _shown(number: int, fact: Mapping[str, Any], arrays: Mapping[str, Layer]) -> Shown:
    prefix = f"{number}/layer/"
    layers = {name.removeprefix(prefix): layer for name, layer in arrays.items() if name.startswith(prefix)}
    image, truth = arrays[f"{number}/image"], arrays.get(f"{number}/truth")
    for one in (image, *layers.values(), *([] if truth is None else [truth])):
        if one.ndim != 2 or one.shape != image.shape or one.dtype != np.uint8:
            raise ValueError("arrays that are no picture")
    index, aspect = int(fact["index"]), float(fact["aspect"])
    if not 0 < aspect < math.inf:
        raise ValueError("no picture is that high")
    return Shown(str(fact["task"]), str(fact["case"]), index, image, truth, layers, aspect)
