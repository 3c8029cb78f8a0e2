"""Curation policies as TOML files that people read and edit; docs/policies.md explains every line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from mricore.config.curation import Curation
from mricore.errors import UserError

_FIELDS: dict[str, dict[str, str]] = {
    "anatomy": {"exclude": "exclude_locations", "unknown": "unknown_location"},
    "exclude": {"words": "exclude_words"},
    "sampling": {name: name for name in ("exams_per_protocol", "one_exam_per_patient", "seed")},
    "protocol": {"name": "name", "any": "any_of", "not": "none_of"},
    "volumes": {name: name for name in ("min_slices", "min_pixels", "spacing_tolerance")},
    "duplicates": {name: name for name in ("repeated_volumes", "near_duplicates")},
    "store": {name: name for name in ("slices_per_shard", "slices_per_row_group")},
}
"""Sections and keys of a file, and the settings of ``Curation`` (or ``Protocol``) that they stand for."""
_KEYS = {field: key for section in _FIELDS.values() for key, field in section.items()}
_SECTION_OF = {field: section for section, keys in _FIELDS.items() for field in keys.values()}
_REMEDIES = {
    "missing": "add this key",
    "too_short": "write at least one word or phrase",
    "string_too_short": "write a name",
    "tuple_type": 'write a list in square brackets, e.g. ["knee", "knie"]',
    "string_type": "write a text in quotation marks",
    "bool_type": "write true or false, without quotation marks",
    "int_type": "write a whole number, without quotation marks",
    "float_type": "write a number, without quotation marks",
}
"""What to do about pydantic's kinds of error."""


def policy_names() -> tuple[str, ...]:
    """The policies that come with mricore."""
    files = (Path(file.name) for file in _shipped().iterdir())
    return tuple(sorted(file.stem for file in files if file.suffix == ".toml"))


def load_policy(path_or_name: str) -> Curation:
    """The policy of a TOML file, or of one that comes with mricore; what it does not say is as in "body".

    Raises:
        UserError: there is no such policy, it cannot be read, or it says something that is not understood.
    """
    try:
        document = tomllib.loads(_content(path_or_name))
    except UnicodeDecodeError:
        raise UserError(f"policy {path_or_name} is not UTF-8 text", "save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"policy {path_or_name}: {error}", "compare the line with a shipped policy") from None
    settings = _settings(path_or_name, document)
    try:
        return Curation.model_validate_json(json.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        raise _refusal(path_or_name, error.errors()[0], settings) from None


def _shipped() -> Traversable:
    return resources.files("mricore.config") / "policies"


def _content(path_or_name: str) -> str:
    try:
        if path_or_name in policy_names():
            return (_shipped() / f"{path_or_name}.toml").read_text("utf-8")
        return Path(path_or_name).expanduser().read_text("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"policy {path_or_name!r} cannot be read ({error.strerror})",
            f"choose one of: {', '.join(policy_names())}; or give the path of a TOML file",
        ) from None


def _settings(source: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Flat settings of ``Curation``, unchecked but for their names."""
    _refuse_unknown(f"policy {source}: section", document, _FIELDS)
    settings: dict[str, Any] = {}
    for section, content in document.items():
        if section == "protocol":
            if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
                raise UserError(f"policy {source}: [protocol] is not a list", "write [[protocol]]")
            settings["protocols"] = [
                _renamed(f"policy {source}: protocol {number}", one, _FIELDS[section])
                for number, one in enumerate(content, 1)
            ]
        elif isinstance(content, dict):
            settings |= _renamed(f"policy {source}: [{section}]", content, _FIELDS[section])
        else:
            raise UserError(
                f"policy {source}: {section} is not a section", f"write [{section}] above its keys"
            )
    return settings


def _renamed(where: str, content: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    _refuse_unknown(f"{where}: key", content, fields)
    return {fields[key]: value for key, value in content.items()}


def _refuse_unknown(where: str, names: Iterable[str], known: Iterable[str]) -> None:
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise UserError(f"{where} {unknown!r} is unknown", f"valid names: {', '.join(known)}")


def _refusal(source: str, error: ErrorDetails, settings: Mapping[str, Any]) -> UserError:
    """The first thing that the schema does not accept, in the words of the file."""
    where = f"policy {source}: {_place(error['loc'], settings)}"
    if error["type"] == "literal_error":
        problem = f"{where}: {error['input']!r} is unknown"
        return UserError(problem, f"valid names: {error['ctx']['expected']}")
    remedy = _REMEDIES.get(error["type"], "correct it; docs/policies.md explains every line")
    return UserError(f"{where}: {error['msg'].removeprefix('Value error, ')}", remedy)


def _place(location: tuple[int | str, ...], settings: Mapping[str, Any]) -> str:
    """Section and key of a setting, or the name of a protocol and its key."""
    field, *rest = location
    if field != "protocols":
        return f"[{_SECTION_OF[str(field)]}] {_KEYS[str(field)]}"
    if not rest:
        return "[[protocol]]"
    number, *inner = rest
    name = settings["protocols"][number].get("name", "without a name")
    key = f", {_KEYS[str(inner[0])]}" if inner else ""
    return f"protocol {int(number) + 1} ({name}){key}"
