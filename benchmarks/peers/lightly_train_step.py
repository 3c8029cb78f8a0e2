"""Optimisation steps of lightly-train's DINOv2, on request; runs in lightly-train's own environment.

    python lightly_train_step.py INPUTS.pt

``bench_step.py`` starts this as a child and reads its output line by line: one line when it is ready; then,
for every number of steps that it is given on a line of standard input, one line of JSON with the wall and
CPU seconds they took and the losses of the last one. INPUTS.pt holds crops, masks and sizes.

What runs is theirs: their vision transformer, heads, losses, parameter groups, optimiser, schedules, clipping
and moving average, through the hooks that their trainer calls, in its order. A stand-in for the trainer
supplies the number of the step, so that loading data, logging and checkpoints cost nothing. The masks are
given to their step instead of being drawn in it. LayerScale is off; all blocks have the same stochastic
depth.
"""

import json
import os
import resource
import sys
import time
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

os.environ["LIGHTLY_TRAIN_EVENTS_DISABLED"] = "1"

import torch
from lightly_train._methods.dinov2 import dinov2
from lightly_train._models.dinov2_vit.dinov2_vit import DINOv2ViTModelWrapper
from lightly_train._models.dinov2_vit.dinov2_vit_src.layers import MemEffAttention, NestedTensorBlock
from lightly_train._models.dinov2_vit.dinov2_vit_src.models.vision_transformer import DinoVisionTransformer
from lightly_train._models.embedding_model import EmbeddingModel
from pytorch_lightning.plugins.precision import Precision
from torch import Tensor

STEPS = 125_000
"""Length of their default schedule."""


class Trainer:
    """What their method asks its trainer for."""

    global_step = 0
    estimated_stepping_batches = STEPS
    max_epochs = 100
    gradient_clip_val = gradient_clip_algorithm = None
    precision_plugin = Precision()


def encoder(settings: dict[str, Any]) -> DinoVisionTransformer:
    """Their vision transformer, of the given size."""
    return DinoVisionTransformer(
        img_size=settings["global_size"],
        patch_size=settings["patch"],
        embed_dim=settings["dim"],
        depth=settings["depth"],
        num_heads=settings["heads"],
        mlp_ratio=settings["mlp_ratio"],
        qkv_bias=True,
        init_values=None,
        drop_path_rate=settings["drop_path"],
        drop_path_uniform=True,
        block_chunks=0,
        block_fn=partial(NestedTensorBlock, attn_class=MemEffAttention),
    )


def method_of(settings: dict[str, Any]) -> dinov2.DINOv2:
    """Their DINOv2 with their defaults, but for sizes and centring."""
    return dinov2.DINOv2(
        method_args=dinov2.DINOv2Args(
            output_dim=settings["prototypes"],
            hidden_dim=settings["hidden"],
            dino_bottleneck_dim=settings["bottleneck"],
            center_method="sinkhorn_knopp" if settings["centering"] == "sinkhorn" else "softmax",
            weight_decay_start=0.04,
            student_freeze_last_layer_steps=0,
        ),
        optimizer_args=dinov2.DINOv2AdamWViTArgs(),
        embedding_model=EmbeddingModel(DINOv2ViTModelWrapper(encoder(settings))),
        global_batch_size=settings["batch"],
        num_input_channels=3,
    )


def masks_as_theirs(masks: Tensor) -> dict[str, Tensor]:
    """Masks (crops, h, w) in the form that their step expects."""
    flat = masks.flatten(1)
    weights = (1 / flat.sum(1, keepdim=True).clamp(min=1.0)).expand_as(flat)[flat]
    places = flat.flatten().nonzero().flatten()
    return {"collated_masks": flat, "mask_indices_list": places, "masks_weight": weights}


class Run:
    """Their method, optimiser and schedule on one batch of crops."""

    def __init__(self, inputs: dict[str, Any]) -> None:
        settings = inputs["settings"]
        self.device = torch.device(settings["device"])
        self.bfloat16 = settings["precision"] == "bfloat16"
        self.views = [
            crop.to(self.device)
            for crops, size in ((inputs["globals"], 2), (inputs["locals"], settings["local_crops"]))
            for crop in crops.chunk(size)
        ]
        given = masks_as_theirs(inputs["masks"])
        dinov2.create_collated_masks = lambda **_: given
        self.trainer = Trainer()  # the method holds it weakly
        self.method = method_of(settings).to(self.device)
        self.method._log_time_batch_end = lambda: None
        self.method.trainer = self.trainer
        self.method.student_embedding_model.train()
        self.method.student_head.train()
        (self.optimizer,), (schedule,) = self.method.configure_optimizers()
        self.scheduler = schedule["scheduler"]

    def step(self) -> dict[str, Tensor]:
        """One step, hook by hook as their trainer does it; returns their losses."""
        batch: Any = {"views": self.views}
        with torch.autocast(self.device.type, torch.bfloat16, self.bfloat16):
            result = self.method.training_step_impl(batch, self.trainer.global_step)
        self.optimizer.zero_grad()
        result.loss.backward()
        self.method.on_before_optimizer_step(self.optimizer)
        self.method.configure_gradient_clipping(self.optimizer)
        self.optimizer.step()
        self.scheduler.step()
        self.trainer.global_step += 1
        self.method.on_train_batch_end(None, batch, self.trainer.global_step)
        return {"total": result.loss.detach(), **(result.log_dict or {})}

    def timed(self, steps: int) -> dict[str, Any]:
        """Wall and CPU seconds of some steps, and the losses of the last."""
        losses: dict[str, Tensor] = {}
        self._wait()
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            losses = self.step()
        self._wait()
        seconds = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {**seconds, "peak_mib": peak, "losses": {name: float(loss) for name, loss in losses.items()}}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def main() -> None:
    """Get ready, then take numbers of steps from standard input until it ends."""
    channel = sys.stdout
    with redirect_stdout(sys.stderr):  # whatever a library prints is no answer
        inputs = torch.load(Path(sys.argv[1]), weights_only=True)
        torch.set_num_threads(inputs["settings"]["threads"])
        torch.manual_seed(0)
        run = Run(inputs)
        print(json.dumps({"ready": True}), file=channel, flush=True)
        for line in sys.stdin:
            print(json.dumps(run.timed(int(line))), file=channel, flush=True)


if __name__ == "__main__":
    sys.exit(main())
