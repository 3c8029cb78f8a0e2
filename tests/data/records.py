"""Builders of de-identified slices and small datasets for the tests of the data layer and above."""

from collections.abc import Sequence

import numpy as np

from mricore.data.manifest import Manifest, write_manifest
from mricore.data.shards import write_shard
from mricore.data.storage import Place
from mricore.records import Intensity, SliceRecord


def slice_record(number: int, rng: np.random.Generator, **changes) -> SliceRecord:
    shape = tuple(int(n) for n in rng.integers(40, 72, 2))
    pixels = rng.integers(0, 4096, shape).astype(np.uint16)
    intensity = Intensity(float(pixels.min()), float(pixels.max()), 20.0, 4000.0)
    fields = {
        "slice_id": f"slice{number:06d}",
        "volume_id": f"volume{number // 8}",
        "exam_id": f"exam{number // 16}",
        "patient_id": f"patient{number // 16}",
        "index": number % 8,
        "slices_in_volume": 8,
        "pixels": pixels,
        "slope": 1.0,
        "intercept": 0.0,
        "spacing_row": 0.5,
        "spacing_column": 0.5,
        "spacing_slice": 4.0,
        "slice_intensity": intensity,
        "volume_intensity": Intensity(0.0, 5000.0, 10.0, 4500.0),
        "location": ("knee", "spine")[number // 16 % 2],
        "location_evidence": "BodyPartExamined",
        "sequence": "T1",
        "sequence_evidence": "SeriesDescription",
        "plane": "axial",
        "vendor": "siemens",
        "vendor_evidence": "Manufacturer",
        "field_strength": 1.5,
        "repetition_time": 500.0,
        "echo_time": 10.0,
        "inversion_time": float("nan"),
        "flip_angle": 90.0,
        "b_value": float("nan"),
    }
    return SliceRecord(**{**fields, **changes})


def small_dataset(
    target: Place, slices: int, per_shard: int = 20, per_group: int = 6, seed: int = 0
) -> Manifest:
    """A dataset of random slices with a manifest."""
    rng = np.random.default_rng(seed)
    return dataset_of(target, [slice_record(number, rng) for number in range(slices)], per_shard, per_group)


def dataset_of(
    target: Place, records: Sequence[SliceRecord], per_shard: int = 20, per_group: int = 6
) -> Manifest:
    """A dataset of some slices with a manifest."""
    slices = len(records)
    parts = [records[i : i + per_shard] for i in range(0, slices, per_shard)]
    shards = [write_shard(target, f"shards/{i:06d}.parquet", part, per_group) for i, part in enumerate(parts)]
    manifest = Manifest(
        shards=tuple(shards),
        counts={
            "slices": slices,
            "volumes": -(-slices // 8),
            "exams": -(-slices // 16),
            "patients": -(-slices // 16),
        },
        distributions={"location": {"knee": slices}},
        repeats={},
        rounds=(),
        ledger=(),
        dropped=(),
        key_check="none",
        generated_phantoms=False,
        provenance={},
    )
    write_manifest(target, manifest)
    return manifest
