"""The encoders of a study's arms: read from the checkpoints of its trainings, or as they are before any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from mricore.config.schema import Recipe
from mricore.data.storage import Place
from mricore.errors import UserError, shareable
from mricore.objective.health import signs_in
from mricore.study_records import State
from mricore.training import launch
from mricore.training.checkpoint import read_shipped
from mricore.training.initial import initial_state
from mricore.training.kept import KeptEpochs, kept_name
from mricore.training.state import Trained
from mricore.training.telemetry import history
from mricore.workflows.study_folder import StudyFolder
from mricore.workflows.study_launch import Failures, Opened, StudyRun


def read_encoders(run: StudyRun, opened: Sequence[Opened], folder: StudyFolder) -> Failures:
    """The encoder of each trained arm, out of the checkpoint after its epoch.

    Of a broken training there are those before.
    """
    failures: Failures = []
    for one in opened:
        one.rows = history(one.tracked)
        for reading in one.training.readings:
            checkpoint = _checkpoint(run, one, reading.epoch)
            if checkpoint:
                try:
                    _read(run, one, reading.arm, checkpoint, folder)
                except UserError as error:
                    failures.append(_fail(folder, reading.arm, error))
    return failures


def make_untrained(run: StudyRun, folder: StudyFolder) -> Failures:
    """The encoder of each arm that is not trained."""
    failures: Failures = []
    for name, recipe in run.untrained.items():
        try:
            _make(name, recipe, folder)
        except UserError as error:
            failures.append(_fail(folder, name, error))
    return failures


def first_network(recipe: Recipe) -> Trained:
    """What a training would ship if it ended before its first step.

    Raises:
        UserError: the initial weights cannot be had, or do not fit.
    """
    state = initial_state(recipe, torch.device("cpu"))
    return (state.student if state.teacher is None else state.teacher).eval()


def _checkpoint(run: StudyRun, one: Opened, epoch: int) -> str:
    """The folder of a run that holds the checkpoint after an epoch; empty if the run did not come so far."""
    if epoch == one.training.epochs:
        return one.record.checkpoint
    place = Place(run.runs.joined(one.record.name))
    return kept_name(epoch) if KeptEpochs(*place.arrow("")).has(epoch) else ""


def _read(run: StudyRun, one: Opened, name: str, checkpoint: str, folder: StudyFolder) -> None:
    known = folder.result.arm(name)
    if not (known.encoder and known.checkpoint == checkpoint):
        with launch.open_checkpoint(run.runs, one.at(checkpoint)).as_directory() as files:
            info, network = read_shipped(Path(files))
        encoder = folder.add_encoder(network, one.training.recipe)
        known = replace(known, checkpoint=checkpoint, encoder=encoder, steps=info.step)
    signs = [sign for row in one.rows if row["step"] == known.steps for sign in signs_in(row)]
    state: State = "ill" if signs else "finished"
    folder.change([name], lambda _: replace(known, state=state, problem=", ".join(signs)))
    if signs:
        print(f"{name}: is ill at its end: {', '.join(signs)}", flush=True)


def _make(name: str, recipe: Recipe, folder: StudyFolder) -> None:
    encoder = folder.add_encoder(first_network(recipe), recipe)
    folder.change([name], lambda arm: replace(arm, state="finished", encoder=encoder, steps=0))


def _fail(folder: StudyFolder, name: str, error: UserError) -> tuple[str, bool]:
    print(f"{name}: no encoder: {error.problem}", flush=True)
    problem = shareable(f"{error.problem} ({error.remedy})")
    folder.change([name], lambda arm: replace(arm, state="failed", problem=problem))
    return f"encoder of {name}", False
