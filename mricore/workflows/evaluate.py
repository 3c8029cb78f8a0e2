"""An evaluation: tasks and encoders opened, units run, rows and verdicts written, scores told and logged."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from mricore.config.fields import Frozen
from mricore.config.overrides import overridden
from mricore.config.running import Running
from mricore.config.task import load_task
from mricore.data.cluster import ray_session
from mricore.data.storage import Place, place
from mricore.errors import UserError, shareable
from mricore.evaluation.comparison import Comparison
from mricore.evaluation.comparison_text import as_csv, as_text
from mricore.evaluation.contender import Contender
from mricore.evaluation.contenders import OWN, REGISTRY, Spec, digest_of, opened, parsed, with_decoder
from mricore.evaluation.measurements import to_csv
from mricore.evaluation.runner import Failure, Inputs, run_units
from mricore.evaluation.tasks.labelled_task import LabelledTask
from mricore.evaluation.tasks.reading import read_volumes
from mricore.evaluation.units import MEASUREMENTS, SUMMARY, Unit
from mricore.registry.load import folder_of, version_of
from mricore.revision import code_revision
from mricore.training.place import Home, home
from mricore.workflows.curated import Curated, curated_verdict, open_curated
from mricore.workflows.evaluation_arguments import EvaluationRequest
from mricore.workflows.evaluation_leaks import leak_verdicts
from mricore.workflows.evaluation_scores import compared, log_scores
from mricore.workflows.labelled_data import task_folder

COMPARISON = "comparison.csv"
RUN = "run"
"""The section of settings that all protocols have."""
EXIT_OUR_FAULT = 1
Section = TypeVar("Section", bound=Frozen)


class UnitsFailedError(UserError):
    """Units failed by what the user gave; all others are done, and written."""


@dataclass(frozen=True)
class Plan:
    """What units are made from; ``settings`` by section. There are tasks, or there is a curated dataset."""

    request: EvaluationRequest
    settings: Mapping[str, Frozen]
    tasks: Sequence[LabelledTask]
    contenders: Sequence[Contender]
    out: Place
    curated: Curated | None = None

    @property
    def digests(self) -> dict[str, str]:
        """Of the data that are judged on, by name."""
        found = {one.task.name: one.digest for one in self.tasks}
        return found | ({self.curated.name: self.curated.manifest.digest} if self.curated else {})

    @cached_property
    def inputs(self) -> dict[str, Callable[[], Any]]:
        """Tasks and encoders under the names that ``task_input`` and ``encoder_input`` give."""
        tasks = {task_input(one): _given(one) for one in self.tasks}
        return tasks | {encoder_input(one): _given(one) for one in self.contenders}

    def section(self, name: str, kind: type[Section]) -> Section:
        """The settings of a section.

        Raises:
            TypeError: it has settings of another kind.
        """
        found = self.settings[name]
        if not isinstance(found, kind):
            raise TypeError(f"section {name} has {type(found).__name__}")
        return found

    @property
    def running(self) -> Running:
        """What each unit gets."""
        return self.section(RUN, Running)

    def identity(self, labelled: LabelledTask, encoder: str, **settings: Any) -> dict[str, Any]:
        """What a unit's numbers depend on: digest of the ``encoder``, and ``settings`` of the protocol."""
        return {
            "data": labelled.digest,
            "encoder_digest": encoder,
            "seed": self.request.seed,
            "part": self.request.part,
            **settings,
        }


@dataclass(frozen=True)
class Protocol:
    """A protocol for ``evaluate``: its settings for a mode, and its units, with inputs of their own."""

    name: str
    settings: Callable[[EvaluationRequest], Mapping[str, Frozen]]
    units: Callable[[Plan], tuple[list[Unit], Inputs]]
    modes: tuple[str, ...]
    """The default first."""
    draws: int | None
    """By default; None where nothing is drawn."""


def task_input(labelled: LabelledTask) -> str:
    """The name of a task among the inputs of units."""
    return f"task {labelled.task.name}"


def encoder_input(contender: Contender) -> str:
    """The name of an encoder among the inputs of units."""
    return f"encoder {contender.name}"


def evaluate(request: EvaluationRequest, protocol: Protocol, tells: bool = True) -> None:
    """Run or continue an evaluation, and print what came of it and where everything is if it ``tells``.

    Raises:
        UserError: a setting, a task, an encoder or a place is not usable, or units failed by what was given.
        SystemExit: with code 1, if units failed by a fault of ours.
    """
    settings = overridden({**protocol.settings(request), RUN: Running()}, request.assignments)
    where = home(None)
    out = place(request.out) if request.out else Place(where.outputs.joined(f"evaluation/{protocol.name}"))
    out.require_writable()
    contenders = open_contenders(request.encoders, request.seed, request.decoder)
    _check_baseline(request, contenders)
    plan = Plan(request, settings, read_tasks(request), contenders, out, open_curated(request))
    leaks = _leaks(plan, where)
    with ray_session():
        units, inputs = protocol.units(plan)
        ran = run_units(units, {**plan.inputs, **inputs}, out, plan.running)
    out.write_bytes(MEASUREMENTS, to_csv(ran.rows))
    _write_summary(plan, protocol.name, units, leaks, ran.failures)
    comparison = compared(ran.rows, request.baseline)
    if isinstance(comparison, str):
        # one of before would be read as of these rows
        out.write_bytes(COMPARISON, as_csv(Comparison((), ())))
    else:
        out.write_bytes(COMPARISON, as_csv(comparison))
    if tells:
        print(
            f"encoders are not compared: {comparison}" if isinstance(comparison, str) else as_text(comparison)
        )
    if ran.failures:
        print("scores are not logged, as units failed")
    elif not isinstance(comparison, str):
        log_scores(plan.digests, contenders, ran.rows, comparison, leaks, where)
    if tells:
        print(_last_lines(out, leaks, request))
    _end(ran.failures, len(units))


def open_contenders(texts: Sequence[str], seed: int, decoder: str | None = None) -> list[Contender]:
    """All encoders, told one by one; random ones last, as they may have the architecture of others.

    Those without a decoder get the one of the file ``decoder``: see ``with_decoder``.

    Raises:
        UserError: an encoder cannot be had, or two are the same.
    """
    specs = parsed(texts)
    found: dict[str, Contender] = {}
    for spec in sorted(specs, key=lambda one: one.kind == "random"):
        contender = opened(_resolved(spec), seed, {name: one.embedder for name, one in found.items()})
        contender = with_decoder(contender, Path(decoder)) if decoder is not None else contender
        twin = next((name for name, one in found.items() if one.digest == contender.digest), None)
        if twin is not None:
            raise UserError(f"{spec.name} and {twin} are the same encoder", "leave one of them out")
        found[spec.name] = contender
    in_order = [found[spec.name] for spec in specs]
    for one in in_order:
        print(f"encoder: {one.name}: {one.origin}, digest {one.digest[:12]}", flush=True)
    return in_order


def read_tasks(request: EvaluationRequest) -> list[LabelledTask]:
    """All tasks with their data, told one by one.

    Raises:
        UserError: a task or its data cannot be read, no folder is given, or a task is named twice.
    """
    found: list[LabelledTask] = []
    for text in request.tasks:
        name, _, root = text.partition("=")
        labelled = read_volumes(load_task(name), task_folder(name, root or request.data))
        if any(one.task.name == labelled.task.name for one in found):
            raise UserError(f"task {labelled.task.name} is named twice", "leave one of them out")
        if not labelled.of(request.part):
            raise UserError(
                f"task {labelled.task.name} has no patients in {request.part}", "give it a share in [split]"
            )
        print(_told(labelled), flush=True)
        # who is judged for choices must not know of those who are judged for what is published
        found.append(labelled.without("test") if request.part == "development" else labelled)
    return found


def _told(labelled: LabelledTask) -> str:
    parts = ", ".join(
        f"{len(labelled.split.patients(part))} patients in {part}" for part in ("pool", "development", "test")
    )
    left_out = "".join(f"; left out: {count} ({why})" for why, count in labelled.left_out.items())
    return f"task: {labelled.task.name}: {len(labelled.volumes)} volumes, {parts}{left_out}"


def _resolved(spec: Spec) -> Spec:
    """Versions of the registry become folders; their origin tells the version by its number."""
    if spec.kind != REGISTRY:
        return spec
    version = version_of(spec.source)
    return replace(spec, kind=OWN, source=str(folder_of(version)), origin=version)


def _check_baseline(request: EvaluationRequest, contenders: Sequence[Contender]) -> None:
    names = [one.name for one in contenders]
    if request.baseline is not None and request.baseline not in names:
        raise UserError(f"no encoder is named {request.baseline!r}", f"choose one of: {', '.join(names)}")


def _leaks(plan: Plan, where: Home) -> dict[str, str]:
    """A verdict for all that is judged on."""
    origins = [one.origin for one in plan.contenders]
    if plan.curated is not None:
        return {plan.curated.name: curated_verdict(plan.curated, origins, where)}
    return leak_verdicts(plan.tasks, plan.request.pretraining, origins, where)


def _given(value: Any) -> Callable[[], Any]:
    return lambda: value


def _write_summary(
    plan: Plan,
    protocol: str,
    units: Sequence[Unit],
    leaks: Mapping[str, str],
    failures: Sequence[Failure],
) -> None:
    """What the command was, beside its rows; no path of the user."""
    curated = plan.curated
    document = {
        "protocol": protocol,
        "mode": plan.request.mode,
        "draws": plan.request.draws,
        "seed": plan.request.seed,
        "part": plan.request.part,
        "baseline": plan.request.baseline,
        "settings": {name: one.model_dump(mode="json") for name, one in plan.settings.items()},
        "tasks": {
            one.task.name: {"title": one.task.title, "digest": one.digest, "left_out": dict(one.left_out)}
            for one in plan.tasks
        },
        "datasets": {curated.name: {"digest": curated.manifest.digest}} if curated else {},
        "encoders": {
            one.name: {
                "origin": one.origin,
                "digest": one.digest,
                "digest_alone": digest_of(one.embedder, {}),
                "has_decoder": bool(one.decoder),
            }
            for one in plan.contenders
        },
        "leaks": dict(leaks),
        "units": [unit.digest for unit in units],
        "failed": [shareable(str(one)) for one in failures],
        "code": code_revision(),
    }
    plan.out.write_bytes(SUMMARY, (json.dumps(document, indent=1) + "\n").encode())


def _last_lines(out: Place, leaks: Mapping[str, str], request: EvaluationRequest) -> str:
    told = [f"leaks:        {verdict}" for verdict in leaks.values()]
    baseline = f" --baseline '{request.baseline}'" if request.baseline else ""
    return "\n".join(
        [
            *told,
            f"measurements: {out.joined(MEASUREMENTS)}",
            f"comparison:   {out.joined(COMPARISON)}",
            f"evaluation:   {out.joined(SUMMARY)}",
            f"report:       python eval/report.py {out.uri}{baseline}",
        ]
    )


def _end(failures: Sequence[Failure], units: int) -> None:
    """Exit codes: 2 if what the user gave made units fail, 1 if a fault of ours did."""
    if not failures:
        return
    told = f"{len(failures)} of {units} units failed; all others are kept"
    if all(failure.is_users for failure in failures):
        raise UnitsFailedError(told, "mend what the lines above tell, then run the same command again")
    with suppress(BrokenPipeError):
        print(f"error: {told}; run the same command again to repeat them", file=sys.stderr)
    raise SystemExit(EXIT_OUR_FAULT)
