"""Publish an encoder: a version with its card, and the alias if the gate lets it pass; or move the alias."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mricore.config.overrides import overridden
from mricore.config.promotion import Promotion
from mricore.config.schema import Tracking
from mricore.errors import UserError
from mricore.evaluation.measurements import Measurement, to_csv
from mricore.evaluation.units import SUMMARY
from mricore.registry import champion as registry
from mricore.registry.champion import Champion
from mricore.registry.gate import Verdict, judge
from mricore.registry.lineage import lineage, logged_evaluations
from mricore.registry.load import version_of
from mricore.registry.publish import Version, tracking_at
from mricore.study_records import EVALUATIONS
from mricore.training.place import Home, home
from mricore.workflows.candidates import STUDIES, candidate_of
from mricore.workflows.publication import Candidate, registered
from mricore.workflows.publish_evaluations import (
    Evaluation,
    common_rows,
    leak_lines,
    log_evaluations,
    read_evaluations,
    score_lines,
)

SECTION = "promotion"
"""The name of the rule among settings: ``--set promotion.margin=0.01``."""
_NO_REASON = "no reason was given"


@dataclass(frozen=True)
class PublishRequest:
    """The command line of ``jobs/publish.py``; one of ``run``, ``demote``, ``rollback``, ``lineage``."""

    run: str | None
    name: str
    alias: str
    out: str | None = None
    evaluations: tuple[str, ...] = ()
    assignments: tuple[str, ...] = ()
    demote: bool = False
    rollback: str | None = None
    reason: str = ""
    lineage: str | None = None


def request_of(options: argparse.Namespace) -> PublishRequest:
    """The parsed command line, lists as tuples."""
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in vars(options).items()
    }
    return PublishRequest(**given)


def publish(request: PublishRequest) -> None:
    """Do what was asked for and say what became of it.

    Raises:
        UserError: not exactly one thing is asked for, something is not there, or MLflow does not answer.
    """
    asked = (request.run, request.demote, request.rollback, request.lineage)
    if sum(bool(one) for one in asked) != 1:
        raise UserError(
            "nothing to do, or several things at once",
            "give RUN, --demote, --rollback VERSION or --lineage URI",
        )
    if request.rollback and not request.reason:
        raise UserError("--rollback passes by the gate", "say why with --reason TEXT")
    _require_names(request)
    where = home(request.out)
    registry.require_registry(where)
    if request.demote:
        lines = _demoted(request, where)
    elif request.rollback:
        lines = _rolled_back(request, where, request.rollback)
    elif request.lineage:
        lines = _lineage(request.lineage, where)
    else:
        lines = _published(request, where, str(request.run))
    for line in lines:
        print(line, flush=True)


def _require_names(request: PublishRequest) -> None:
    """MLflow would refuse what the settings of a training refuse, but as if it were out of order itself."""
    try:
        Tracking(model_name=request.name, alias=request.alias)
    except ValidationError:
        raise UserError(
            f"MLflow takes no model {request.name!r} with an alias {request.alias!r}",
            "names have no / and no :; aliases are of letters, digits, _ and -, and not like latest or v3",
        ) from None


def _published(request: PublishRequest, where: Home, run: str) -> Iterator[str]:
    rule = _rule(request)
    evaluations = read_evaluations(_folders(request, where, run))
    candidate = candidate_of(run, where)
    against = registry.champion(where, request.name, request.alias)
    # what cannot be compared is refused before anything is written
    rows = common_rows(evaluations, candidate.digest, against.digest) if against else []
    verdict = judge(rows, rule)
    version = _registered(request, where, candidate, evaluations)
    yield f"version:  models:/{request.name}/{version.number}, encoder {candidate.digest[:16]}"
    yield from leak_lines(evaluations, candidate.digest)
    clear = _without_gate(request, candidate, version, against)
    if against is None or clear:
        yield clear or _lost_it(request, version)
    elif not verdict.findings:
        yield _how_to_judge(request, version, against, run)
    else:
        basis = f"margin {rule.margin:g}, rows {_key(rows)}"
        yield from _gate(request, where, version, against, verdict, basis)


def _registered(
    request: PublishRequest, where: Home, candidate: Candidate, evaluations: Sequence[Evaluation]
) -> Version:
    """The version with its card, and the evaluations logged beside it."""
    logged = logged_evaluations(request.name, candidate.digest, where.tracking_uri)
    scores = score_lines(evaluations, candidate.digest, logged)
    leaks = leak_lines(evaluations, candidate.digest, logged)
    with tempfile.TemporaryDirectory() as folder:
        version = registered(candidate, Path(folder), where, request.name, request.alias, scores, leaks)
    address = f"models:/{request.name}/{version.number}"
    log_evaluations(evaluations, candidate.embedder, candidate.digest, address, where)
    return version


def _gate(
    request: PublishRequest, where: Home, version: Version, against: Champion, verdict: Verdict, basis: str
) -> Iterator[str]:
    """Tell what the gate found, write it down, and move the alias if the candidate passes."""
    name, alias, number = request.name, request.alias, version.number
    yield f"gate:     version {number} minus {alias}, version {against.number}"
    yield from (f"          {finding}" for finding in verdict.findings)
    why = f"gate against version {against.number}, {basis}: {verdict}"
    registry.note(where, name, number, ("passed; " if verdict.passes else "stopped; ") + why)
    if verdict.passes:
        registry.promote(where, name, alias, number, against.number, why)
        yield f"verdict:  models:/{name}@{alias} is version {number} now: {verdict}"
    else:
        yield f"verdict:  version {against.number} stays {alias}: {verdict}"


def _without_gate(
    request: PublishRequest, candidate: Candidate, version: Version, against: Champion | None
) -> str:
    """What is clear without a comparison; empty if the gate must decide."""
    address = f"models:/{request.name}@{request.alias}"
    if version.alias:
        had_it = against is not None and against.number == version.number
        return f"verdict:  {address} is this version {'already' if had_it else 'now, without a comparison'}"
    if candidate.illness:
        return f"verdict:  this version takes no alias: it was ill at the end ({candidate.illness})"
    if candidate.is_phantom and against is not None and not against.is_phantom:
        why = "it is of real data, this one of phantoms"
        return f"verdict:  version {against.number} stays {request.alias}: {why}"
    return ""


def _lost_it(request: PublishRequest, version: Version) -> str:
    return (
        f"verdict:  this version lost {request.alias} before and takes it by nobody's decision but yours: "
        f"`python jobs/publish.py --rollback {version.number} --name {request.name} --alias {request.alias} "
        "--reason TEXT`"
    )


def _how_to_judge(request: PublishRequest, version: Version, against: Champion, run: str) -> str:
    model, out = f"models:/{request.name}", f" --out {request.out}" if request.out else ""
    folder = f"outputs/evaluation/{request.name}-{version.number}-{against.number}"
    alias = f" --alias {request.alias}" if request.alias != "champion" else ""
    judging = (
        f"python eval/few_shot.py TASK=ROOT --encoder candidate={model}/{version.number} "
        f"--encoder champion={model}/{against.number} --baseline champion --out {folder}"
    )
    again = f"python jobs/publish.py {run} --name {request.name}{alias}{out} --evaluation {folder}"
    return (
        f"verdict:  version {against.number} stays {request.alias}: no evaluation judged both. "
        f"Run `{judging}`, then `{again}`"
    )


def _folders(request: PublishRequest, where: Home, run: str) -> list[str]:
    """The evaluations that were given, and of an arm those of its study."""
    folders = list(request.evaluations)
    if run.startswith(STUDIES):
        own = f"{'/'.join(run.split('/')[:2])}/{EVALUATIONS}"
        found = (name.removeprefix(f"{own}/").split("/") for name in where.outputs.names(own))
        judges = [parts[0] for parts in found if parts[1:] == [SUMMARY]]
        folders += [where.outputs.joined(f"{own}/{judge}") for judge in judges]
    return list(dict.fromkeys(folders))


def _rule(request: PublishRequest) -> Promotion:
    found = overridden({SECTION: Promotion()}, request.assignments)[SECTION]
    if not isinstance(found, Promotion):
        raise TypeError(f"section {SECTION} has {type(found).__name__}")
    return found


def _key(rows: list[Measurement]) -> str:
    """Digits by which the compared rows are known again."""
    return hashlib.sha256(to_csv(rows)).hexdigest()[:12]


def _demoted(request: PublishRequest, where: Home) -> Iterator[str]:
    was, now = registry.demote(where, request.name, request.alias, f"demoted: {request.reason or _NO_REASON}")
    address = f"models:/{request.name}@{request.alias}"
    yield f"version {was} is no longer {request.alias}; " + (
        f"{address} is version {now} again" if now else f"there was none before, so {address} is nobody"
    )


def _rolled_back(request: PublishRequest, where: Home, number: str) -> Iterator[str]:
    registry.roll_back(where, request.name, request.alias, number, f"rollback: {request.reason}")
    yield f"models:/{request.name}@{request.alias} is version {number}: {request.reason}"


def _lineage(uri: str, where: Home) -> Iterator[str]:
    with tracking_at(where.tracking_uri):
        version = version_of(uri)
    model, _, number = version.removeprefix("models:/").rpartition("/")
    if not model or not number.isdecimal():
        raise UserError(f"{uri} names no version", "give models:/name@alias or models:/name/3")
    yield from lineage(model, number, where.tracking_uri).lines()
