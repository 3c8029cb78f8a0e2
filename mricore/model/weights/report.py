"""What became of each tensor of a weight file, and of each tensor of a network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

MOST_PATTERNS = 5
"""Names of one part of a network that are told one by one; more are told as the part and their number."""
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


class Note(NamedTuple):
    """A tensor, and what was done with it or why it was left out."""

    name: str
    why: str


@dataclass(frozen=True)
class LoadReport:
    """An account of both sides.

    Each tensor of the file is ``loaded``, ``reshaped``, ``folded`` into another or ``dropped``; each of the
    network is ``loaded``, ``reshaped`` or ``kept`` as initialised. Names are the network's, but for what
    was dropped before it got one. ``source`` is a line that tells which file it was.
    """

    loaded: tuple[str, ...]
    dropped: tuple[Note, ...] = ()
    reshaped: tuple[Note, ...] = ()
    folded: tuple[Note, ...] = ()
    kept: tuple[str, ...] = ()
    source: str = ""

    def __str__(self) -> str:
        lines = [self.source or "weights", f"  loaded as they are: {len(self.loaded)} tensors"]
        for title, notes in (("reshaped", self.reshaped), ("folded", self.folded), ("dropped", self.dropped)):
            lines += [f"  {title}, {line}" for line in by_reason(notes)]
        if self.kept:
            lines.append(f"  kept as initialised: {folded_names(self.kept)}")
        return "\n".join(lines)


def by_reason(notes: Iterable[Note]) -> list[str]:
    """One line per reason, in order of appearance: ``reason: names``."""
    groups: dict[str, list[str]] = {}
    for note in notes:
        groups.setdefault(note.why, []).append(note.name)
    return [f"{why}: {folded_names(names)}" for why, names in groups.items()]


def folded_names(names: Iterable[str]) -> str:
    """Names in one line.

    Those that differ in numbers alone are one pattern with its count; a part with many patterns is one.
    """
    counts = Counter(_NUMBER.sub("*", name) for name in names)
    sizes = Counter(map(_part, counts))
    patterns: Counter[str] = Counter()
    for name, count in counts.items():
        patterns[f"{_part(name)}.*" if sizes[_part(name)] > MOST_PATTERNS else name] += count
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in patterns.items())


def _part(name: str) -> str:
    return name.partition(".")[0]
