"""The folder of a study: ``study.json``, rewritten whenever something is known, and the arms' encoders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mricore.config.schema import Recipe
from mricore.config.study import ArmSpec, Study
from mricore.data.storage import Place
from mricore.errors import UserError
from mricore.evaluation.contenders import digest_of
from mricore.model.embedder import SETTINGS, Embedder
from mricore.study_records import ENCODERS, STUDY, ArmResult, Asked, StudyResult
from mricore.training.initial_files import copied
from mricore.training.state import Trained
from mricore.workflows.study_trainings import recipe_name

DIGITS = 16
FORECAST = "forecast.json"
"""What a dry run foretold, as a study that waits."""


@dataclass
class StudyFolder:
    """What is known of a study, and where it is kept."""

    place: Place
    result: StudyResult

    def write(self, **changes: Any) -> None:
        """Change what is known, and keep it."""
        self.result = replace(self.result, **changes)
        self.place.write_bytes(STUDY, self.result.to_json().encode())

    def change(self, names: Sequence[str], change: Callable[[ArmResult], ArmResult]) -> None:
        """Change some arms, and keep them."""
        self.write(arms=tuple(change(arm) if arm.name in names else arm for arm in self.result.arms))

    def add_encoder(self, network: Trained, recipe: Recipe) -> str:
        """Keep the encoder of a network; the name of its folder.

        Settings are written last: a folder that has them is whole.

        Raises:
            UserError: the folder may not be written.
        """
        size, mode = recipe.augment.global_size, recipe.data.normalization
        embedder = Embedder.from_network(network, recipe.model, size, mode)
        name = digest_of(embedder, {})[:DIGITS]
        if not self.place.exists(f"{ENCODERS}/{name}/{SETTINGS}"):
            with tempfile.TemporaryDirectory() as folder:
                embedder.save(Path(folder))
                for file in sorted(Path(folder).iterdir(), key=lambda one: one.name == SETTINGS):
                    self.place.write_bytes(f"{ENCODERS}/{name}/{file.name}", file.read_bytes())
        return name

    @contextmanager
    def encoders(self, names: Sequence[str]) -> Iterator[dict[str, Path]]:
        """The folders of encoders on this machine; of remote ones copies for the time of the body."""
        with tempfile.TemporaryDirectory() as folder:
            found = {}
            for name in names:
                uri = self.place.joined(f"{ENCODERS}/{name}")
                found[name] = Path(folder) / name if self.place.is_remote else Path(uri)
                if self.place.is_remote:
                    copied(uri, str(found[name]))
            yield found


def study_place(outputs: Place, name: str) -> Place:
    """Where a study of that name lies."""
    return Place(outputs.joined(f"studies/{name}"))


def earlier(where: Place, file: str = STUDY) -> StudyResult | None:
    """What the same command (or one of the same name) left."""
    if not where.exists(file):
        return None
    try:
        return StudyResult.from_json(where.read_bytes(file))
    except UserError:  # nothing in it is needed: runs and units are found by what they are
        return None


def declared(
    study: Study,
    recipe: str,
    settings: Sequence[str],
    judging: Sequence[str],
    arms: Sequence[ArmResult],
) -> StudyResult:
    """A study of which nothing is known yet but its arms; ``judging`` as in ``StudyResult``."""
    return StudyResult(
        name=study.name,
        title=study.title,
        recipe=recipe,
        baseline=study.baseline,
        settings=(*study.settings, *settings),
        arms=tuple(arms),
        questions=tuple(
            Asked(one.name, one.title, one.reference, one.arms, one.kind) for one in study.questions
        ),
        part=study.part,
        judging=tuple(judging),
    )


def waiting(spec: ArmSpec, recipe: str, **known: Any) -> ArmResult:
    """An arm that is not trained yet; without what is ``known`` of its training, one that never is."""
    nothing = {"run": "", "mlflow_run_id": "", "epoch": 0, "epochs": 0}
    arm = {"name": spec.name, "recipe": recipe_name(spec, recipe), "settings": spec.settings}
    return ArmResult(**{**nothing, **arm, **known})


def noted(where: Place, foreseen: StudyResult) -> StudyResult:
    """Keep predicted times, beside what the study comes to: it may be running."""
    where.write_bytes(FORECAST, foreseen.to_json().encode())
    return foreseen


def carried(result: StudyResult, before: StudyResult | None) -> StudyResult:
    """The result with what an earlier command found out about the same arms of the same runs.

    Predicted times only need the same arm after the same epochs, as a dry run names no runs.
    """
    if before is None:
        return result
    known = {arm.name: arm for arm in before.arms}
    return replace(result, arms=tuple(_carried(arm, known.get(arm.name)) for arm in result.arms))


def _carried(arm: ArmResult, known: ArmResult | None) -> ArmResult:
    if known is None or (known.settings, known.epoch, known.epochs) != (arm.settings, arm.epoch, arm.epochs):
        return arm
    if known.seconds_predicted is not None:
        arm = replace(arm, seconds_predicted=known.seconds_predicted)
    if known.run and known.run == arm.run:
        found = {
            name: getattr(known, name) for name in ("steps", "checkpoint", "encoder", "seconds_measured")
        }
        arm = replace(arm, **found)
    return arm
