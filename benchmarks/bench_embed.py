"""Slices per second that an encoder embeds: SAM's ViT-B and a plain one, at 224 and 1024 pixels.

    python benchmarks/bench_embed.py [--quick] [--device cpu|cuda] [--seconds S] [--json FILE]

torch, numpy and pydantic alone: no Ray, no registry, random weights, slices of noise of 320 x 320 pixels in
16 bits in memory. Two rates are taken of each encoder and size. ``encoder`` is of images that are on the
device already;
``memory`` is of slices in the host's memory, as ``jobs/embed.py`` has them once they are decoded: copied,
normalised, resized, encoded, and the vectors copied back. Ratios (larger is better):

- ``sam_vs_plain_SIZE``: what SAM's windows and relative positions cost or save against a plain ViT.
- ``memory_vs_encoder_KIND_SIZE``: what is left of the encoder's rate when slices come from memory.
- ``compiled_vs_eager_KIND_SIZE``: blocks through ``torch.compile``, each kind of block once; on a GPU alone.

MFU is the rate of the encoder times the floating-point operations of a slice, by the model's sizes, as a
share of what the GPU reaches in a large product of matrices (``--peak``: of another figure). A compilation
that does not fit into ``--seconds`` is left out and told; a batch that does not fit into memory is halved.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matrix_peak import measured_peak
from torch import Tensor

from mricore.augment.crops import normalized
from mricore.augment.transfer import to_device
from mricore.config.encoders import plain_vit_b, sam_vit_b
from mricore.model.embedder import Embedder
from mricore.model.initialise import initialise

FLOPS = {
    ("sam", 224): 35.04e9,
    ("plain", 224): 35.13e9,
    ("sam", 1024): 965.6e9,
    ("plain", 1024): 1319.6e9,
}
"""Floating-point operations of a forward pass of ViT-B for one slice, without SAM's neck, which no vector
needs. Windows at 1024 px count as they are computed, padded."""
BATCH = {"cuda": {224: 256, 1024: 16}, "cpu": {224: 4, 1024: 1}}
COMPILE_SECONDS = 40.0
"""Compilation is not begun with less time than this left; it takes 10 to 40 s for a first block."""
SIDE = 320


class Clock:
    """How much of the time for all measurements is left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


def embedder_of(kind: str, size: int, device: torch.device) -> Embedder:
    """A ViT-B with random weights."""
    settings = sam_vit_b() if kind == "sam" else plain_vit_b()
    embedder = Embedder(settings, size, "slice")
    initialise(embedder, torch.Generator().manual_seed(0))
    return embedder.requires_grad_(False).eval().to(device)


def noise(count: int) -> np.ndarray:
    """Slices (count, SIDE, SIDE) of 16 bits."""
    return np.random.default_rng(0).integers(0, 4096, (count, SIDE, SIDE)).astype(np.uint16)


class Measured:
    """Rates of one encoder at one size."""

    def __init__(self, kind: str, size: int, options: argparse.Namespace) -> None:
        self.device = torch.device(options.device)
        self.embedder = embedder_of(kind, size, self.device)
        self.options = options

    def encoder(self, batch: int) -> Callable[[], None]:
        """Encode a batch of images that are on the device."""
        images = self._resized(noise(batch))

        def once() -> None:
            self._encoded(images)

        return once

    def memory(self, batch: int) -> Callable[[], None]:
        """Embed a batch of slices that are in the host's memory."""
        slices = noise(batch)

        def once() -> None:
            self._encoded(self._resized(slices)).float().cpu().numpy()

        return once

    def rate(self, what: Callable[[int], Callable[[], None]], batch: int, seconds: float) -> float:
        """Slices per second: the median of as many rounds as there is time for, at least ``--rounds``."""
        with torch.inference_mode():
            once = what(batch)
            if self.device.type == "cuda":
                for _ in range(3):
                    once()
            found: list[float] = []
            end = time.monotonic() + seconds
            while len(found) < self.options.rounds or (time.monotonic() < end and len(found) < 50):
                start = self._now()
                once()
                found.append(self._now() - start)
        return batch / statistics.median(found)

    def compile(self) -> None:
        """Compile the blocks; blocks of one kind share a graph."""
        for block in self.embedder.encoder.blocks:
            block.compile()

    def deviation(self) -> float:
        """How far bfloat16 is from float32: relative error of the vectors of eight slices."""
        with torch.inference_mode():
            images = self._resized(noise(8))
            exact = self.embedder.encoded(images)[0]
            return float((self._encoded(images).float() - exact).norm() / exact.norm())

    def _resized(self, slices: np.ndarray) -> Tensor:
        levels = torch.tensor([[0.0, 4095.0]], device=self.device).expand(len(slices), 2)
        scaled = normalized(to_device(slices, self.device), levels)
        return self.embedder.resized(scaled[:, None])

    def _encoded(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, self.options.precision == "bfloat16"):
            return self.embedder.encoded(images)[0]

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def fitting(batch: int, measure: Callable[[int], dict[str, float]]) -> dict[str, float]:
    """What is measured with the largest batch that fits into memory, halved from ``batch``."""
    while True:
        try:
            return measure(batch)
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            torch.cuda.empty_cache()


def eager(one: Measured, kind: str, size: int, options: argparse.Namespace) -> dict[str, float]:
    """Rates, memory and, with a peak, MFU."""

    def measure(batch: int) -> dict[str, float]:
        if one.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        rate = one.rate(one.encoder, batch, options.round_seconds)
        found = {"batch": batch, "encoder": rate, "tflops": rate * FLOPS[kind, size] / 1e12}
        found["memory"] = one.rate(one.memory, batch, options.round_seconds)
        if one.device.type == "cuda":
            found["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return found

    found = fitting(options.batch or BATCH[options.device][size], measure)
    if options.precision == "bfloat16":
        found["bfloat16_error"] = one.deviation()
    return found


def compiled(one: Measured, batch: int, seconds: float) -> dict[str, float]:
    """The encoder's rate with compiled blocks, and how long the first batch took."""
    one.compile()
    start = time.monotonic()
    with torch.inference_mode():
        one.encoder(batch)()
        one._now()
    began = time.monotonic() - start
    return {"compiled": one.rate(one.encoder, batch, seconds), "compile_seconds": began}


def sides(options: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Encoders and sizes; the larger size, which takes up to a minute a slice on a CPU, not if quick."""
    for size in (224,) if options.quick else (224, 1024):
        for kind in ("sam", "plain"):
            yield kind, size


def measure(options: argparse.Namespace) -> tuple[dict[str, dict[str, float]], list[str]]:
    """All rates, eager ones first, and what was left out and why."""
    clock, results, left_out = Clock(options.seconds), {}, []
    device = torch.device(options.device)
    for kind, size in sides(options):
        results[f"{kind}_{size}"] = eager(Measured(kind, size, options), kind, size, options)
        told(f"{kind}_{size}", results[f"{kind}_{size}"])
    for kind, size in sides(options) if device.type == "cuda" else ():
        name = f"{kind}_{size}"
        if clock.left < COMPILE_SECONDS:
            left_out.append(f"compiled {name}: {clock.left:.0f} s left")
            continue
        try:
            batch = int(results[name]["batch"])
            results[name] |= compiled(Measured(kind, size, options), batch, options.round_seconds)
            told(name, results[name])
        except Exception as error:  # noqa: BLE001 - no compiler, or a graph that it refuses: told, and no reason to end
            left_out.append(f"compiled {name}: {type(error).__name__}: {str(error).splitlines()[:1]}")
    return results, left_out


def ratios_of(results: dict[str, dict[str, float]]) -> dict[str, float]:
    """What is compared with what; see the module's docstring."""
    ratios: dict[str, float] = {}
    for name, found in results.items():
        ratios[f"memory_vs_encoder_{name}"] = found["memory"] / found["encoder"]
        if "compiled" in found:
            ratios[f"compiled_vs_eager_{name}"] = found["compiled"] / found["encoder"]
        kind, _, size = name.partition("_")
        if kind == "sam":
            ratios[f"sam_vs_plain_{size}"] = found["encoder"] / results[f"plain_{size}"]["encoder"]
    return dict(sorted(ratios.items()))


def told(name: str, found: dict[str, float]) -> None:
    """A line for people, at once, so that an interrupted run has told what it knows."""
    print(f"{name:12s} " + "  ".join(f"{key} {value:,.4g}" for key, value in found.items()), flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--quick", action="store_true", help="224 px alone, fewer rounds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=device, help=f"default: {device}")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU; default: all")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: float32, on a GPU bfloat16"
    )
    parser.add_argument("--rounds", type=int, help="at least so many; default: 3 on a CPU, 10 on a GPU")
    parser.add_argument("--batch", type=int, help="slices; default: 256 at 224 px, 16 at 1024 px on a GPU")
    parser.add_argument("--seconds", type=float, default=110.0, help="for all on a GPU; default: 110")
    parser.add_argument("--peak", type=float, metavar="TFLOPS", help="of the GPU; default: measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    options = parser.parse_args(arguments)
    gpu = options.device == "cuda"
    options.precision = options.precision or ("bfloat16" if gpu else "float32")
    options.rounds = options.rounds or (2 if options.quick else 10 if gpu else 3)
    options.round_seconds = (1.0 if options.quick else 3.0) if gpu else 0.0
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    results, left_out = measure(options)
    report: dict[str, Any] = {"rates": results, "ratios": ratios_of(results), "left_out": left_out}
    if options.device == "cuda":
        report["peak_tflops"] = options.peak or measured_peak(torch.device("cuda")) / 1e12
        report["mfu"] = {name: found["tflops"] / report["peak_tflops"] for name, found in results.items()}
        for name, share in report["mfu"].items():
            print(f"mfu_{name:28s} {share:8.3f} of {report['peak_tflops']:.0f} TFLOP/s")
    for name, value in report["ratios"].items():
        print(f"{name:32s} {value:8.3f}")
    for line in left_out:
        print(f"left out: {line}")
    report["compared"] = f"slices per second of ViT-B in {options.precision}, random weights, noise"
    report["repeats"] = options.rounds
    report["hardware"] = _hardware(options)
    print(f"{report['compared']}; {report['hardware']}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def _hardware(options: argparse.Namespace) -> str:
    gpu = f", {torch.cuda.get_device_name()}" if options.device == "cuda" else ""
    machine = f"{platform.machine()}, {options.threads} CPU threads{gpu}, {platform.system()}"
    return f"{machine}, Python {platform.python_version()}, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
