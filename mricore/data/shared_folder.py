"""A small folder on its way to every node of a cluster, through Ray's object store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

PIECE = 64 * 1024**2
"""Bytes of an object: small beside the store, so that a store smaller than the folder holds it in turns."""


@dataclass(frozen=True)
class SharedFolder:
    """Files by name, as pieces in the object store. Small itself, so that it can travel to actors."""

    files: Mapping[str, Sequence[Any]]

    def write_to(self, folder: Path) -> None:
        """Write the files into an existing folder of this node."""
        for name, pieces in self.files.items():
            with (folder / name).open("wb") as file:
                for piece in pieces:
                    file.write(ray.get(piece).data)


def shared(folder: Path, names: Sequence[str]) -> SharedFolder:
    """Some files of a folder of this machine. Needs a Ray session, and lives as long as it."""
    return SharedFolder({name: _pieces(folder / name) for name in names})


def _pieces(path: Path) -> list[Any]:
    size = path.stat().st_size
    return [
        ray.put(np.fromfile(path, np.uint8, min(PIECE, size - first), offset=first))
        for first in range(0, size, PIECE)
    ]
