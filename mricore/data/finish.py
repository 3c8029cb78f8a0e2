"""The end of a curation: repeats are found, shards planned, everything counted, leftovers removed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib import metadata
from typing import Any

from mricore.config.curation import Curation
from mricore.data.collect import Bucket, plan_buckets
from mricore.data.funnel import Funnel
from mricore.data.index import INDEX, index_path
from mricore.data.intake import Extracted, order_of
from mricore.data.ledger import LEDGER, count, count_rejected, read_dropped, write_dropped
from mricore.data.manifest import Manifest, Round
from mricore.data.parts import WORK, bucket_of
from mricore.data.repeats import find_repeats
from mricore.data.shards import SHARDS, Shard
from mricore.data.storage import Place
from mricore.data.target import Target

_OURS = re.compile(
    r"(shards/\d{6}-[0-9a-f]{8}\.parquet|index/[0-9a-f]{32}\.parquet|ledger/(dropped-)?[0-9a-f]{32}\.parquet"
    r"|work/[0-9a-f]{32}(-\d+\.arrow|\.json)|(shards|index|ledger|work)/\.[^/]*\.tmp)"
)
"""What curation writes, and what a killed process leaves of it half written."""
DECODERS = ("pydicom", "python-gdcm", "pyjpegls", "pylibjpeg", "pylibjpeg-openjpeg", "pillow")


class Finish:
    """From what the second pass left, in ``buckets`` buckets, to the manifest.

    ``known`` is the manifest of the dataset so far.
    """

    def __init__(
        self, target: Target, known: Manifest | None, buckets: int, extracted: Sequence[Extracted]
    ) -> None:
        self._target = target
        self._known = known
        self._buckets = buckets
        self._extracted = extracted
        before = known.ledger if known else ()
        self.ledger = tuple(dict.fromkeys([*before, *(one.ledger for one in extracted if one.rows)]))
        fresh = self.ledger[len(before) :]
        dropped = known.dropped if known else ()
        place = target.destination
        gone = read_dropped(place, dropped)
        self._repeats, self._drops = find_repeats(place, before, gone, fresh, target.policy)
        self._dropped = dropped
        if self._drops:
            name = hashlib.sha256(repr(sorted(self._drops.items())).encode()).hexdigest()[:32]
            path = f"{LEDGER}/dropped-{name}.parquet"
            write_dropped(place, path, self._drops)
            self._dropped = (*dropped, path)

    def buckets(self) -> Iterator[Bucket]:
        """The work of the third pass."""
        first = len(self._known.shards) if self._known else 0
        parts = [part for one in self._extracted for part in one.parts]
        dropped = [
            (bucket_of(order_of(slice_id, self._target), self._buckets), slice_id) for slice_id in self._drops
        ]
        return plan_buckets(parts, dropped, first, self._target.policy)

    def manifest(self, shards: Sequence[Shard], funnel: Funnel, fingerprint: str) -> Manifest:
        """The manifest of the dataset with these further shards."""
        target, known = self._target, self._known
        gone = read_dropped(target.destination, self._dropped)
        counts, distributions = count(target.destination, self.ledger, gone)
        funnel.rejected.update(count_rejected(target.destination, self.ledger, self._dropped))
        funnel.step("slices in the dataset", images=counts["slices"], **_without(counts, "slices"))
        added = counts["slices"] - (known.counts["slices"] if known else 0)
        this = Round(fingerprint, added, funnel.rows, funnel.reject_rows)
        return Manifest(
            shards=(*(known.shards if known else ()), *shards),
            counts=counts,
            distributions=distributions,
            repeats=self._repeats,
            rounds=(*(known.rounds if known else ()), this),
            ledger=self.ledger,
            dropped=self._dropped,
            key_check=target.key_check,
            generated_phantoms=target.generated_phantoms,
            provenance=_provenance(target.policy),
        )


def sweep(dataset: Place, manifest: Manifest, chunk_keys: Iterable[str]) -> None:
    """Remove all that unfinished curations left: it may hold what the policy leaves out."""
    wanted = {shard.path for shard in manifest.shards} | {*manifest.ledger, *manifest.dropped}
    wanted |= {index_path(key) for key in chunk_keys}
    remove_ours(dataset, wanted)


def remove_ours(dataset: Place, wanted: Collection[str] = ()) -> None:
    """Remove all that curation wrote except what is ``wanted``, and folders that are empty then.

    Other files may lie in a folder of the same name; they are not ours to remove.
    """
    for folder in (SHARDS, LEDGER, INDEX, WORK):
        for path in dataset.names(folder):
            if path not in wanted and _OURS.fullmatch(path):
                dataset.remove(path)
        dataset.remove_empty(folder)


def _without(counts: dict[str, int], name: str) -> dict[str, int]:
    return {key: value for key, value in counts.items() if key != name}


def _provenance(policy: Curation) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in ("mricore", *DECODERS)}
    return {"policy": policy.model_dump(mode="json"), "versions": versions}
