"""Who holds an alias, and who held it before: each change is recorded in tags of the versions.

``ALIAS.previous`` of a version is the version that held the alias when this one took it ("none": nobody);
these tags form a chain from the present holder back to the first, along which ``demote`` goes. ``event.TIME``
tells every change in words and is never written again. Records come first and the alias, which moves in one
call, last: after an interruption the same command repeats what was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode
from mlflow.tracking import MlflowClient

from mricore.errors import UserError

NOBODY = "none"
EVENT = "event."


@dataclass(frozen=True)
class Alias:
    """An alias of a registered model."""

    client: MlflowClient
    model: str
    alias: str

    def holder(self) -> str | None:
        """The number of the version that holds the alias; None if none does, or there is no such model."""
        try:
            aliases = self.client.get_registered_model(self.model).aliases
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
                raise
            return None
        return str(aliases[self.alias]) if self.alias in aliases else None

    def tags(self, number: str) -> Mapping[str, str]:
        """The tags of a version.

        Raises:
            UserError: there is no such version.
        """
        try:
            tags: Mapping[str, str] = self.client.get_model_version(self.model, number).tags
        except MlflowException as error:
            if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST) or not number.isdecimal():
                raise UserError(
                    f"there is no version {number} of {self.model}", "give the number of a version"
                ) from None
            raise
        return tags

    def lost(self, number: str) -> bool:
        """Whether a version held the alias and it was taken from it.

        Raises:
            UserError: there is no such version.
        """
        return f"{self.alias}.demoted_at" in self.tags(number)

    def give(self, number: str, why: str) -> None:
        """Let a version hold the alias; ``why`` is recorded with it.

        A version that stands in the chain of the present holder keeps its place there, so that ``demote``
        still leads back to what came before it.

        Raises:
            UserError: there is no such version.
        """
        before = self.holder()
        self.tags(number)
        if before == number:
            return
        if number not in self.chain():
            self._tag(number, "previous", before or NOBODY)
        now = _now()
        self._tag(number, "promoted_at", now)
        self._tag(number, "promoted_by", why)
        self._record(number, now, f"took {self.alias} from {_named(before)}: {why}")
        if before is not None:
            self._gone(before, now, f"version {number} took its place: {why}")
        self.client.set_registered_model_alias(self.model, self.alias, number)

    def take_back(self, why: str) -> tuple[str, str | None]:
        """Take the alias from its holder and give it to the one before; (holder, one before or None).

        Raises:
            UserError: nobody holds the alias, or it is not known who did before.
        """
        holder = self.holder()
        if holder is None:
            raise UserError(
                f"models:/{self.model} has no {self.alias}", "publish a run, or use --rollback VERSION"
            )
        before = self.tags(holder).get(f"{self.alias}.previous")
        if before is None:
            raise UserError(
                f"it is not recorded who was {self.alias} before version {holder}",
                "choose one with --rollback VERSION --reason TEXT",
            )
        now = _now()
        if before == NOBODY:
            self._gone(holder, now, why)
            self.client.delete_registered_model_alias(self.model, self.alias)
            return holder, None
        self.tags(before)
        self._gone(holder, now, why)
        self._record(before, now, f"got {self.alias} back from version {holder}: {why}")
        self.client.set_registered_model_alias(self.model, self.alias, before)
        return holder, before

    def chain(self) -> list[str]:
        """Numbers of the versions that held the alias, from the present holder to the first."""
        found: list[str] = []
        number = self.holder()
        while number is not None and number != NOBODY and number not in found:
            found.append(number)
            try:
                number = self.tags(number).get(f"{self.alias}.previous")
            except UserError:  # deleted since: nothing is known of what came before it
                break
        return found

    def _gone(self, number: str, now: str, why: str) -> None:
        self._tag(number, "demoted_at", now)
        self._tag(number, "demoted_by", why)
        self._record(number, now, f"lost {self.alias}: {why}")

    def _tag(self, number: str, key: str, value: str) -> None:
        self.client.set_model_version_tag(self.model, number, f"{self.alias}.{key}", value)

    def _record(self, number: str, now: str, what: str) -> None:
        self.client.set_model_version_tag(self.model, number, f"{EVENT}{now}", what)


def events(tags: Mapping[str, str]) -> list[str]:
    """What happened to a version, in the order of time, from its tags."""
    return [f"{key.removeprefix(EVENT)} {tags[key]}" for key in sorted(tags) if key.startswith(EVENT)]


def _named(number: str | None) -> str:
    return "nobody" if number is None else f"version {number}"


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S.%fZ}"
