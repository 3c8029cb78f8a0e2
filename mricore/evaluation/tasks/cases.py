"""The cases of a task: which files belong together, and what their names and the table say of them."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mricore.config.patterns import Pattern, filled
from mricore.config.task import SLICE, Source, Table, Task
from mricore.data.local import files_below
from mricore.errors import UserError
from mricore.evaluation.tasks.flaws import CaseRefusedError, Flaw


@dataclass(frozen=True, repr=False)
class CaseFiles:
    """Files of one volume with the placeholder of the slice of each, in order of it; ``repr`` shows nothing.

    ``values`` are what the other placeholders and the columns of the table stand for. They may name a
    patient, and so may the files.
    """

    root: Path
    images: tuple[tuple[str, Path], ...]
    values: Mapping[str, str]

    def filled(self, template: str) -> str:
        """A template with the values of the case.

        Raises:
            UserError: the table has no such column.
        """
        return _filled(template, self.values)

    def masks(self, source: Source) -> list[Path]:
        """The mask of the volume, or one for each of ``images``.

        Raises:
            CaseRefusedError: one is missing.
            UserError: the table has no such column.
        """
        if not any("{" + SLICE + "}" in template for template in source.masks):
            return [self._mask(source, self.values)]
        return [self._mask(source, {**self.values, SLICE: number}) for number, _ in self.images]

    def _mask(self, source: Source, values: Mapping[str, str]) -> Path:
        for template in source.masks:
            path = self.root / _filled(template, values)
            if path.is_file():
                return path
        raise CaseRefusedError(Flaw.MASK_MISSING)


def find_cases(task: Task, root: Path) -> tuple[list[CaseFiles], int]:
    """The cases below a folder in order of their paths, and how many are not in the table.

    Raises:
        UserError: the folder or the table cannot be read, or nothing in it fits the pattern.
    """
    pattern = Pattern(task.source.images)
    groups: dict[tuple[str, ...], list[tuple[str, Path]]] = {}
    for path in _files(root):
        values = pattern.match(path.relative_to(root).as_posix())
        if values is not None:
            number = values.pop(SLICE, "")
            groups.setdefault(tuple(values.values()), []).append((number, path))
    if not groups:
        raise UserError(
            f"task {task.name}: no file below {root} fits images = {task.source.images!r}",
            "give the folder that the pattern starts from, or correct [source] images",
        )
    names = [name for name in pattern.placeholders if name != SLICE]
    cases = [
        CaseFiles(root, tuple(sorted(files, key=_by_number)), dict(zip(names, group, strict=True)))
        for group, files in groups.items()
    ]
    if task.source.table is None:
        return cases, 0
    known = _with_table(cases, task.source.table, task, root)
    return known, len(cases) - len(known)


def _filled(template: str, values: Mapping[str, str]) -> str:
    try:
        return filled(template, values)
    except KeyError as missing:
        raise UserError(
            f"{template!r}: the table has no column {missing}", "correct the declaration"
        ) from None


def _files(root: Path) -> list[Path]:
    try:
        return list(files_below(root))
    except OSError as error:
        raise UserError(
            f"{root} cannot be read ({error.strerror})", "check the path of the task's folder"
        ) from None


def _by_number(file: tuple[str, Path]) -> tuple[list[tuple[int, str]], str]:
    """Numbers in the placeholder count as numbers, so that 10 comes after 9."""
    parts = re.findall(r"\d+|\D+", file[0])
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], file[1].as_posix()


def _with_table(cases: list[CaseFiles], table: Table, task: Task, root: Path) -> list[CaseFiles]:
    """The cases that have a row, with its columns beside what their names say."""
    rows = _rows(table, task, root)
    known = []
    for case in cases:
        row = rows.get(filled(table.value, case.values))
        if row is not None:
            known.append(CaseFiles(case.root, case.images, {**row, **case.values}))
    return known


def _rows(table: Table, task: Task, root: Path) -> dict[str, dict[str, str]]:
    where = f"task {task.name}: the table {table.file}"
    try:
        with (root / table.file).open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = reader.fieldnames or []
            rows = [{name: value or "" for name, value in row.items() if name} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise UserError(f"{where} cannot be read", "put it into the task's folder as CSV in UTF-8") from None
    if table.key not in columns:
        raise UserError(f"{where} has no column {table.key!r}", "correct key in [source.table]")
    keys = [row[table.key] for row in rows]
    if len(set(keys)) < len(keys):
        raise UserError(f"{where} has two rows with the same {table.key!r}", "leave one of them")
    return dict(zip(keys, rows, strict=True))
