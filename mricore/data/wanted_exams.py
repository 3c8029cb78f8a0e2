"""From a hospital's table of exams to what selection asks: each exam's protocol, or the reason against it."""

from __future__ import annotations

from mricore.config.curation import Curation
from mricore.data.choice import Table
from mricore.data.exam_table import ExamTable
from mricore.imaging.anatomy import locations_in
from mricore.imaging.protocols import protocol_of_exam
from mricore.imaging.pseudonyms import Pseudonymizer
from mricore.records import Reason


def wanted_exams(table: ExamTable, policy: Curation, pseudonymizer: Pseudonymizer) -> Table:
    """The protocol of each exam by its keys. A report type that names excluded anatomy rules an exam out.

    Without protocols in the policy a report type becomes a pseudonym, as its words are free text.
    """
    judged: dict[tuple[str, ...], str | Reason] = {}
    for types in set(table.types.values()):
        judged[types] = _protocol(types, policy, pseudonymizer)
    return {key: judged[types] for key, types in table.types.items()}


def _protocol(types: tuple[str, ...], policy: Curation, pseudonymizer: Pseudonymizer) -> str | Reason:
    if any(place in policy.exclude_locations for text in types for place in locations_in(text)):
        return Reason.FACIAL_ANATOMY
    found = protocol_of_exam(types, policy)
    if found is None:
        return Reason.PROTOCOL_NOT_WANTED
    return found if policy.protocols else pseudonymizer.pseudonym("protocol", found)
