"""Curation policies as TOML files that people read and edit; docs/policies.md explains every line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mricore.config.curation import Curation
from mricore.config.documents import Documents, refuse_unknown
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
_FILES = Documents("policy", "policies", "docs/policies.md")


def policy_names() -> tuple[str, ...]:
    """The policies that come with mricore."""
    return _FILES.names()


def load_policy(path_or_name: str) -> Curation:
    """The policy of a TOML file, or of one that comes with mricore; what it does not say is as in "body".

    Raises:
        UserError: there is no such policy, it cannot be read, or it says something that is not understood.
    """
    settings = _settings(path_or_name, _FILES.load(path_or_name))
    try:
        return Curation.model_validate_json(json.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = f"policy {path_or_name}: {_place(first['loc'], settings)}"
        raise _FILES.refusal(where, first) from None


def _settings(source: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Flat settings of ``Curation``, unchecked but for their names."""
    refuse_unknown(f"policy {source}: section", document, _FIELDS)
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
    refuse_unknown(f"{where}: key", content, fields)
    return {fields[key]: value for key, value in content.items()}


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
