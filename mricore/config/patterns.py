"""Patterns of file names with placeholders: ``images/{case}.nii.gz`` finds files and tells their parts.

``{name}`` stands for any text without a slash, ``{name:REGEX}`` for what a regular expression fits, and ``*``
for any text without a slash that does not matter. A name that comes twice stands for the same text twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property

_TOKEN = re.compile(r"\{(?P<name>[a-z][a-z0-9_]*)(?::(?P<regex>(?:[^{}]|\{[^{}]*\})+))?\}|(?P<any>\*)")
_ANY = "[^/]+"


class Pattern:
    """A pattern of paths below a folder, with ``/`` between folders."""

    def __init__(self, text: str) -> None:
        """Understand a pattern.

        Raises:
            ValueError: braces without a name, or a regular expression that is not one.
        """
        self.text = text
        self._regex = self._compiled()

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """The names in braces."""
        return tuple(self._regex.groupindex)

    def match(self, path: str) -> dict[str, str] | None:
        """What the placeholders stand for in a path that fits, else None."""
        found = self._regex.fullmatch(path)
        return found.groupdict() if found else None

    def _compiled(self) -> re.Pattern[str]:
        parts, end, known = [], 0, set[str]()
        for token in _TOKEN.finditer(self.text):
            parts.append(_literal(self.text[end : token.start()]))
            end, name = token.end(), token["name"]
            if token["any"]:
                parts.append("[^/]*")
            elif name in known:
                parts.append(f"(?P={name})")
            else:
                known.add(name)
                parts.append(f"(?P<{name}>{token['regex'] or _ANY})")
        parts.append(_literal(self.text[end:]))
        try:
            return re.compile("".join(parts))
        except re.error as error:
            raise ValueError(f"{self.text!r} holds a regular expression that is wrong: {error}") from None


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with ``{name}`` replaced by values.

    Raises:
        KeyError: there is no value for a name.
    """
    return _TOKEN.sub(lambda token: values[token["name"]] if token["name"] else token[0], template)


def names_in(template: str) -> tuple[str, ...]:
    """The names in braces of a template that is to be filled.

    Raises:
        ValueError: it has braces without a name, a regular expression, or a star.
    """
    tokens = list(_TOKEN.finditer(template))
    if any(token["any"] or token["regex"] for token in tokens):
        raise ValueError(f"{template!r} is filled in, so it takes names in braces but no * and no expression")
    _literal(_TOKEN.sub("", template))
    return tuple(dict.fromkeys(token["name"] for token in tokens))


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise ValueError("braces hold a name in small letters, e.g. {case} or {slice:[0-9]+}")
    return re.escape(text)
