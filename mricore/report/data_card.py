"""The data card of a curated dataset: one self-contained HTML page that lies in it.

All of it comes from the manifest and the de-identified shards, so it tells nothing that they do not.
"""

from __future__ import annotations

from collections.abc import Sequence

from mricore.data.audit import AUDIT
from mricore.data.manifest import Manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import Place
from mricore.records import SliceRecord
from mricore.report import gallery
from mricore.report.curation import faces_let_in, funnel_table, protocol_rows, reject_groups, setting_rows
from mricore.report.tables import distribution_bars, in_words
from mricore.report.templates import render_template

CARD = "card.html"
SAMPLE = 512
"""Slices that are looked at, in whole row groups."""
SEED = 0
MOST_CATEGORIES = 40
"""A card shows every body location, where a report adds rare ones up."""
COUNTED = ("slices", "volumes", "exams", "patients")
LOADING = """\
from mricore.data.manifest import read_manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import place

dataset = place("/path/to/this/folder")
slices = sample_slices(dataset, read_manifest(dataset), limit=64, seed=0)
"""
PRETRAINING = "make pretrain DATA=/path/to/this/folder"


def write_data_card(dataset: Place, manifest: Manifest) -> None:
    """Write the card of a dataset into it.

    Raises:
        UserError: a shard cannot be read, or the card cannot be written.
    """
    sample = sample_slices(dataset, manifest, SAMPLE, SEED)
    dataset.write_bytes(CARD, render_card(manifest, sample).encode())


def render_card(manifest: Manifest, sample: Sequence[SliceRecord]) -> str:
    """The card as HTML text, with pictures of a sample of the dataset; all text is escaped."""
    policy = manifest.provenance.get("policy", {})
    locations = manifest.distributions.get("location", {})
    return render_template(
        "data_card.html",
        title=_title(manifest),
        manifest=manifest,
        facts=_facts(manifest),
        sampled=len(sample),
        shelves=gallery.shelves(sample, locations),
        unseen=gallery.unseen(sample, locations),
        distributions=distribution_bars(manifest.distributions, MOST_CATEGORIES),
        matrix_bars=gallery.matrix_bars(sample),
        depth_bars=gallery.depth_bars(sample),
        quantities=gallery.quantities(sample),
        funnel=funnel_table(manifest.funnel),
        rejected=reject_groups(manifest.rejected),
        repeats=[(name.replace("_", " "), count) for name, count in sorted(manifest.repeats.items())],
        policy=policy,
        settings=setting_rows(policy),
        protocols=protocol_rows(policy),
        faces=[in_words(name) for name in faces_let_in(policy)],
        versions=sorted(manifest.provenance.get("versions", {}).items()),
        audit=AUDIT,
        loading=LOADING,
        pretraining=PRETRAINING,
    )


def byte_size(count: int) -> str:
    """Bytes as people write them, in powers of 1000 with three digits."""
    size, units = float(count), ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"


def _title(manifest: Manifest) -> str:
    slices, patients = (manifest.counts.get(name, 0) for name in ("slices", "patients"))
    return f"Data card: {_counted(slices, 'MR slice')} of {_counted(patients, 'patient')}"


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _facts(manifest: Manifest) -> list[tuple[str, str]]:
    facts = [(name, f"{manifest.counts[name]:,}") for name in COUNTED if name in manifest.counts]
    size = byte_size(sum(shard.bytes for shard in manifest.shards))
    return [*facts, ("shards", f"{len(manifest.shards):,}"), ("size", size)]
