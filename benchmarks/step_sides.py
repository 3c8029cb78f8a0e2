"""The sides of ``bench_step.py``: the package's step, the plain formulation, and a peer in its environment.

The latter two are processes of their own, so that each has its own memory. Each takes
the same crops and masks and does ``timed(steps)``.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mricore.augment.masks import draw_masks
from mricore.config.schema import Recipe
from mricore.model.drop_path import draw_kept, kept_of
from mricore.model.input_norm import InputNorm
from mricore.model.masked import masked_patches
from mricore.objective.communication import Alone
from mricore.training.dinov2 import Views
from mricore.training.initial import initial_state
from mricore.training.methods import method_of
from mricore.training.rates import rates_at
from mricore.training.step import train_step

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests/objective"))  # where the plain formulation is kept and proved

from plain_dinov2 import PlainDinov2  # noqa: E402

Losses = dict[str, Tensor]
WHEN = (50, 100)
"""Step and length of the schedules whose rates all steps take."""


@dataclass(frozen=True)
class Timing:
    """Wall and CPU seconds of some steps, and the total loss of the last."""

    seconds: float
    cpu_seconds: float
    loss: float


class Side(Protocol):
    """Whoever can be asked for steps."""

    def timed(self, steps: int) -> Timing:
        """Do so many optimisation steps."""
        ...


@dataclass(frozen=True)
class Inputs:
    """Crops of one batch, (2b, 1, G, G) and (L * b, 1, S, S), and masks (2b, h, w).

    ``kept``, of global and of local crops, tells which branches stochastic depth keeps, (depth, 2, crops);
    None without it.
    """

    globals: Tensor
    locals: Tensor
    masks: NDArray[np.bool_]
    kept: tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None]


def inputs_of(recipe: Recipe, device: torch.device) -> Inputs:
    """Noise as crops, and masks as training draws them."""
    settings, batch = recipe.augment, recipe.train.batch_size
    generator = torch.Generator().manual_seed(0)
    sizes = ((2, settings.global_size), (settings.local_crops, settings.local_size))
    crops = [torch.rand(views * batch, 1, side, side, generator=generator) for views, side in sizes]
    grid = settings.global_size // recipe.model.patch
    rng, model = np.random.default_rng(0), recipe.model
    masks = draw_masks(rng, batch, grid, settings).reshape(-1, grid, grid)
    kept = [draw_kept(rng, model.depth, len(crop), model.drop_path) for crop in crops]
    globals_, locals_ = (crop.to(device) for crop in crops)
    return Inputs(globals_, locals_, masks, (kept[0], kept[1]) if model.drop_path else (None, None))


class InProcess:
    """A step that is a function of this process."""

    def __init__(self, step: Callable[[], Losses], device: torch.device) -> None:
        self.step = step
        self.device = device

    def timed(self, steps: int) -> Timing:
        """Do so many steps; on a GPU until the last is done."""
        losses: Losses = {}
        self._wait()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            losses = self.step()
        self._wait()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return Timing(wall, cpu, float(losses["total"]))

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def ours(recipe: Recipe, inputs: Inputs, device: torch.device) -> InProcess:
    """The step of a training worker, from crops that are there already."""
    state, method = initial_state(recipe, device), method_of(recipe)
    drop = [None if one is None else kept_of(one, np.arange(one.shape[2]), device) for one in inputs.kept]
    views = Views(inputs.globals, inputs.locals, masked_patches(inputs.masks, device), (drop[0], drop[1]))
    rates, counts = rates_at(*WHEN, recipe), (recipe.train.batch_size,)

    def step() -> Losses:
        metrics = train_step(state, method, state.student, [views], counts, rates, recipe, Alone())
        return {"total": metrics["loss/total"]}

    return InProcess(step, device)


def plain(recipe: Recipe, inputs: Inputs, device: torch.device) -> InProcess:
    """The plain formulation, from the same weights."""
    weights = initial_state(recipe, torch.device("cpu")).student.state_dict()
    side = PlainDinov2(recipe, weights).to(device)
    masks, rates = torch.from_numpy(inputs.masks).to(device), rates_at(*WHEN, recipe)
    kept = [None if one is None else torch.from_numpy(one).to(device) for one in inputs.kept]
    bfloat16 = recipe.train.precision == "bfloat16"

    def step() -> Losses:
        with torch.autocast(device.type, torch.bfloat16, bfloat16):
            return side.step(inputs.globals, inputs.locals, masks, rates, kept)

    return InProcess(step, device)


class Child:
    """A side that is a process of its own: a program that does as many steps as each line of its input says.

    It answers with a line of JSON when it is ready, and after each line with ``seconds``, ``cpu_seconds`` and
    ``losses``.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def timed(self, steps: int) -> Timing:
        """Ask the child for so many steps."""
        assert self.child.stdin is not None  # noqa: S101
        self.child.stdin.write(f"{steps}\n")
        self.child.stdin.flush()
        answer = self._answer()
        return Timing(answer["seconds"], answer["cpu_seconds"], answer["losses"]["total"])

    def close(self) -> None:
        """End the child."""
        self.child.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None  # noqa: S101
        line = self.child.stdout.readline()
        if not line:
            raise SystemExit(f"a side ended with exit code {self.child.wait()}; see its output above")
        return json.loads(line)


def plain_child(recipe: Recipe, device: torch.device, threads: int) -> Child:
    """The plain formulation in a process of its own, whose memory is as the system gives it."""
    return Child([sys.executable, __file__, recipe.model_dump_json(), device.type, str(threads)])


def peer_child(
    python: Path, recipe: Recipe, inputs: Inputs, device: torch.device, threads: int, folder: Path
) -> Child:
    """lightly-train in its environment (peers/lightly_train_step.py); its inputs go to ``folder``."""
    norm = InputNorm().to(device)
    crops = {"globals": norm(inputs.globals).cpu(), "locals": norm(inputs.locals).cpu()}
    settings = _peer_settings(recipe) | {"device": device.type, "threads": threads}
    path = folder / "inputs.pt"
    torch.save({**crops, "masks": torch.from_numpy(inputs.masks), "settings": settings}, path)
    return Child([str(python), str(HERE / "peers/lightly_train_step.py"), str(path)])


def _peer_settings(recipe: Recipe) -> dict[str, Any]:
    model, head, augment = recipe.model, recipe.head, recipe.augment
    return {
        **{
            name: getattr(model, name)
            for name in ("dim", "depth", "heads", "patch", "mlp_ratio", "drop_path")
        },
        **{name: getattr(head, name) for name in ("prototypes", "hidden", "bottleneck")},
        **{name: getattr(augment, name) for name in ("global_size", "local_crops")},
        "centering": recipe.objective.centering,
        "batch": recipe.train.batch_size,
        "precision": recipe.train.precision,
    }


def main(recipe: str, device: str, threads: str) -> None:
    """Be the plain formulation's process."""
    torch.set_num_threads(int(threads))
    settings, where = Recipe.model_validate_json(recipe), torch.device(device)
    side = plain(settings, inputs_of(settings, where), where)
    print("{}", flush=True)
    for line in sys.stdin:
        timing = side.timed(int(line))
        answer = {
            "seconds": timing.seconds,
            "cpu_seconds": timing.cpu_seconds,
            "losses": {"total": timing.loss},
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
