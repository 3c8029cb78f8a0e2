"""nnU-Net (Isensee et al. 2021, doi 10.1038/s41592-020-01008-z) on the slices that encoders are adapted on.

The real program runs, with its own commands, in processes of an environment that has it. Each slice is a
case of one 2D image, so that nnU-Net scales slices one by one, as all others are scaled; its fold 0 trains
on the draw's training slices and watches the draw's validation slices. Pretrained weights take no part.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mricore.config.few_shot import FewShot
from mricore.config.nnunet import NnUnet
from mricore.config.task import FOREGROUND
from mricore.errors import UserError
from mricore.evaluation.few_shot.losses import one_hot
from mricore.evaluation.few_shot.slices import resized_masks, shrunken, spacing_at
from mricore.evaluation.labels import strongest
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.metaimage import read_slice, write_slice
from mricore.evaluation.metrics.measure import measure_all
from mricore.evaluation.metrics.overlap import Labels
from mricore.evaluation.pictures import PREDICTION, Shown, shown, slices_to_show
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.splits import Draw, Part
from mricore.evaluation.tasks.volume import LabelledVolume, SliceKey, Spacing
from mricore.evaluation.units import Made

NAME = "nnU-Net"
PROTOCOL = "few_shot"
DATASET = "Dataset001_FewShot"
ENDING = ".mha"
INSTALL = "pip install 'mricore[nnunet]', or --set nnunet.python=INTERPRETER of an environment with nnunetv2"

_TRAINING = """
import json, os, sys
import numpy as np
import torch
from nnunetv2.run import run_training

settings, parent = json.loads(sys.argv.pop(1)), os.getppid()
build = run_training.get_trainer_from_args

def with_settings(*arguments, **named):
    trainer = build(*arguments, **named)
    trainer.num_epochs = settings["epochs"]
    trainer.num_iterations_per_epoch = settings["iterations"]
    trainer.num_val_iterations_per_epoch = settings["validation_iterations"]
    torch.set_num_threads(settings["threads"])
    torch.manual_seed(settings["seed"])
    np.random.seed(settings["seed"])
    begin = trainer.on_epoch_start

    def on_epoch_start():
        if os.getppid() != parent:  # whoever wanted the result was killed
            raise SystemExit(1)
        begin()

    trainer.on_epoch_start = on_epoch_start
    return trainer

run_training.get_trainer_from_args = with_settings
run_training.run_training_entry()
"""
"""nnU-Net's own training command, with another length and a seed, which its command line does not take."""


@dataclass(frozen=True)
class Folders:
    """The places that nnU-Net wants, below one private folder."""

    root: Path

    @property
    def raw(self) -> Path:
        """Training cases as they are."""
        return self.root / "raw" / DATASET

    @property
    def preprocessed(self) -> Path:
        """What nnU-Net makes of them, and which are for validation."""
        return self.root / "preprocessed" / DATASET

    @property
    def asked(self) -> Path:
        """Slices to segment."""
        return self.root / "asked"

    @property
    def answered(self) -> Path:
        """Their masks."""
        return self.root / "answered"


def installed_version(settings: NnUnet) -> str:
    """The version of nnunetv2 in the environment of the settings.

    Raises:
        UserError: there is no such interpreter, or it has no nnunetv2.
    """
    code = "from importlib.metadata import version; import nnunetv2; print(version('nnunetv2'))"
    try:
        found = subprocess.run([_python(settings), "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        raise UserError("nnunet.python is no interpreter that can be run", INSTALL) from None
    if found.returncode:
        raise UserError("nnU-Net (nnunetv2) is not installed", INSTALL)
    return found.stdout.strip()


def run_draw(
    labelled: LabelledTask,
    draw: Draw,
    few_shot: FewShot,
    settings: NnUnet,
    *,
    device: str,
    threads: int = 1,
    part: Part = "test",
) -> Made:
    """Train nnU-Net on a draw and measure it on the volumes of ``part`` as encoders are measured.

    Raises:
        UserError: nnunetv2 is missing, or one of its commands fails.
    """
    names = (FOREGROUND,) if few_shot.together else tuple(labelled.task.classes)
    volumes = labelled.of(part)
    with tempfile.TemporaryDirectory(prefix="nnunet") as root:
        folders = Folders(Path(root))
        write_dataset(folders, labelled, draw, len(names), few_shot.together)
        write_questions(folders, volumes)
        _train_and_predict(folders, few_shot.seed + draw.number, settings, device, threads)
        predicted = {volume.case: _answer(folders, number, volume) for number, volume in enumerate(volumes)}
    about = PROTOCOL, labelled.task.name, few_shot.name, NAME, draw.number
    judged = [one for one in volumes if one.mask.any() or not few_shot.drop_empty]
    measured = measure_all(
        [_judged(one, predicted[one.case], len(names), few_shot) for one in judged], names, few_shot.metrics
    )
    rows = [
        Measurement(*about, volume.patient, f"{volume.case}{suffix}", label, metric, value)
        for volume, findings in zip(judged, measured, strict=True)
        for suffix, label, metric, value in findings
    ]
    pictures = [
        _picture(labelled, key, predicted[key.case][key.index], few_shot) for key in slices_to_show(volumes)
    ]
    return Made(rows, pictures)


def write_dataset(folders: Folders, labelled: LabelledTask, draw: Draw, classes: int, together: bool) -> None:
    """The draw as a raw dataset of nnU-Net, and its only fold.

    Format: nnU-Net's documentation/dataset_format.md and manual_data_splits.md.
    """
    for part in ("imagesTr", "labelsTr"):
        (folders.raw / part).mkdir(parents=True)
    parts = {"train": draw.training, "val": draw.validation}
    fold = {
        part: [
            _write_case(folders, f"{part}_{number:03d}", labelled, key, together)
            for number, key in enumerate(keys)
        ]
        for part, keys in parts.items()
    }
    labels = {"background": 0, **{f"class_{label}": label for label in range(1, classes + 1)}}
    description = {
        "channel_names": {"0": "MRI"},
        "labels": labels,
        "numTraining": sum(len(cases) for cases in fold.values()),
        "file_ending": ENDING,
    }
    (folders.raw / "dataset.json").write_text(json.dumps(description, indent=1))
    folders.preprocessed.mkdir(parents=True)
    (folders.preprocessed / "splits_final.json").write_text(json.dumps([fold], indent=1))


def write_questions(folders: Folders, volumes: Sequence[LabelledVolume]) -> None:
    """All slices of the volumes, each as a case of its own."""
    folders.asked.mkdir()
    for number, volume in enumerate(volumes):
        for index, image in enumerate(volume.image):
            path = folders.asked / f"{_question(number, index)}_0000{ENDING}"
            write_slice(path, image.astype(np.float32), volume.spacing[1:])


def commands(
    folders: Folders, settings: NnUnet, device: str, threads: int, seed: int
) -> dict[str, list[str]]:
    """What is run, one after the other: nnU-Net's own commands by their entry points."""
    python = _python(settings)
    lengths = settings.model_dump(include={"epochs", "iterations", "validation_iterations"})
    length = json.dumps({**lengths, "threads": threads, "seed": seed % 2**32})
    where = ("-i", str(folders.asked), "-o", str(folders.answered), "-d", "1", "-c", "2d", "-f", "0")
    mirrored = () if settings.mirroring else ("--disable_tta",)
    return {
        "planning": [
            *(
                python,
                "-c",
                _entry("experiment_planning.plan_and_preprocess_entrypoints.plan_and_preprocess_entry"),
            ),
            *("-d", "1", "-c", "2d", "-np", "1", "-npfp", "1", "--verify_dataset_integrity", "--no_pbar"),
        ],
        "training": [python, "-c", _TRAINING, length, "1", "2d", "0", "-device", device],
        "prediction": [
            *(python, "-c", _entry("inference.predict_from_raw_data.predict_entry_point"), *where),
            *("-device", device, "-npp", "1", "-nps", "1", "--disable_progress_bar", *mirrored),
        ],
    }


def _entry(path: str) -> str:
    """A program that is one of nnU-Net's commands."""
    module, _, function = path.rpartition(".")
    return f"from nnunetv2.{module} import {function}; {function}()"


def environment(folders: Folders, threads: int, step: str) -> dict[str, str]:
    """Where nnU-Net keeps things, and how many processes and threads it may start.

    With one thread, the process that trains also augments, so that a CPU gives the same numbers again; but
    planning does not work without a process for that.
    """
    augmenting = 0 if threads == 1 and step != "planning" else threads
    return {
        "nnUNet_raw": str(folders.raw.parent),
        "nnUNet_preprocessed": str(folders.preprocessed.parent),
        "nnUNet_results": str(folders.root / "results"),
        "nnUNet_n_proc_DA": str(augmenting),
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": str(threads),
    }


def _python(settings: NnUnet) -> str:
    return settings.python or sys.executable


def _train_and_predict(folders: Folders, seed: int, settings: NnUnet, device: str, threads: int) -> None:
    # PYTHONPATH would let packages of this environment into the other one
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for step, command in commands(folders, settings, device, threads, seed).items():
        ended = subprocess.run(  # noqa: S603
            command,
            env={**inherited, **environment(folders, threads, step)},
            cwd=folders.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if ended.returncode:
            raise UserError(f"nnU-Net's {step} failed ({_kind(ended.stdout)})", _remedy(settings))


def _kind(output: str) -> str:
    """The last exception's name alone, as its message may hold paths."""
    names = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt))\b", output, re.MULTILINE)
    return names[-1] if names else "no exception told"


def _remedy(settings: NnUnet) -> str:
    return (
        f"look whether nnunetv2 {installed_version(settings)} (2.8 is known to work) runs in its environment,"
        " and whether memory was enough"
    )


def _write_case(folders: Folders, name: str, labelled: LabelledTask, key: SliceKey, together: bool) -> str:
    image, mask = labelled.slice(key)
    spacing = _volume(labelled, key).spacing[1:]
    write_slice(folders.raw / "imagesTr" / f"{name}_0000{ENDING}", image.astype(np.float32), spacing)
    write_slice(folders.raw / "labelsTr" / f"{name}{ENDING}", _target(mask, together), spacing)
    return name


def _question(number: int, index: int) -> str:
    return f"volume_{number:04d}_slice_{index:04d}"


def _answer(folders: Folders, number: int, volume: LabelledVolume) -> Labels:
    """The predicted mask (S, R, C) of a volume."""
    paths = [folders.answered / f"{_question(number, index)}{ENDING}" for index in range(len(volume.image))]
    return np.stack([read_slice(path) for path in paths]).astype(np.uint8)


def _target(mask: Labels, together: bool) -> Labels:
    return (mask > 0).astype(np.uint8) if together else mask


def _volume(labelled: LabelledTask, key: SliceKey) -> LabelledVolume:
    return next(one for one in labelled.volumes if one.case == key.case)


def _judged(
    volume: LabelledVolume, predicted: Labels, classes: int, few_shot: FewShot
) -> tuple[Labels, Labels, Spacing]:
    """Predicted and true mask and spacing of a volume, as the settings judge encoders."""
    shows = volume.mask.any((1, 2)) if few_shot.drop_empty else np.ones(len(volume.mask), bool)
    called, truth = predicted[shows], _target(volume.mask, few_shot.together)[shows]
    if not few_shot.judge_at_logits:
        return called, truth, volume.spacing
    called, truth = (_as_logits(masks, classes, few_shot.image_size) for masks in (called, truth))
    return called, truth, spacing_at(volume, truth)


def _as_logits(masks: Labels, classes: int, side: int) -> Labels:
    """Masks as the published code judges them: at a quarter of the input's size."""
    large = resized_masks(torch.from_numpy(np.ascontiguousarray(masks)), side)
    return strongest(shrunken(one_hot(large, classes), side // 4))


def _picture(labelled: LabelledTask, key: SliceKey, predicted: Labels, few_shot: FewShot) -> Shown:
    image, mask = labelled.slice(key)
    layers = {PREDICTION: predicted}
    spacing = _volume(labelled, key).spacing
    return shown(labelled.task.name, key, image, _target(mask, few_shot.together), layers, spacing)
