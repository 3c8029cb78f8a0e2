"""``--set optimizer.lr=1e-4``: the one override language of the command line, studies and tests."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mricore.config.fields import Frozen
from mricore.config.idle import idle_because
from mricore.config.schema import Recipe
from mricore.errors import UserError

Section = TypeVar("Section", bound=Frozen)


def setting_paths(model: type[BaseModel] = Recipe, prefix: str = "") -> tuple[str, ...]:
    """All dotted paths that ``--set`` accepts, in the order of the schema."""
    paths: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            paths.extend(setting_paths(kind, f"{prefix}{name}."))
        else:
            paths.append(f"{prefix}{name}")
    return tuple(paths)


def apply_overrides(recipe: Recipe, assignments: Iterable[str], *, idle_too: bool = False) -> Recipe:
    """Return the recipe with ``path=value`` assignments applied, later ones winning.

    Values are read as JSON where they parse as JSON (numbers, true/false, lists), else as text.

    Raises:
        UserError: no ``=``, an unknown path (the message lists valid names), a value that the schema
            refuses, or (unless ``idle_too``) a setting that does nothing beside the others.
    """
    document = recipe.model_dump(mode="json")
    assigned = _assign_all(document, assignments, setting_paths())
    changed = validated(document)
    if not idle_too:
        _refuse_idle(recipe, changed, assigned)
    return changed


def overridden(sections: Mapping[str, Frozen], assignments: Iterable[str]) -> dict[str, Frozen]:
    """Named sections of settings with ``section.path=value`` assignments applied, later ones winning.

    Raises:
        UserError: as ``apply_overrides``.
    """
    document = {name: section.model_dump(mode="json") for name, section in sections.items()}
    known = [path for name, section in sections.items() for path in setting_paths(type(section), f"{name}.")]
    _assign_all(document, assignments, known)
    return {name: checked(type(section), document[name], name) for name, section in sections.items()}


def validated(document: Mapping[str, Any]) -> Recipe:
    """A recipe from plain data, e.g. one stored with a checkpoint; unknown names are refused.

    Raises:
        UserError: the schema refuses a value.
    """
    return checked(Recipe, document)


def checked(kind: type[Section], document: Mapping[str, Any], section: str = "") -> Section:
    """Settings of one kind from plain data; ``section`` is what stands before their names.

    Raises:
        UserError: the schema refuses a value.
    """
    try:
        return kind.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join([*([section] if section else []), *map(str, first["loc"])]) or "recipe"
        problem = first["msg"].removeprefix("Value error, ")
        raise UserError(f"setting {where}: {problem}", "correct the value given with --set") from None


def _assign_all(document: dict[str, Any], assignments: Iterable[str], known: Sequence[str]) -> list[str]:
    """Write assignments into plain data; the paths that were assigned."""
    assigned = []
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise UserError(
                f"--set {assignment!r} has no '='", f"write --set path=value, with a path such as {known[0]}"
            )
        _assign(document, path.strip(), _value(text.strip()), known)
        assigned.append(path.strip())
    return assigned


def _assign(document: dict[str, Any], path: str, value: object, known: Sequence[str]) -> None:
    if path not in known:
        section = path.rpartition(".")[0]
        names = [name for name in known if name.rpartition(".")[0] == section]
        close = difflib.get_close_matches(path, known, n=3, cutoff=0.5)
        names = close + [name for name in (names if names else known) if name not in close]
        raise UserError(f"unknown setting {path!r}", f"valid names: {', '.join(names)}")
    *sections, leaf = path.split(".")
    for section in sections:
        document = document[section]
    document[leaf] = value


def value_at(document: Mapping[str, Any], path: str) -> Any:
    """The value of a setting in plain data."""
    value: Any = document
    for part in path.split("."):
        value = value[part]
    return value


def _refuse_idle(before: Recipe, changed: Recipe, paths: Iterable[str]) -> None:
    """Repeating what a setting is already promises nothing, so it is no mistake."""
    documents = before.model_dump(mode="json"), changed.model_dump(mode="json")
    for path in paths:
        was, will_be = (value_at(document, path) for document in documents)
        if was != will_be and (reason := idle_because(changed, path)):
            raise UserError(f"setting {path} does nothing with {reason}", f"leave it out, or change {reason}")


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
