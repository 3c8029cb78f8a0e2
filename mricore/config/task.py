"""Labelled tasks as TOML files that people read and edit; docs/tasks.md explains every line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, ValidationError, field_validator, model_validator

from mricore.config.curation import Location
from mricore.config.documents import Documents, refuse_unknown
from mricore.config.fields import Frozen, Positive, Seed, Share
from mricore.config.patterns import Pattern, names_in
from mricore.errors import UserError

ANY = "any"
"""What stands for all classes as one in the name of a task (``vertebrae:any``)."""
FOREGROUND = "foreground"
"""The class of ``:any``."""
SLICE = "slice"
"""The placeholder of a slice in names of files; files that differ in nothing else are one volume."""
MOST_CLASSES = 254
_NAME = Field(pattern=r"^[a-z][a-z0-9_-]*$")
_CLASS = Field(pattern=r"^[^\s:+][^:+\n]*$", max_length=60)
Value = Annotated[int, Field(ge=0, lt=2**16)]
Text = Annotated[str, Field(min_length=1)]
Turn = Literal["header", 0, 90, 180, 270]
Axis = Literal["thickest", "axial", "coronal", "sagittal", 0, 1, 2]


def _relative(text: str) -> str:
    if text.startswith(("/", "~")) or ".." in text.split("/") or "\\" in text.split("{")[0]:
        raise ValueError("files must lie below the task's folder, with / between folders")
    return text


class Table(Frozen):
    """A CSV file with a header and a row per case; its columns are placeholders too.

    ``file`` is relative to the task's folder; ``key`` is the column that holds ``value``, a template.
    """

    file: Text
    key: Text
    value: Text


class Source(Frozen):
    """Which files hold images and masks, and how they lie.

    ``images`` is a pattern, ``masks`` are templates of which the first that exists counts, ``patient`` is a
    template (see ``mricore.config.patterns``). ``spacing`` is "header", or mm from slice to slice, row to row
    and column to column of the slices as they come out. ``slice_axis`` and a turn by the header are for
    NIfTI alone: the axis of the array (or the patient's plane) that slices follow, "thickest" for the axis
    along which voxels are longest, and how many degrees slices are turned to the left; "header" turns them as
    radiologists look at them. ``check_geometry``: whether image and mask must lie at the same place.
    """

    kind: Literal["nifti", "dicom", "png"]
    images: Text
    masks: tuple[Text, ...] = Field(min_length=1)
    patient: Text
    table: Table | None = None
    spacing: Literal["header"] | tuple[Positive, Positive, Positive] = "header"
    slice_axis: Axis = "thickest"
    turn: Turn = 0
    check_geometry: bool = True

    @field_validator("masks", mode="before")
    @classmethod
    def _one_or_some(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value

    @field_validator("images")
    @classmethod
    def _is_pattern(cls, text: str) -> str:
        Pattern(_relative(text))
        return text

    @field_validator("masks")
    @classmethod
    def _are_relative(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_relative(text) for text in texts)

    @model_validator(mode="after")
    def _consistent(self) -> Source:
        if self.kind == "png" and self.spacing == "header":
            raise ValueError("PNG files hold no spacing: write spacing = [slice, row, column] in mm")
        if self.kind == "png" and SLICE not in Pattern(self.images).placeholders:
            raise ValueError("images of PNG need {slice} in their pattern, which orders the slices")
        if self.kind == "nifti" and SLICE in Pattern(self.images).placeholders:
            raise ValueError("a NIfTI file is a volume: name its placeholder otherwise than {slice}")
        if self.kind != "nifti" and (self.turn == "header" or self.slice_axis != "thickest"):
            raise ValueError('slice_axis and turn = "header" are for NIfTI alone')
        self._check_templates()
        return self

    def _check_templates(self) -> None:
        known = Pattern(self.images).placeholders
        of_table = (self.table.value,) if self.table else ()
        for template in (*self.masks, self.patient, *of_table):
            unknown = [name for name in names_in(template) if name not in known]
            if unknown and (self.table is None or template in of_table):
                raise ValueError(f"{{{unknown[0]}}} is not in images, which has: {', '.join(known)}")
        if SLICE in names_in(self.patient):
            raise ValueError("a slice is no patient: patient must not hold {slice}")


class Category(Frozen):
    """What a whole volume belongs to: the filled template ``of``, and the word that outputs say for it.

    Only words of ``values`` ever leave; what is not listed is "unknown".
    """

    of: Text
    values: dict[str, Text] = Field(min_length=1)


class Shares(Frozen):
    """Patients are shuffled by ``seed`` and dealt in these shares."""

    pool: Share
    development: Share
    test: Share
    seed: Seed = 0

    @model_validator(mode="after")
    def _sum(self) -> Shares:
        if abs(self.pool + self.development + self.test - 1) > 1e-6:
            raise ValueError("the shares of pool, development and test must add up to 1")
        return self


class Lists(Frozen):
    """Patients by name, as ``patient`` of the source tells it: a file with such lists names patients."""

    pool: tuple[str, ...]
    development: tuple[str, ...] = ()
    test: tuple[str, ...]

    @model_validator(mode="after")
    def _once(self) -> Lists:
        listed = [*self.pool, *self.development, *self.test]
        if len(set(listed)) < len(listed):
            raise ValueError("a patient is listed twice")
        return self


def _kind_of_split(split: Any) -> str:
    pool = split.get("pool") if isinstance(split, dict) else getattr(split, "pool", None)
    return "lists" if isinstance(pool, list | tuple) else "shares"


Split = Annotated[
    Annotated[Shares, Tag("shares")] | Annotated[Lists, Tag("lists")], Discriminator(_kind_of_split)
]


class About(Frozen):
    """What a reader of scores needs to know of the data."""

    licence: Text
    where_to_get: Text
    notes: str = ""


class Pretraining(Frozen):
    """What the images are for those who pretrain on them without masks (``jobs/curate_tasks.py``).

    ``location`` and ``shows_face`` decide, with the policy, whether they may; None is not known.
    ``sequence`` and ``vendor`` are words of curation's vocabularies. A category of the same name tells more,
    and headers of DICOM files tell most. ``plane`` is of files whose headers tell no orientation, or a wrong
    one.
    """

    location: Location | None = None
    shows_face: bool | None = None
    sequence: Text | None = None
    vendor: Text | None = None
    plane: Literal["axial", "coronal", "sagittal"] | None = None


class Task(Frozen):
    """Images with masks, what their values mean, and which patients teach and judge.

    ``classes`` maps the name of a class to its values in the masks, in the order of the numbers 1..C that
    ``LabelledVolume.mask`` holds. 0 is background. ``ignore`` are values that become background too; a case
    with any other value is left out. ``exclude_empty`` leaves out slices that show no class, as the published
    code does everywhere.
    """

    name: Annotated[str, _NAME]
    title: Text
    exclude_empty: bool = False
    ignore: tuple[Value, ...] = ()
    source: Source
    classes: dict[Annotated[str, _CLASS], tuple[Value, ...]] = Field(min_length=1, max_length=MOST_CLASSES)
    categories: dict[Annotated[str, _NAME], Category] = Field(default_factory=dict)
    split: Split
    about: About
    pretraining: Pretraining = Pretraining()

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes 1..C."""
        return tuple(self.classes)

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        values = [value for group in self.classes.values() for value in group] + list(self.ignore)
        if 0 in values:
            raise ValueError("0 is background, so it can be no class and needs no ignore")
        if len(set(values)) < len(values):
            raise ValueError("a value of the masks stands for two classes, or is ignored as well")
        if not all(self.classes.values()):
            raise ValueError("a class has no values")
        if ANY in self.classes:
            raise ValueError(f"no class can be called {ANY!r}, which stands for all of them")
        self._check_categories()
        return self

    def _check_categories(self) -> None:
        known = Pattern(self.source.images).placeholders
        for name, category in self.categories.items():
            for placeholder in names_in(category.of):
                if placeholder == SLICE or (placeholder not in known and self.source.table is None):
                    raise ValueError(f"category {name}: {{{placeholder}}} does not belong to a volume")


_FILES = Documents("task", "tasks", "docs/tasks.md")
_SECTIONS: dict[tuple[str, ...], tuple[str, ...]] = {
    (): tuple(Task.model_fields),
    ("source",): tuple(Source.model_fields),
    ("source", "table"): tuple(Table.model_fields),
    ("split",): ("pool", "development", "test", "seed"),
    ("about",): tuple(About.model_fields),
    ("pretraining",): tuple(Pretraining.model_fields),
}
"""Keys that a section may have."""


def task_names() -> tuple[str, ...]:
    """The tasks that come with mricore."""
    return _FILES.names()


def load_task(path_or_name: str) -> Task:
    """A task of a TOML file, or of one that comes with mricore, with all its classes or some of them.

    ``abdomen:liver`` keeps one class, ``abdomen:liver+spleen`` two, ``abdomen:any`` makes one class of all.
    Values of classes that are not kept become background.

    Raises:
        UserError: there is no such task or class, it cannot be read, or it says what is not understood.
    """
    source, colon, wanted = path_or_name.rpartition(":")
    if not colon or "/" in wanted or "\\" in wanted:
        source, wanted = path_or_name, ""
    task = _validated(source, _FILES.load(source))
    return with_classes(task, wanted) if wanted else task


def with_classes(task: Task, wanted: str) -> Task:
    """The task with the classes ``wanted`` alone: names with + between them, or "any" for all as one.

    Raises:
        UserError: it has no such class.
    """
    if wanted == ANY:
        every = tuple(value for group in task.classes.values() for value in group)
        classes = {FOREGROUND: every}
    else:
        names = tuple(dict.fromkeys(wanted.split("+")))
        refuse_unknown(f"task {task.name}: class", names, (*task.classes, ANY))
        classes = {name: group for name, group in task.classes.items() if name in names}
    gone = [value for name, group in task.classes.items() for value in group if name not in classes]
    ignore = task.ignore if wanted == ANY else (*task.ignore, *gone)
    slug = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in wanted.lower())
    return Task.model_validate(
        {**task.model_dump(), "name": f"{task.name}-{slug}", "classes": classes, "ignore": ignore}
    )


def _validated(path_or_name: str, document: Mapping[str, Any]) -> Task:
    what = f"task {path_or_name}"
    for section, keys in _SECTIONS.items():
        content: Any = document
        for name in section:
            content = content.get(name, {})
        place = f"[{'.'.join(section)}]"
        if not isinstance(content, dict):
            raise UserError(f"{what}: {section[-1]} is not a section", f"write {place} above its keys")
        if section == ("split",) and any(not get_close_matches(key, keys) for key in content):
            # patients are listed here, so a key that is no mistyped one may name a patient
            raise UserError(f"{what}: {place} has a key that is unknown", f"valid names: {', '.join(keys)}")
        refuse_unknown(f"{what}: {place} key" if section else f"{what}: key", content, keys)
    try:
        return Task.model_validate_json(json.dumps(document, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        place = _place([str(part) for part in first["loc"]])
        raise _FILES.refusal(f"{what}: {place}" if place else what, first) from None


def _place(location: list[str]) -> str:
    """Section and key of a setting, without the names that pydantic gives to alternatives.

    In [categories] only what is no part of a file's name is told: keys out of place may name patients.
    """
    section, *keys = [part for part in location if part not in ("shares", "lists")] or [""]
    if section == "categories":
        known = [key for key in keys[1:2] if key in Category.model_fields]
        keys = [] if "[key]" in keys else [*keys[:1], *known]
    elif section == "source" and keys[:1] not in ([], ["table"]):
        keys = keys[:1]
    if (section,) not in _SECTIONS and section not in ("classes", "categories"):
        return section
    return " ".join([f"[{section}]", *keys[:2]])
