"""Settings of curation: what enters a dataset (paper section 4.1) and how it is stored."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from mricore.config.fields import Frozen, Seed

Location = Literal[
    "brain",
    "head",
    "face",
    "neck",
    "cervical_spine",
    "lumbar_spine",
    "thoracic_spine",
    "spine",
    "prostate",
    "heart",
    "breast",
    "chest",
    "abdomen",
    "pelvis",
    "hip",
    "thigh",
    "knee",
    "lower_leg",
    "ankle",
    "foot",
    "shoulder",
    "upper_arm",
    "elbow",
    "forearm",
    "wrist",
    "hand",
    "extremity",
    "whole_body",
]
"""Names of anatomy that a policy may use; ``mricore.imaging.anatomy`` finds them in headers."""


def _with_letters(phrase: str) -> str:
    """Refuse what would match nothing: texts are compared by their Latin letters and digits."""
    if not re.search("[A-Z0-9]", unicodedata.normalize("NFKD", phrase).upper()):
        raise ValueError(f"{phrase!r} has no Latin letter and no digit, so it would never be found")
    return phrase


Phrase = Annotated[str, AfterValidator(_with_letters)]
"""One or more words, found as whole words whatever their case and accents."""


class Protocol(Frozen):
    """A kind of exam that a policy names: a text with one of ``any_of`` and with none of ``none_of``."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    any_of: tuple[Phrase, ...] = Field(min_length=1)
    none_of: tuple[Phrase, ...] = ()

    def __hash__(self) -> int:
        # protocols are looked up once per image, and their names are unique
        return hash(self.name)


def _unique_names(protocols: tuple[Protocol, ...]) -> tuple[Protocol, ...]:
    for name, count in Counter(protocol.name.casefold() for protocol in protocols).items():
        if count > 1:
            raise ValueError(f"{count} protocols have the name {name!r}")
    return protocols


class Curation(Frozen):
    """What enters a dataset (paper section 4.1) and how it is stored.

    ``mricore.config.policy`` reads it from a file that people edit; docs/policies.md explains each field.
    """

    seed: Seed = 0
    exclude_locations: tuple[Location, ...] = (
        "brain",
        "head",
        "face",
        "neck",
        "cervical_spine",
        "whole_body",
    )
    """Anatomy that shows a face."""
    unknown_location: Literal["exclude", "include"] = "exclude"
    """A series without any evidence of its anatomy may show a face, so it stays out by default."""
    exclude_words: tuple[Phrase, ...] = (
        *("autopsy", "necropsy", "post mortem", "postmortem", "cadaver", "specimen", "ex vivo"),
        *("animal", "veterinary"),
    )
    """An image whose descriptions contain one of these stays out."""
    protocols: Annotated[tuple[Protocol, ...], AfterValidator(_unique_names)] = ()
    """The exams that are wanted, the first match decides; if empty, every report type is a protocol."""
    exams_per_protocol: int = Field(150, ge=1)
    one_exam_per_patient: bool = True
    min_slices: int = Field(5, ge=1)
    min_pixels: int = Field(64, ge=1)
    """Smallest allowed number of rows and of columns."""
    spacing_tolerance: float = Field(0.1, gt=0)
    """Largest deviation of a slice distance from the volume's median, as a fraction of it."""
    repeated_volumes: Literal["keep", "drop"] = "drop"
    """The same pixels once more, e.g. sent twice under new UIDs: they tell nothing new and weigh double."""
    near_duplicates: Literal["keep", "drop"] = "keep"
    """Phases of a dynamic scan and repeats of a sequence look alike, yet each is an acquisition."""
    slices_per_shard: int = Field(512, ge=1)
    slices_per_row_group: int = Field(64, ge=1)
