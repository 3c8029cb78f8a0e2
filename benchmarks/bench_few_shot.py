"""A step of few-shot fine-tuning at 1024 px: the package against segment_anything's own encoder, eager.

    python benchmarks/bench_few_shot.py [--quick] [--preset strict|paper] [--batch N] [--json FILE]

Both sides have the same weights, the same adapters (as in the preset) and SAM's decoder, take the same batch,
and step in turns; who begins changes from round to round, and each ratio is the median over rounds. A step is
forward pass, losses, backward pass and AdamW; ``validation`` is a pass without gradient. That both compute
the same is checked by the first loss. bfloat16 on a GPU, float32 on a CPU.

- ``step_strict``, ``validation_strict``: preset strict, with relative positions.
- ``step_paper``, ``validation_paper``: preset paper, without. Windows are padded after the norm on both
  sides, since segment_anything's encoder knows no other way.
- ``..._VARIANT``: on a GPU, with ``few_shot.compile`` and with ``few_shot.attention=triton``.

``cpu_seconds`` are of the whole process. Peak memory is of a step: on a GPU what torch allocated, else the
largest resident size while the side stepped. ``batch_seconds`` is what making an augmented batch takes, which
both sides would do alike. ``--quick`` is a check of this program with a tiny encoder.
"""

import argparse
import copy
import json
import os
import platform
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from mricore.config.encoders import sam_vit_b
from mricore.config.few_shot import FewShot, few_shot
from mricore.config.schema import Model
from mricore.evaluation.contender import Contender
from mricore.evaluation.few_shot.fitting import batches, loss_of
from mricore.evaluation.few_shot.segmenter import Segmenter, build_segmenter
from mricore.evaluation.few_shot.slices import PreparedSlices
from mricore.model.adapters import AfterAdapter, BesideAdapter, seeded
from mricore.model.embedder import Embedder
from mricore.model.initialise import initialise
from mricore.model.sam_decoder import SAM_OUTPUTS, DecoderShape, SamDecoder
from mricore.model.sam_encoder import SamEncoder
from mricore.model.segment_anything_class import as_segment_anything

TINY = Model(dim=48, depth=4, heads=3, native_grid=20, global_blocks=(1, 3), neck_dim=32)
"""Its grid of 20 is cut into windows of 14, as the grid of 64 is."""
SAME = {"float32": 1e-4, "bfloat16": 2e-2}
"""Largest relative difference between first losses."""
OURS, REFERENCE = "ours", "segment_anything"
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "compiled": {"compile": True},
    "triton": {"attention": "triton"},
    "compiled_triton": {"compile": True, "attention": "triton"},
}


class Reference(nn.Module):
    """segment_anything's encoder with the adapters of a segmenter, and its decoder."""

    def __init__(self, segmenter: Segmenter, model: Model, settings: FewShot, bfloat16: bool) -> None:
        super().__init__()
        self.encoder = as_segment_anything(_bare(segmenter.encoder, model), model)
        for ours, theirs in zip(segmenter.encoder.blocks, self.encoder.blocks, strict=True):
            theirs.attn.use_rel_pos = settings.relative_positions
            if isinstance(ours.attn, AfterAdapter):
                theirs.attn = AfterAdapter(theirs.attn, copy.deepcopy(ours.attn.adapter))
                theirs.mlp = BesideAdapter(theirs.mlp, copy.deepcopy(ours.mlp.adapter))
        self.decoder = copy.deepcopy(segmenter.decoder)
        self.to(segmenter.encoder.pos_embed.device)
        self.in_bfloat16 = bfloat16

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, S, S) -> logits (B, classes, S / 4, S / 4)."""
        with torch.autocast(images.device.type, torch.bfloat16, self.in_bfloat16):
            return self.decoder(self.encoder(images)).float()


@dataclass(frozen=True)
class Timing:
    """Of one step or pass."""

    seconds: float
    cpu_seconds: float
    loss: float


class Side:
    """A segmenter with its optimiser."""

    def __init__(self, segmenter: nn.Module, images: Tensor, target: Tensor, settings: FewShot) -> None:
        self.segmenter, self.images, self.target, self.settings = segmenter, images, target, settings
        trained = [one for one in segmenter.parameters() if one.requires_grad]
        self.optimizer = AdamW(trained, lr=settings.lr, weight_decay=settings.weight_decay)
        self.peak = 0.0

    def step(self) -> Tensor:
        """A fine-tuning step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = loss_of(self.segmenter(self.images), self.target, self.settings)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @torch.inference_mode()
    def validation(self) -> Tensor:
        """A pass without gradient; its mean takes the place of a loss."""
        return self.segmenter(self.images).mean()

    def timed(self, what: str, count: int) -> Timing:
        """The mean of ``count`` steps or passes that follow each other freely."""
        once: Callable[[], Tensor] = getattr(self, what)
        loss = torch.zeros(())
        with Memory(self.images.device) as memory:
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(count):
                loss = once()
            found = float(loss)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if what == "step":
            self.peak = max(self.peak, memory.peak_gib)
        return Timing(wall / count, cpu / count, found)


class Memory:
    """The peak while it is open."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu, self.peak_gib, self.ended = device.type == "cuda", 0.0, threading.Event()
        self.watch = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.on_gpu:
            self.peak_gib = torch.cuda.max_memory_allocated() / 2**30
        else:
            self.ended.set()
            self.watch.join()

    def _watch(self) -> None:
        """Looks at once and 20 times a second; a system without /proc tells the largest size so far."""
        status, over = Path("/proc/self/statm"), False
        while not over:
            over = self.ended.wait(0.05) if self.peak_gib else False
            resident = (
                int(status.read_text().split()[1]) * resource.getpagesize()
                if status.exists()
                else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            )
            self.peak_gib = max(self.peak_gib, resident / 2**30)


def contender_of(model: Model, size: int, device: torch.device) -> Contender:
    """An encoder with SAM's decoder, of random weights."""
    embedder = Embedder(model, size, "slice")
    generator = torch.Generator().manual_seed(0)
    initialise(embedder, generator)
    for block in embedder.encoder.blocks:  # which initialise leaves at zero
        for table in (block.attn.rel_pos_h, block.attn.rel_pos_w):
            nn.init.normal_(table, std=0.1, generator=generator)
    with seeded(0):
        decoder = SamDecoder(DecoderShape(model.neck_dim), SAM_OUTPUTS).state_dict()
    return Contender("random", embedder.requires_grad_(False).eval().to(device), "0" * 64, "noise", decoder)


def sides_of(options: argparse.Namespace, preset: str) -> tuple[dict[str, Side], float]:
    """All sides on one batch, and the seconds that an augmented batch takes."""
    model, device = (TINY if options.quick else sam_vit_b()), torch.device(options.device)
    settings = _settings(options, preset, model)
    contender = contender_of(model, settings.image_size, device)
    found = build_segmenter(contender, 1, settings, 0)
    slices = noise(settings)
    list(batches(found, slices, 1, 0, settings, (0,)))
    began = time.perf_counter()
    images, target = next(iter(batches(found, slices, 1, 1, settings, (0,))))
    float(images[0, 0, 0, 0])
    seconds = time.perf_counter() - began
    bfloat16 = options.precision == "bfloat16"
    modules = {OURS: found, REFERENCE: Reference(found, model, settings, bfloat16)}
    for name, changed in VARIANTS.items() if device.type == "cuda" else ():
        modules[name] = build_segmenter(contender, 1, settings.model_copy(update=changed), 0)
    return {name: Side(one, images, target, settings) for name, one in modules.items()}, seconds


def noise(settings: FewShot) -> PreparedSlices:
    """A batch of slices with a square to find."""
    side, generator = settings.image_size, torch.Generator().manual_seed(0)
    images = torch.rand(settings.batch_size, 1, side, side, generator=generator)
    masks = torch.zeros(settings.batch_size, side, side, dtype=torch.uint8)
    masks[:, side // 4 : side // 2, side // 4 : side // 2] = 1
    return PreparedSlices(images, masks)


def in_turns(sides: Mapping[str, Side], what: str, options: argparse.Namespace) -> dict[str, list[Timing]]:
    """Timings of each side, after warming up, whose first losses must agree."""
    first = {name: side.timed(what, 1).loss for name, side in sides.items()}
    expected = first[REFERENCE]
    if what == "step" and any(
        abs(one - expected) > SAME[options.precision] * abs(expected) for one in first.values()
    ):
        raise SystemExit(f"the sides differ: losses {first}")
    for side in sides.values():
        for _ in range(options.warm_up):
            side.timed(what, 1)
    found: dict[str, list[Timing]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(options.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].append(sides[name].timed(what, options.steps))
    return found


def measure(options: argparse.Namespace, preset: str) -> tuple[dict[str, float], dict[str, Any]]:
    """Ratios, and what they are made of."""
    sides, seconds = sides_of(options, preset)
    ratios: dict[str, float] = {}
    rates: dict[str, Any] = {"batch_seconds": seconds}
    for what in ("step", "validation"):
        timings = in_turns(sides, what, options)
        for name, ones in timings.items():
            _tell(rates, f"{what}_{preset}_{name}", ones, options.batch, sides[name].peak)
        for name in sides:
            if name != REFERENCE:
                label = f"{what}_{preset}" + ("" if name == OURS else f"_{name}")
                ratios[label] = _ratio(timings, name, "seconds")
                if options.device == "cpu":
                    ratios[f"{label}_cpu_time"] = _ratio(timings, name, "cpu_seconds")
    ratios[f"memory_{preset}"] = sides[REFERENCE].peak / sides[OURS].peak
    return ratios, rates


def _ratio(timings: Mapping[str, Sequence[Timing]], name: str, of: str) -> float:
    pairs = zip(timings[REFERENCE], timings[name], strict=True)
    return statistics.median(getattr(theirs, of) / getattr(ours, of) for theirs, ours in pairs)


def _tell(rates: dict[str, Any], name: str, ones: Sequence[Timing], batch: int, peak: float) -> None:
    seconds = statistics.median(one.seconds for one in ones)
    cpu = statistics.median(one.cpu_seconds for one in ones)
    rates[name] = {
        "seconds": seconds,
        "cpu_seconds": cpu,
        "images_per_second": batch / seconds,
        "peak_gib": peak,
    }
    told = f"{seconds:9.4f} s  CPU {cpu:9.4f} s  {batch / seconds:9.2f} images/s  peak {peak:6.2f} GiB"
    print(f"{name:40s} {told}", flush=True)


def _settings(options: argparse.Namespace, preset: str, model: Model) -> FewShot:
    changes = {
        "image_size": model.native_grid * model.patch,
        "batch_size": options.batch,
        "norm_after_padding": False,
        "precision": options.precision,
    }
    known = {name: value for name, value in changes.items() if name in FewShot.model_fields}
    return few_shot(preset).model_copy(update=known)


def _bare(encoder: SamEncoder, model: Model) -> SamEncoder:
    """The encoder without its adapters."""
    bare = SamEncoder(model)
    given = {name.replace(".inner.", "."): one for name, one in encoder.state_dict().items()}
    bare.load_state_dict({name: given[name] for name in bare.state_dict()})
    return bare


def _presets(options: argparse.Namespace) -> Iterator[str]:
    yield from (options.preset,) if options.preset else ("strict", "paper")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--quick", action="store_true", help="a tiny encoder, two rounds")
    parser.add_argument("--preset", choices=("strict", "paper"), help="default: both")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=found, help=f"default: {found}")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU; default: all")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: float32, on a GPU bfloat16"
    )
    parser.add_argument("--batch", type=int, help="slices; default: 2 on a GPU, as in the presets, else 1")
    parser.add_argument("--rounds", type=int, help="default: 5 on a GPU, else 2")
    parser.add_argument("--steps", type=int, help="in a round; default: 10 on a GPU, else 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    options = parser.parse_args(arguments)
    gpu = options.device == "cuda"
    options.precision = options.precision or ("bfloat16" if gpu else "float32")
    options.batch = options.batch or (2 if gpu else 1)
    options.rounds = options.rounds or (5 if gpu and not options.quick else 2)
    options.steps = options.steps or (10 if gpu and not options.quick else 1)
    options.warm_up = 3 if gpu else 0
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    ratios: dict[str, float] = {}
    rates: dict[str, Any] = {}
    for preset in _presets(options):
        found, made_of = measure(options, preset)
        ratios |= found
        rates[preset] = made_of
    gpu = f", {torch.cuda.get_device_name()}" if options.device == "cuda" else ""
    report = {
        "ratios": ratios,
        "rates": rates,
        "compared": f"time of segment_anything's eager encoder over ours, batch {options.batch}, "
        f"{options.precision}, same weights, adapters, decoder and images",
        "repeats": options.rounds,
        "hardware": f"{platform.machine()}, {options.threads} CPU threads{gpu}, "
        f"Python {platform.python_version()}, torch {torch.__version__}",
    }
    for name, value in ratios.items():
        print(f"{name:32s} {value:8.3f}")
    print(f"{report['compared']}; {report['hardware']}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
