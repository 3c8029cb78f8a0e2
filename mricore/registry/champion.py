"""What publishing asks of the registry and tells it: who holds the alias, and that it moves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from mricore.errors import UserError
from mricore.registry.alias import Alias
from mricore.registry.publish import PHANTOMS, digest_of_version
from mricore.training.place import SQLITE, Home
from mricore.training.telemetry import answering, require_tracking

GATE = "gate"
"""Tag of a version: the latest verdict of the gate on it."""


@dataclass(frozen=True)
class Champion:
    """The version that holds an alias, and what the gate asks of it."""

    number: str
    digest: str
    is_phantom: bool


def require_registry(where: Home) -> None:
    """Make sure that there is a registry and that it answers; none is made.

    Raises:
        UserError: there is none, or it does not.
    """
    path = Path(where.tracking_uri.removeprefix(SQLITE).partition("?")[0])
    if where.tracking_uri.startswith(SQLITE) and not path.exists():
        raise UserError(f"there is no registry {path}", "check MLFLOW_TRACKING_URI or the working folder")
    require_tracking(where)


def champion(where: Home, model: str, alias: str) -> Champion | None:
    """The holder of the alias, or None.

    Raises:
        UserError: the registry does not answer, or the holder's files cannot be had.
    """
    with answering(where.tracking_uri):
        held = _alias(where, model, alias)
        number = held.holder()
        if number is None:
            return None
        digest = digest_of_version(held.client, where.tracking_uri, model, number)
        return Champion(number, digest, held.tags(number).get(PHANTOMS) == "True")


def note(where: Home, model: str, number: str, verdict: str) -> None:
    """Write the verdict of the gate beside the version that it is on.

    Raises:
        UserError: the registry does not answer.
    """
    with answering(where.tracking_uri):
        _alias(where, model, "").client.set_model_version_tag(model, number, GATE, verdict)


def promote(where: Home, model: str, alias: str, number: str, over: str, why: str) -> None:
    """Move the alias from version ``over``, which was compared, to ``number``.

    Raises:
        UserError: the registry does not answer, or another version has the alias by now.
    """
    with answering(where.tracking_uri):
        held = _alias(where, model, alias)
        holder = held.holder()
        if holder != over:
            raise UserError(
                f"version {holder} of {model} became {alias} meanwhile", "compare with it, and publish again"
            )
        held.give(number, why)


def roll_back(where: Home, model: str, alias: str, number: str, why: str) -> None:
    """Give the alias to a version whatever the gate says.

    Raises:
        UserError: the registry does not answer, or there is no such version.
    """
    with answering(where.tracking_uri):
        _alias(where, model, alias).give(number, why)


def demote(where: Home, model: str, alias: str, why: str) -> tuple[str, str | None]:
    """Take the alias from its holder, back to the version before; (holder, version before or None).

    Raises:
        UserError: the registry does not answer, nobody holds the alias, or it is not known who did before.
    """
    with answering(where.tracking_uri):
        return _alias(where, model, alias).take_back(why)


def _alias(where: Home, model: str, alias: str) -> Alias:
    return Alias(MlflowClient(where.tracking_uri, where.tracking_uri), model, alias)
