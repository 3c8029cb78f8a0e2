"""From what a user writes, ``NAME=KIND:FILE``, to an encoder that takes part in a comparison."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from mricore.config.overrides import validated
from mricore.config.recipes import RECIPES, recipe_named
from mricore.config.schema import Model, Normalization
from mricore.errors import UserError
from mricore.evaluation.contender import Contender
from mricore.model.baseline import Pixels, from_weights
from mricore.model.embedder import SETTINGS, Embedder
from mricore.model.initialise import initialise
from mricore.model.weights import Layout
from mricore.model.weights.files import read_content
from mricore.model.weights.known import KNOWN, digests_of
from mricore.model.weights.own_files import CHECKPOINT

REGISTRY = "models"
RANDOM = "random"
OWN = "mricore"
FOREIGN: Mapping[str, tuple[Layout, Pixels]] = {
    "sam": ("sam", "imagenet"),
    "medsam": ("sam", "unit"),
    "mri_core": ("mri_core", "imagenet"),
    "dinov2": ("dinov2", "imagenet"),
    "mae": ("mae", "imagenet"),
}
"""Layout of the file and pixels that the encoder was trained on, for each kind of others."""
KINDS = (RANDOM, *FOREIGN, OWN)
DECODER_PARTS = ("prompt_encoder.", "mask_decoder.")
_HEADS = re.compile(r"(.+)\?heads=(\d+)")
_NAME = re.compile(r"[\w.@+-][\w.@+ -]*")
_GUIDE = f"write NAME=KIND:FILE with a kind of {', '.join(KINDS)}, or NAME=models:/name@alias"


@dataclass(frozen=True)
class Spec:
    """What a user asked for: a name, a kind, and a file, folder, recipe or other contender.

    ``heads`` is given where a plain encoder's tensors do not show it. ``origin`` is told instead of the
    user's path; empty: the kind and the digest of the file.
    """

    name: str
    kind: str
    source: str
    heads: int | None = None
    origin: str = ""


def parsed(texts: Sequence[str]) -> list[Spec]:
    """``NAME=KIND:FILE``, ``NAME=models:/name@alias`` or either without ``NAME=``, for each contender.

    Raises:
        UserError: a kind is unknown, nothing is named, or a name occurs twice or is no plain word.
    """
    specs = [_spec(text) for text in texts]
    names = [spec.name for spec in specs]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f"two encoders are named {repeated!r}", "give each its own: --encoder NAME=KIND:FILE")
    return specs


def _spec(text: str) -> Spec:
    before, separator, after = text.partition("=")
    # the sign may also belong to what follows the kind
    name, asked = (before, after) if separator and ":" not in before else ("", text)
    kind, colon, source = asked.partition(":")
    unnamed = separator and asked == after and not name
    if kind not in (*KINDS, REGISTRY) or not colon or not source or unnamed:
        raise UserError(f"{text!r} names no encoder", _GUIDE)
    heads = _HEADS.fullmatch(source)
    name = name or (source.lstrip("/") if kind == REGISTRY else kind)
    if not _NAME.fullmatch(name.replace("/", "-")):
        raise UserError(f"{name!r} is no name for a table", "use letters, digits, and - _ . @ +")
    if kind == REGISTRY:
        return Spec(name.replace("/", "-"), kind, asked)
    return Spec(name, kind, heads[1] if heads else source, int(heads[2]) if heads else None)


def opened(spec: Spec, seed: int, others: Mapping[str, Embedder]) -> Contender:
    """The encoder that was asked for.

    A random one has the architecture of a recipe or of one of ``others``, by name, and depends on ``seed``.

    Raises:
        UserError: the file cannot be read or is of another kind, or there is no such recipe or contender.
        ValueError: a version of the registry, whose folder the caller must fetch first.
    """
    if spec.kind == REGISTRY:
        raise ValueError("versions of the registry are resolved before")
    decoder: dict[str, Tensor] = {}
    if spec.kind == RANDOM:
        embedder, origin = _random(spec.source, seed, others), f"random, seed {seed}"
    elif spec.kind == OWN:
        embedder, origin = _own(Path(spec.source)), "an encoder of mricore"
    else:
        layout, pixels = FOREIGN[spec.kind]
        path = Path(spec.source)
        embedder, _ = from_weights(path, layout, None, pixels=pixels, heads=spec.heads)
        decoder, origin = _decoder(path, layout), _published(spec.kind, path)
    return Contender(spec.name, embedder, digest_of(embedder, decoder), spec.origin or origin, decoder)


def with_decoder(contender: Contender, file: Path) -> Contender:
    """The contender with SAM's decoder out of a file of SAM, unless it has one or was never pretrained.

    The published code gives SAM's decoder to encoders that come without one.

    Raises:
        UserError: the file cannot be read, or holds no decoder.
    """
    if contender.decoder or contender.origin.startswith(RANDOM):
        return contender
    decoder = _decoder(file, "sam")
    if not decoder:
        raise UserError(f"{file} holds no decoder of SAM", "give SAM's whole file, e.g. sam_vit_b_01ec64.pth")
    return replace(contender, decoder=decoder, digest=digest_of(contender.embedder, decoder))


def digest_of(embedder: Embedder, decoder: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors, and the settings that give them meaning."""
    state = hashlib.sha256()
    settings = {
        "model": embedder.settings.model_dump(mode="json", exclude={"attention", "drop_path"}),
        "image_size": embedder.image_size,
        "normalization": embedder.normalization,
    }
    state.update(json.dumps(settings, sort_keys=True).encode())
    for part, tensors in (("encoder", embedder.state_dict()), ("decoder", decoder)):
        for name, tensor in sorted(tensors.items()):
            state.update(f"{part} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            state.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _random(source: str, seed: int, others: Mapping[str, Embedder]) -> Embedder:
    """A random encoder; its image token reads out as the settings say, so a random one reads at random."""
    size: int
    normalization: Normalization
    if source in others:
        twin = others[source]
        settings, size, normalization = twin.settings, twin.image_size, twin.normalization
    elif source in RECIPES:
        recipe = recipe_named(source)
        settings, size = recipe.model, recipe.augment.global_size
        normalization = recipe.data.normalization
    else:
        raise UserError(
            f"random:{source} is neither a recipe nor another encoder of this command",
            f"use one of {', '.join([*others, *RECIPES])}",
        )
    embedder = Embedder(_anywhere(settings), size, normalization)
    initialise(embedder, torch.Generator().manual_seed(seed))
    return embedder.requires_grad_(False).eval()


def _own(folder: Path) -> Embedder:
    """An encoder that mricore saved, or the shipped network of a checkpoint of a run."""
    document = folder / CHECKPOINT[0]
    if (folder / SETTINGS).is_file() or not document.is_file():
        return Embedder.load(folder)
    try:
        recipe = validated(json.loads(document.read_text())["recipe"])
    except (ValueError, LookupError, TypeError, OSError):
        raise UserError(f"{folder} is a damaged checkpoint", "use another checkpoint of the run") from None
    mode = recipe.data.normalization
    return from_weights(folder, "mricore", recipe.augment.global_size, normalization=mode)[0]


def _decoder(path: Path, layout: Layout) -> dict[str, Tensor]:
    """Tensors of SAM's prompt encoder and mask decoder; none if the file holds the encoder alone."""
    if layout != "sam":
        return {}
    content = read_content(path)
    content = content["model"] if isinstance(content.get("model"), Mapping) else content
    return {name: tensor.float() for name, tensor in content.items() if name.startswith(DECODER_PARTS)}


def _published(kind: str, path: Path) -> str:
    """The kind and the digest of a file, and its name where it is one that is published."""
    name = f" {path.name}" if path.name in KNOWN else ""
    return f"{kind}{name}, sha256 {digests_of(path, {'sha256'})['sha256'][:16]}"


def _anywhere(settings: Model) -> Model:
    """Settings of training that an encoder at rest does without."""
    return settings.model_copy(update={"attention": "sdpa", "drop_path": 0.0})
