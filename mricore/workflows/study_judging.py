"""How the arms of a study are judged: settled, and looked at, before anything is trained.

Paper section 4.2.2: what is chosen by an ablation must not be judged on the patients of published scores. So
development patients judge, unless the file of a study in which nothing is chosen says otherwise; no argument
of the command line leads to the test patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mricore.config.fields import Frozen
from mricore.config.overrides import overridden
from mricore.config.running import Running
from mricore.config.study import JudgeSpec, Study
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.evaluation.tasks.splits import Part
from mricore.study_records import Evaluated
from mricore.workflows.evaluate import RUN, Plan, Protocol, read_tasks
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.few_shot import FEW_SHOT
from mricore.workflows.knn import KNN
from mricore.workflows.linear_probe import LINEAR_PROBE
from mricore.workflows.patch_probe import PATCH_PROBE
from mricore.workflows.zero_shot import ZERO_SHOT

PROTOCOLS = {one.name: one for one in (FEW_SHOT, PATCH_PROBE, LINEAR_PROBE, KNN, ZERO_SHOT)}
MODE, DRAWS = "cpu", 3
"""Of few-shot segmentation, by which arms are judged where neither file nor command line says how."""
MOST_DRAWS = 5
"""Of a judge that does not say: as many as its protocol has by default, but no more."""


@dataclass(frozen=True)
class Judge:
    """A protocol in a mode, and what else its script is told; ``arms`` as in ``JudgeSpec``."""

    protocol: Protocol
    mode: str
    draws: int
    assignments: tuple[str, ...] = ()
    arms: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For messages."""
        return f"{self.protocol.name} ({self.mode})"

    def evaluated(self, tasks: tuple[str, ...]) -> Evaluated:
        """What ``study.json`` keeps of it."""
        return Evaluated(self.protocol.name, self.mode, self.draws, tasks, self.assignments, self.arms)


@dataclass(frozen=True)
class Judging:
    """How arms are judged: labelled tasks as ``NAME=ROOT``, by whose patients, and by which protocols."""

    tasks: tuple[str, ...]
    judges: tuple[Judge, ...]
    part: Part = "development"
    decoder: str | None = None
    """SAM's file, for few-shot segmentation."""

    def request(
        self,
        judge: Judge,
        encoders: tuple[str, ...] = (),
        out: str | None = None,
        pretraining: str | None = None,
        baseline: str | None = None,
        features: str | None = None,
    ) -> EvaluationRequest:
        """What the script of a judge would be asked for; ``features`` is a folder that judges share."""
        return EvaluationRequest(
            tasks=self.tasks,
            data=None,
            encoders=encoders,
            mode=judge.mode,
            draws=judge.draws,
            part=self.part,
            assignments=judge.assignments,
            out=out,
            pretraining=pretraining,
            baseline=baseline,
            decoder=self.decoder if judge.protocol is FEW_SHOT else None,
            features=features,
        )


def is_of_judging(assignment: str) -> bool:
    """Whether a ``--set`` is of a section that protocols have, and not of the recipe."""
    known = (_sections(protocol, protocol.modes[0]) for protocol in PROTOCOLS.values())
    return any(_section(assignment) in sections for sections in known)


def judges_of(
    study: Study, mode: str | None, draws: int | None, assignments: Sequence[str]
) -> tuple[Judge, ...]:
    """The judges of a study's file, or few-shot segmentation as the command line has it.

    ``draws`` of the command line are those of every judge that draws. ``assignments`` go to the judges that
    have their section, after their own.

    Raises:
        UserError: a mode is unknown or asked for beside the file's, a setting or ``draws`` concerns no judge,
            or two judges are the same.
    """
    if study.judges and mode is not None:
        raise UserError(f"study {study.name} says itself how its arms are judged", "leave out --mode")
    usual = JudgeSpec(protocol="few_shot", mode=mode or MODE, draws=DRAWS)
    judges = tuple(_judge(one, draws, assignments) for one in study.judges or (usual,))
    for judge in judges:
        if sum(str(one) == str(judge) for one in judges) > 1:
            raise UserError(f"study {study.name} has judge {judge} twice", "leave one of them out")
    for assignment in assignments:
        if not any(assignment in judge.assignments for judge in judges):
            raise UserError(
                f"no judge of study {study.name} has settings {_section(assignment)}",
                f"leave out --set {assignment}",
            )
    return judges


def task_names_of(judging: Judging, outputs: Place) -> tuple[str, ...]:
    """Look at all that arms will be judged by, before any training; the names of the tasks.

    Raises:
        UserError: a task cannot be read or drawn from, there is no decoder, or a setting is refused.
    """
    settings = [_settings(judging, judge) for judge in judging.judges]
    _check_decoder(judging)
    tasks = read_tasks(judging.request(judging.judges[0]))
    for judge, chosen in zip(judging.judges, settings, strict=True):
        plan = Plan(judging.request(judge), chosen, tasks, (), outputs)
        try:
            judge.protocol.units(plan)  # of no encoder: draws and categories alone are looked at
        except UserError as error:
            raise _told(judge, error) from None
    return tuple(one.task.name for one in tasks)


def _judge(spec: JudgeSpec, draws: int | None, assignments: Sequence[str]) -> Judge:
    protocol = PROTOCOLS[spec.protocol]
    mode = spec.mode or protocol.modes[0]
    if mode not in protocol.modes:
        raise UserError(
            f"judge {protocol.name} has no mode {mode!r}", f"valid modes: {', '.join(protocol.modes)}"
        )
    if protocol.draws is None and spec.draws not in (None, 1):
        raise UserError(f"judge {protocol.name} draws nothing", "leave out its draws")
    usual = spec.draws or min(protocol.draws or 1, MOST_DRAWS)
    sections = _sections(protocol, mode)
    own = (*spec.settings, *(one for one in assignments if _section(one) in sections))
    return Judge(protocol, mode, draws if draws and protocol.draws else usual, own, spec.arms)


def _sections(protocol: Protocol, mode: str) -> Mapping[str, Frozen]:
    request = EvaluationRequest(tasks=(), data=None, encoders=(), mode=mode)
    return {**protocol.settings(request), RUN: Running()}


def _section(assignment: str) -> str:
    return assignment.partition("=")[0].partition(".")[0].strip()


def _settings(judging: Judging, judge: Judge) -> Mapping[str, Frozen]:
    sections = {**judge.protocol.settings(judging.request(judge)), RUN: Running()}
    try:
        return overridden(sections, judge.assignments)
    except UserError as error:
        raise _told(judge, error) from None


def _check_decoder(judging: Judging) -> None:
    if judging.decoder is None:
        return
    if not any(judge.protocol is FEW_SHOT for judge in judging.judges):
        raise UserError("--decoder does nothing: arms are not judged by few_shot", "leave it out")
    place(judging.decoder).require()


def _told(judge: Judge, error: UserError) -> UserError:
    return UserError(f"judge {judge}: {error.problem}", error.remedy)
