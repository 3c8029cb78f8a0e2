"""A small, fixed part of a dataset for judging and for pictures."""

from __future__ import annotations

from mricore.data.manifest import Manifest
from mricore.data.plan import Stream, generator
from mricore.data.shards import read_rows
from mricore.data.storage import Place
from mricore.records import SliceRecord


def sample_slices(dataset: Place, manifest: Manifest, limit: int, seed: int) -> list[SliceRecord]:
    """At most ``limit`` slices from randomly chosen row groups; the same for the same seed.

    Shards are globally shuffled, so whole row groups are a fair sample.
    """
    groups = manifest.row_groups
    chosen: list[SliceRecord] = []
    for number in generator(seed, Stream.SAMPLE).permutation(len(groups)):
        path, index, rows = groups[number]
        chosen.extend(read_rows(dataset, path, index, range(min(rows, limit - len(chosen)))))
        if len(chosen) == limit:
            break
    return chosen
