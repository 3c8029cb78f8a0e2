"""Optimisation steps of ViT-B/16 on one GPU: throughput, share of its peak, memory, and where the time goes.

    python benchmarks/bench_gpu.py [--batch 128] [--largest] [--quick] [--seconds 440] [--json FILE]

A step goes from 16-bit slices in the host's memory to updated weights: crops of 2 x 224 and 8 x 96 px,
masks, teacher, student, 65,536 prototypes, losses, backward pass, clipping, AdamW, moving average; in
bfloat16 and with the recipe's stochastic depth off, so that all sides compute the same. No part is left out,
and nothing is needed but torch, numpy, pydantic and this repository (no Ray, no MLflow).

``plain`` is a ViT with class token, ``sam`` the product's encoder with relative positions and attention
pooling. Each runs as torch makes it, compiled (``train.compile``), and with kernels of our own
(``model.attention=triton``); xformers where it is installed. ``reference`` is DINOv2's plain formulation
(tests/objective/plain_dinov2.py: a pass per kind of crop, eager, explicit attention), from crops that are
there already. Ratios are of images per second in this run. MFU counts the operations of FLOPS and takes the
datasheet's peak of a card that is known, else a large product of matrices. Variants for which ``--seconds``
do not suffice are left out, and told.

``--largest`` also looks for the largest batch, in powers of two. ``--quick`` is a check of this program on
any machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from bench_step import with_vit
from matrix_peak import measured_peak, wait
from step_parts import PARTS, WholeStep
from step_sides import inputs_of, plain

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import tiny, vitb16_mri
from mricore.config.schema import Recipe

FLOPS = {"sam": 441.8e9, "plain": 446.4e9}
"""Floating-point operations that a step of ViT-B needs per slice, heads included: the student's forward pass
three times (backward is two), the teacher's once."""
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 by the datasheet, of cards whose name holds the key."""
RATIOS = {
    "ours_vs_reference": ("plain compiled", "reference"),
    "eager_vs_reference": ("plain", "reference"),
    "compiled_vs_eager": ("plain compiled", "plain"),
    "sam_vs_plain_eager": ("sam", "plain"),
    "sam_vs_plain": ("sam compiled triton", "plain compiled triton"),
}


@dataclass(frozen=True)
class Variant:
    """An encoder and settings of how it is computed."""

    name: str
    kind: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """One variant at one batch; ``shares`` of PARTS in a step's time, NaN where parts are not told apart."""

    variant: str
    batch: int
    images_per_second: float
    mfu: float
    peak_gib: float
    shares: list[float]
    seconds_to_start: float


def variants(on_gpu: bool) -> list[Variant]:
    """What is compared, most wanted first."""
    found = [Variant(kind, kind) for kind in ("plain", "sam")]
    if not on_gpu:
        return found
    compiled, ours = "train.compile=true", "model.attention=triton"
    found += [Variant(f"{kind} compiled triton", kind, (compiled, ours)) for kind in ("plain", "sam")]
    found += [Variant(f"{kind} compiled", kind, (compiled,)) for kind in ("plain", "sam")]
    if importlib.util.find_spec("xformers"):
        found += [
            Variant(f"{kind} xformers", kind, ("model.attention=xformers",)) for kind in ("plain", "sam")
        ]
    return found


def recipe_of(variant: Variant, batch: int, quick: bool) -> Recipe:
    """The recipe of a variant, in one process and from random weights."""
    settings = ("initial.layout=none", "model.drop_path=0", "train.workers=1", f"train.batch_size={batch}")
    if quick:
        base = apply_overrides(tiny(), (*settings, "train.gpu=false"))
    else:
        base = apply_overrides(vitb16_mri(), settings)
    return apply_overrides(base if variant.kind == "sam" else with_vit(base), variant.settings)


def measured(variant: Variant, options: argparse.Namespace, batch: int, peak: float) -> Measured:
    """Steps of a variant; the first ones, which compile, are not counted."""
    device = torch.device(options.device)
    _forget(device)
    began = time.perf_counter()
    step = WholeStep(recipe_of(variant, batch, options.quick), device)
    for _ in range(options.warm_up):
        step.run()
    wait(device)
    started = time.perf_counter() - began
    rate = batch / _seconds_of(step.run, options.steps, device)
    parts = [statistics.median(one) for one in zip(*step.parts(options.steps), strict=True)]
    shares = [part / sum(parts) for part in parts]
    gib = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    return Measured(variant.name, batch, rate, rate * FLOPS[variant.kind] / peak, gib, shares, started)


def reference(options: argparse.Namespace, peak: float) -> Measured:
    """DINOv2's plain formulation, eager; its crops are made beforehand."""
    device = torch.device(options.device)
    _forget(device)
    recipe = recipe_of(Variant("", "plain"), options.batch, options.quick)
    began = time.perf_counter()
    step = plain(recipe, inputs_of(recipe, device), device).step
    for _ in range(options.warm_up):
        step()
    wait(device)
    started = time.perf_counter() - began
    rate = options.batch / _seconds_of(step, options.steps, device)
    gib = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    unknown = [float("nan")] * len(PARTS)
    return Measured("reference", options.batch, rate, rate * FLOPS["plain"] / peak, gib, unknown, started)


def largest_batch(variant: Variant, options: argparse.Namespace, peak: float) -> Measured | None:
    """The largest power of two times ``--batch`` that fits."""
    found, batch = None, options.batch
    while True:
        batch *= 2
        try:
            found = measured(variant, options, batch, peak)
        except torch.OutOfMemoryError:
            return found


def never_waits(options: argparse.Namespace) -> bool:
    """Whether a step runs where each wait of the host for the GPU is an error."""
    step = WholeStep(recipe_of(Variant("", "sam"), options.batch, options.quick), torch.device("cuda"))
    step.run()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step.run()
    except RuntimeError as error:
        print(f"the host waited for the GPU: {error}", file=sys.stderr)
        return False
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return True


def peak_of(device: torch.device, name: str) -> float:
    """Operations per second: the datasheet's, else measured by a large product in bfloat16."""
    known = next((peak for card, peak in PEAKS.items() if card in name), None)
    return known or measured_peak(device)


def all_measured(options: argparse.Namespace, peak: float) -> tuple[list[Measured], list[str]]:
    """All variants that the time allows, and what was left out."""
    began, found, left_out = time.perf_counter(), [], []
    tasks: list[tuple[str, Callable[[], Measured | None]]] = [("reference", lambda: reference(options, peak))]
    for one in variants(options.device == "cuda"):
        tasks.append((one.name, lambda one=one: measured(one, options, options.batch, peak)))
    if options.largest:
        best = Variant("sam compiled triton", "sam", ("train.compile=true", "model.attention=triton"))
        tasks.append(("largest batch", lambda: largest_batch(best, options, peak)))
    for name, task in tasks:
        if time.perf_counter() - began > options.seconds:
            left_out.append(f"{name}: no time left")
            continue
        try:
            result = task()
        except (torch.OutOfMemoryError, RuntimeError) as error:  # one variant must not cost the others
            left_out.append(f"{name}: {type(error).__name__}: {str(error).splitlines()[0][:160]}")
            continue
        if result is not None:
            found.append(result)
            print(_line(result), flush=True)
    return found, left_out


def ratios(found: Sequence[Measured]) -> dict[str, float]:
    """Images per second of one variant over those of another, at the same batch."""
    rates = {one.variant: one.images_per_second for one in reversed(found)}
    named = {
        **RATIOS,
        "plain_vs_reference": ("plain", "reference"),
        "sam_eager_vs_plain_eager": ("sam", "plain"),
    }
    return {name: rates[a] / rates[b] for name, (a, b) in named.items() if a in rates and b in rates}


def _line(one: Measured) -> str:
    shares = "  ".join(f"{name} {share:5.1%}" for name, share in zip(PARTS, one.shares, strict=True))
    return (
        f"{one.variant:22s} batch {one.batch:4d}  {one.images_per_second:8.1f} images/s  MFU {one.mfu:5.1%}  "
        f"peak {one.peak_gib:5.1f} GiB  start {one.seconds_to_start:5.1f} s  {shares}"
    )


def _seconds_of(step: Callable[[], Any], count: int, device: torch.device) -> float:
    """Seconds per step, of steps that follow each other freely."""
    step()
    wait(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return (time.perf_counter() - start) / count


def _forget(device: torch.device) -> None:
    """Free what the variant before held."""
    torch.compiler.reset()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--quick", action="store_true", help="the tiny recipe, two steps")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=found, help=f"default: {found}")
    parser.add_argument("--batch", type=int, help="slices per step; default: 128, with --quick 16")
    parser.add_argument("--largest", action="store_true", help="also the largest batch that fits")
    parser.add_argument("--seconds", type=float, default=440, help="time for all variants; default: 440")
    parser.add_argument("--steps", type=int, help="that are timed; default: 10, with --quick 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    options = parser.parse_args(arguments)
    options.batch = options.batch or (16 if options.quick else 128)
    options.steps = options.steps or (1 if options.quick else 10)
    options.warm_up = 1 if options.quick else 3
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    options = _options(arguments)
    if options.device == "cpu" and not options.quick:
        raise SystemExit("no CUDA device: bench_step.py is for CPUs; --quick checks this program")
    device = torch.device(options.device)
    card = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    peak = peak_of(device, card)
    found, left_out = all_measured(options, peak)
    report: dict[str, Any] = {
        "ratios": ratios(found),
        "measured": [asdict(one) for one in found],
        "peak_tflops": peak / 1e12,
        "measured_peak_tflops": measured_peak(device) / 1e12,
        "left_out": left_out,
        "compared": "images per second of whole optimisation steps, from 16-bit slices to updated weights",
        "repeats": options.steps,
        "hardware": f"{card}, {platform.machine()}, {platform.python_version()}, torch {torch.__version__}",
    }
    if device.type == "cuda":
        report["never_waits"] = never_waits(options)
    for name, value in report["ratios"].items():
        print(f"{name:26s} {value:6.2f}")
    for one in left_out:
        print(f"left out: {one}")
    print(report["compared"])
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
