"""Rows of the tables about a curation: what remained, what was left out, and by which policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mricore.config.curation import Curation
from mricore.report.reasons import EXPLANATIONS

COUNTED = ("files", "images", "series", "volumes", "exams", "patients", "protocols")
"""What a step of the funnel may count, in the order of columns."""
LEVELS = {"file": "Files", "image": "Images", "series": "Series", "volume": "Volumes", "exam": "Exams"}


@dataclass(frozen=True)
class FunnelTable:
    """The steps of a curation, and the counts that at least one of them has."""

    columns: list[str]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class RejectRow:
    """A reason with its count, what it means, and what to do about it."""

    code: str
    count: int
    meaning: str
    remedy: str


@dataclass(frozen=True)
class RejectGroup:
    """What was left out at one level, the most frequent reason first."""

    heading: str
    rows: list[RejectRow]


def funnel_table(funnel: Sequence[Mapping[str, Any]]) -> FunnelTable:
    """The funnel with the columns that it needs."""
    return FunnelTable([name for name in COUNTED if any(name in row for row in funnel)], funnel)


def reject_groups(rejected: Sequence[Mapping[str, Any]]) -> list[RejectGroup]:
    """Rows of level, reason and count, by level, as counts of different levels do not add up."""
    ranks = {level: rank for rank, level in enumerate(LEVELS)}
    levels = sorted({row["level"] for row in rejected}, key=lambda level: (ranks.get(level, 9), level))
    return [
        RejectGroup(
            LEVELS.get(level, level),
            sorted(
                (_reject_row(row) for row in rejected if row["level"] == level),
                key=lambda one: (-one.count, one.code),
            ),
        )
        for level in levels
    ]


def setting_rows(policy: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of each setting of a policy but its protocols, as a policy file words them."""
    ranks = {name: rank for rank, name in enumerate(Curation.model_fields)}
    names = sorted(policy, key=lambda name: (ranks.get(name, len(ranks)), name))
    return [(name, _told(policy[name])) for name in names if name != "protocols"]


def protocol_rows(policy: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, wanted phrases and unwanted phrases of each protocol of a policy, in its order."""
    return [(one["name"], _told(one["any_of"]), _told(one["none_of"])) for one in policy.get("protocols", ())]


def faces_let_in(policy: Mapping[str, Any]) -> list[str]:
    """The face-bearing anatomy that a policy does not leave out; its defaults leave out all of it."""
    face_bearing = Curation().exclude_locations
    return [name for name in face_bearing if name not in policy.get("exclude_locations", face_bearing)]


def _reject_row(row: Mapping[str, Any]) -> RejectRow:
    known = EXPLANATIONS.get(row["reason"])
    code, count = row["reason"], row["count"]
    return RejectRow(code, count, known.meaning, known.remedy) if known else RejectRow(code, count, code, "")


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
