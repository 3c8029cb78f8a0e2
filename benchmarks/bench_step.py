"""Optimisation steps of DINOv2: the package against the same method written plainly, and against a peer.

    python benchmarks/bench_step.py [--quick] [--peer-python PYTHON] [--threads N] [--profile] [--json FILE]

All sides take the same crops and masks, which are made beforehand, and the same sizes of encoder, head and
batch; they step in turns, in short rounds, and each round gives one ratio, of which the median is reported.
A step is teacher, student, losses, backward pass, clipping, AdamW and moving average.

``step_vs_plain``: against tests/objective/plain_dinov2.py, whose losses and weights equal ours (tested to
1e-8, and checked here at the first step): explicit attention with an N x N bias, a pass of the head per kind
of token, AdamW as torch offers it, stochastic depth that computes what it drops. ``step_vs_peer``: against
lightly-train's DINOv2, run by PYTHON of an environment that has it (``pip install lightly-train``); left out
without one. Both are processes of their own; ours keeps the memory that it frees, as a training worker does.
Their encoder is a plain ViT with a class token, so ours is one too; ``sam_step_vs_peer`` is of SAM's encoder,
which has relative positions and attention pooling besides. Stochastic depth is the recipe's on all sides;
theirs has no LayerScale, and is given its masks.
Each is the smallest ratio over the recipes; larger is better. Ratios that end in ``_cpu`` are of the CPU's
time, for machines that are not quiet.

On a CPU: the ``tiny`` recipe, and ViT-S at DINOv2's crops and 65,536 prototypes with a batch of 8 (left out
by ``--quick``), in float32. On a GPU: ViT-B with a batch of 128 in bfloat16; see also ``bench_gpu.py``.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from step_sides import Side, Timing, inputs_of, ours, peer_child, plain_child

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import tiny, vitb16_mri, vits16_mri
from mricore.config.schema import Model, Recipe
from mricore.training.host_memory import keep_freed_memory

RATIOS = {
    "step_vs_plain": ("ours", "plain"),
    "step_vs_peer": ("ours_vit", "peer"),
    "sam_step_vs_peer": ("ours", "peer"),
}
"""Whose step is compared with whose."""
SAME = {"float32": 1e-4, "bfloat16": 1e-2}
"""Largest relative difference between the first losses of ours and of the plain formulation."""


def recipes_for(options: argparse.Namespace) -> dict[str, Recipe]:
    """What the device can step, in one process; on a GPU from random weights and without stochastic depth."""
    precision = f"train.precision={options.precision}"
    if options.device == "cuda":
        settings = ("initial.layout=none", "model.drop_path=0", "train.workers=1", precision)
        return {"vitb16": apply_overrides(vitb16_mri(), (*settings, f"train.batch_size={options.batch}"))}
    settings = ("train.gpu=false", "train.workers=1", precision)
    small = {"tiny": apply_overrides(tiny(), settings)}
    if options.quick:
        return small
    return {
        **small,
        "vits16": apply_overrides(vits16_mri(), (*settings, "train.batch_size=8", "data.lanes=8")),
    }


def in_turns(sides: Mapping[str, Side], rounds: int, steps: int, tolerance: float) -> dict[str, list[Timing]]:
    """Each side's timings, after one step to warm up; who begins changes from round to round."""
    first = {name: side.timed(1).loss for name, side in sides.items()}
    if abs(first["ours"] - first["plain"]) > tolerance * first["plain"]:
        raise SystemExit(f"ours and the plain formulation differ: losses {first}")
    found: dict[str, list[Timing]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            found[name].append(sides[name].timed(steps))
    return found


def compare(recipe: Recipe, options: argparse.Namespace) -> dict[str, list[Timing]]:
    """Timings of all sides on one recipe."""
    device = torch.device(options.device)
    inputs = inputs_of(recipe, device)
    with ExitStack() as stack:
        others = {"plain": plain_child(recipe, device, options.threads)}
        sides: dict[str, Side] = {"ours": ours(recipe, inputs, device)}
        if options.peer_python is not None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            sides["ours_vit"] = ours(with_vit(recipe), inputs, device)
            others["peer"] = peer_child(options.peer_python, recipe, inputs, device, options.threads, folder)
        for child in others.values():
            stack.callback(child.close)
        return in_turns({**sides, **others}, options.rounds, options.steps, SAME[options.precision])


def with_vit(recipe: Recipe) -> Recipe:
    """The recipe with a plain ViT of the same size, whose positions are those of a global crop."""
    model = recipe.model.model_dump(include={"dim", "depth", "heads", "mlp_ratio", "patch", "drop_path"})
    grid = recipe.augment.global_size // recipe.model.patch
    vit = Model(kind="plain", readout="class", native_grid=grid, **model)
    return recipe.model_copy(update={"model": vit})


def summary(timings: Mapping[str, Mapping[str, list[Timing]]], steps: int) -> dict[str, dict[str, float]]:
    """Ratios over all recipes and by recipe, and steps per second."""
    ratios: dict[str, float] = {}
    rates: dict[str, float] = {}
    for recipe, sides in timings.items():
        for name, rounds in sides.items():
            rates[f"{recipe} {name}"] = steps / statistics.median(one.seconds for one in rounds)
        for name, (mine, other) in RATIOS.items():
            if other not in sides:
                continue
            for end, clock in (("", "seconds"), ("_cpu", "cpu_seconds")):
                pairs = zip(sides[other], sides[mine], strict=True)
                ratio = statistics.median(getattr(a, clock) / getattr(b, clock) for a, b in pairs)
                ratios[f"{name}_{recipe}{end}"] = ratio
                ratios[name + end] = min(ratio, ratios.get(name + end, ratio))
    return {"ratios": dict(sorted(ratios.items())), "rates": rates}


def profiled(recipe: Recipe, device: torch.device) -> str:
    """Where the time of our step goes, by operation."""
    side = ours(recipe, inputs_of(recipe, device), device)
    side.timed(1)
    with torch.profiler.profile() as profile:
        side.timed(1)
    order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    return profile.key_averages().table(sort_by=order, row_limit=25, max_name_column_width=45)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--quick", action="store_true", help="one recipe, fewer rounds")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=found, help=f"default: {found}")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the CPU; default: all")
    parser.add_argument(
        "--precision", choices=("float32", "bfloat16"), help="default: float32, on a GPU bfloat16"
    )
    parser.add_argument("--rounds", type=int, help="default: 7, or 2 with --quick")
    parser.add_argument(
        "--steps", type=int, help="per round; default: 2 on a CPU, 10 on a GPU, 1 with --quick"
    )
    parser.add_argument(
        "--batch",
        type=int,
        default=128,
        help="slices per step on a GPU; fewer if memory is short, as all sides are there at once",
    )
    parser.add_argument("--peer-python", type=Path, metavar="PYTHON", help="python that has lightly-train")
    parser.add_argument("--profile", action="store_true", help="only print where our step's time goes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    options = parser.parse_args(arguments)
    options.precision = options.precision or ("bfloat16" if options.device == "cuda" else "float32")
    options.rounds = options.rounds or (2 if options.quick else 7)
    options.steps = options.steps or (1 if options.quick else 10 if options.device == "cuda" else 2)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    options = _options(arguments)
    torch.set_num_threads(options.threads)
    gpu = options.device == "cuda"
    if not gpu:
        keep_freed_memory()  # as a training worker does
    recipes = recipes_for(options)
    if options.profile:
        for name, recipe in recipes.items():
            print(name, profiled(recipe, torch.device(options.device)), sep="\n")
        return
    timings = {name: compare(recipe, options) for name, recipe in recipes.items()}
    report: dict[str, Any] = summary(timings, options.steps)
    for name, value in report["rates"].items():
        print(f"{name:32s} {value:8.3f} steps per second")
    for name, value in report["ratios"].items():
        print(f"{name:32s} {value:8.3f}")
    peer = "and against lightly-train's" if options.peer_python else "(no --peer-python: no peer)"
    report["compared"] = f"optimisation steps of DINOv2 against the plain formulation {peer}"
    report["repeats"] = options.rounds
    print(report["compared"])
    if options.json:
        report["hardware"] = _hardware(options)
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def _hardware(options: argparse.Namespace) -> str:
    gpu = f", {torch.cuda.get_device_name()}" if options.device == "cuda" else ""
    machine = f"{platform.machine()}, {options.threads} CPU threads{gpu}, {platform.system()}"
    return f"{machine}, Python {platform.python_version()}, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
