"""TOML files that users write, or that come with mricore by name; a mistake is told in one line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic_core import ErrorDetails

from mricore.errors import UserError

_REMEDIES = {
    "missing": "add this key",
    "too_short": "write at least one",
    "string_too_short": "write a name",
    "tuple_type": 'write a list in square brackets, e.g. ["knee", "knie"]',
    "string_type": "write a text in quotation marks",
    "bool_type": "write true or false, without quotation marks",
    "int_type": "write a whole number, without quotation marks",
    "float_type": "write a number, without quotation marks",
}
"""What to do about pydantic's kinds of error."""


_POSITION = re.compile(r" \(at [^()]*\)$")


class Documents:
    """Files of one kind: ``kind`` is what users call one, ``folder`` (of mricore.config) has the shipped."""

    def __init__(self, kind: str, folder: str, manual: str) -> None:
        """``manual`` is the page that explains every line."""
        self.kind = kind
        self._folder = folder
        self._manual = manual

    def names(self) -> tuple[str, ...]:
        """Those that come with mricore."""
        files = (Path(file.name) for file in self._shipped().iterdir())
        return tuple(sorted(file.stem for file in files if file.suffix == ".toml"))

    def load(self, path_or_name: str) -> dict[str, Any]:
        """The content of a file, or of a shipped one.

        Raises:
            UserError: there is none, or it is not TOML.
        """
        what = f"{self.kind} {path_or_name}"
        try:
            return tomllib.loads(self._content(path_or_name))
        except UnicodeDecodeError:
            raise UserError(f"{what} is not UTF-8 text", "save it as UTF-8") from None
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{what} is not TOML{_problem(error)}", f"compare the line with a shipped {self.kind}"
            ) from None

    def refusal(self, where: str, error: ErrorDetails) -> UserError:
        """What a schema does not accept ``where`` in a file, in words of the file."""
        if error["type"] == "literal_error":
            problem = f"{where}: {error['input']!r} is unknown"
            return UserError(problem, f"valid names: {error['ctx']['expected']}")
        remedy = _REMEDIES.get(error["type"], f"correct it; {self._manual} explains every line")
        return UserError(f"{where}: {error['msg'].removeprefix('Value error, ')}", remedy)

    def _shipped(self) -> Traversable:
        return resources.files("mricore.config") / self._folder

    def _content(self, path_or_name: str) -> str:
        try:
            if path_or_name in self.names():
                return (self._shipped() / f"{path_or_name}.toml").read_text("utf-8")
            return Path(path_or_name).expanduser().read_text("utf-8-sig")
        except (OSError, RuntimeError) as error:
            cause = error.strerror if isinstance(error, OSError) else "no such home folder"
            raise UserError(
                f"{self.kind} {path_or_name!r} cannot be read ({cause})",
                f"choose one of: {', '.join(self.names())}; or give the path of a TOML file",
            ) from None


def _problem(error: Exception) -> str:
    """What the parser says, or only where, if it quotes something: a key may name a patient."""
    if not isinstance(error, tomllib.TOMLDecodeError):
        return ""
    found = _POSITION.search(str(error))
    if {"'", '"'} & set(str(error)):
        return found[0] if found else ""
    return f": {error}"


def refuse_unknown(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse the first of ``names`` that is not among ``known``.

    Raises:
        UserError: there is one.
    """
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise UserError(f"{where} {unknown!r} is unknown", f"valid names: {', '.join(known)}")
