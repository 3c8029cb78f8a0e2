"""Runs that have finished without training: a checkpoint of random weights, a record, a run in MLflow."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from evaluation_rows import write_results
from records import small_dataset
from small import small_recipe

from mricore.data.manifest import read_manifest, write_manifest
from mricore.data.storage import Place
from mricore.evaluation.contenders import digest_of
from mricore.evaluation.measurements import Measurement
from mricore.model.embedder import Embedder
from mricore.training import launch
from mricore.training.checkpoint import CheckpointInfo, read_shipped, save_checkpoint
from mricore.training.initial import initial_state
from mricore.training.initial_files import copied
from mricore.training.telemetry import end_run, log_text
from mricore.workflows.candidates import JUDGEMENT
from mricore.workflows.runs import open_run

STEPS, CHECKPOINT = 40, "checkpoint_2026-11-27_10-00-00.000000"
AUDIT = {"files": 3, "removed": [{"attribute": "PatientName"}]}


def dataset_in(where, phantoms=False):
    """A small dataset with an audit among the outputs; another one if of phantoms."""
    target = Place(where.outputs.joined(f"datasets/{'phantoms' if phantoms else 'knees'}"))
    small_dataset(target, 40, seed=int(phantoms))
    manifest = replace(read_manifest(target), generated_phantoms=phantoms)
    write_manifest(target, manifest)
    target.write_bytes("audit.json", json.dumps(AUDIT).encode())
    return target


def finished_run(where, dataset, folder, seed=0, **changes):
    """The record of a run whose weights depend on ``seed``; ``changes`` are of the record."""
    recipe, manifest = small_recipe(f"seed={seed}"), read_manifest(dataset)
    runs = Place(where.outputs.joined("runs"))
    record, tracked = open_run(recipe, where, runs, manifest, fresh=False, dataset=dataset)
    state = initial_state(recipe, torch.device("cpu"))
    made = Path(folder) / record.name
    made.mkdir(parents=True)
    save_checkpoint(made, state, CheckpointInfo(STEPS, 5, manifest.digest, recipe))
    copied(str(made), runs.joined(f"{record.name}/{CHECKPOINT}"))
    log_text(tracked, json.dumps({"scores": ["location: k-NN accuracy 0.812"]}), JUDGEMENT)
    end_run(tracked, "FINISHED")
    record = replace(record, **{"finished": True, "checkpoint": CHECKPOINT, **changes})
    launch.write_record(runs, record)
    return record


def encoder_digest(where, record):
    """What evaluations call the encoder of a run."""
    runs = Place(where.outputs.joined("runs"))
    with launch.open_checkpoint(runs, record).as_directory() as folder:
        info, network = read_shipped(Path(folder))
    embedder = Embedder.from_network(network, info.recipe.model, info.recipe.augment.global_size)
    return digest_of(embedder, {})


def evaluation(folder, encoders, draws=4, patients=6, seed=0, task="abdomen"):
    """A folder as ``eval/few_shot.py`` leaves it; ``encoders`` maps a name to (digest, mean score)."""
    made = []
    for name, (_, mean) in encoders.items():
        for draw in range(draws):
            rows = [
                Measurement(
                    *(
                        "few_shot",
                        task,
                        "strict",
                        name,
                        draw,
                        f"p{patient}",
                        f"c{patient}",
                        "mean",
                        "dice_3d",
                    ),
                    mean + 0.01 * patient + 0.002 * ((patient * 7 + draw * 3 + len(name)) % 5),
                )
                for patient in range(patients)
            ]
            document = {"protocol": "few_shot", "task": task, "encoder": name, "draw": draw}
            identity = {"data": "d" * 64, "seed": seed, "part": "test", "version": 1}
            made.append(({**document, "identity": identity}, rows, []))
    summary = {
        "part": "test",
        "encoders": {
            name: {"origin": "models:/x/1", "digest": "with a decoder", "digest_alone": digest}
            for name, (digest, _) in encoders.items()
        },
        "leaks": {task: f"{task}: of 40 slices none is in the pretraining data"},
        "failed": [],
    }
    write_results(folder, made, summary)
    return str(folder)
