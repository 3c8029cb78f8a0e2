"""Curation against what people use today: pydicom, min-max, one 8-bit PNG per slice (the paper's way).

    python benchmarks/bench_curate.py [DICOM_FOLDER] [--quick] [--memory] [--json FILE]

Without a folder it measures on generated phantoms. Both sides run in one process and are timed by its CPU,
in turns, so ratios are per core; files are written to memory where the system has such a folder. Ours
does all that curation does: headers, selection, volumes, de-identification, statistics, fingerprints,
lossless 16-bit shards in shuffled order, and the manifest.

Ratios: ``curation_vs_pydicom_png`` (slices per second and core of ours over theirs; larger is better),
``curation_vs_pydicom_png16`` (the same against 16-bit PNG, which loses nothing either), ``size_vs_png16``
(smaller is better), ``decode_vs_png16`` (slices per second; larger is better).

``--memory`` instead curates the archive once, four and sixteen times over with new identities, by the job
itself, and reports time and peak memory of the process that leads and of the largest task, and how much
each grew from the smallest archive to the largest.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image

from mricore.config.curation import Curation
from mricore.data.curate import curate
from mricore.data.job import Job
from mricore.data.manifest import Manifest
from mricore.data.sample import sample_slices
from mricore.data.storage import place
from mricore.data.work import in_process
from mricore.imaging.phantoms.collection import CollectionSpec, write_collection

POLICY = Curation(exclude_locations=(), unknown_location="include", min_slices=1, repeated_volumes="keep")
KEY = b"k" * 32
ROOT = Path(__file__).parents[1]
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - nobody else's disk should count


def phantoms(folder: Path, quick: bool) -> Path:
    """An archive of phantoms, without those that curation would leave out."""
    write_collection(folder, CollectionSpec(patients=2 if quick else 6, matrix=384, slices=24))
    return folder


def to_png(files: Sequence[Path], target: Path, bits: int) -> int:
    """The usual way: each slice scaled to its own minimum and maximum, one PNG per slice."""
    count = 0
    for number, path in enumerate(files):
        try:
            pixels = pydicom.dcmread(path).pixel_array.astype(np.float32)
        except (AttributeError, ValueError, pydicom.errors.InvalidDicomError):
            continue
        low, high = pixels.min(), pixels.max()
        scaled = (pixels - low) / max(high - low, 1) * (2**bits - 1)
        Image.fromarray(scaled.astype(np.uint8 if bits == 8 else np.uint16)).save(target / f"{number}.png")
        count += 1
    return count


def ours(source: Path, target: Path) -> Manifest:
    """The whole curation in this process."""
    return curate(Job(place(str(source)), place(str(target)), POLICY, KEY), in_process)


def cpu_seconds(function: Any, *arguments: Any) -> tuple[float, Any]:
    """CPU time of this process and its children, and the result."""
    start = time.process_time()
    result = function(*arguments)
    return time.process_time() - start, result


def compare(source: Path, folder: Path, repeats: int) -> dict[str, Any]:
    """Rates of both sides, measured in turns, and the sizes and decoding speeds of what they wrote."""
    files = sorted(path for path in source.rglob("*") if path.is_file())
    rates: dict[str, list[float]] = {"ours": [], "png": [], "png16": []}
    manifest: Manifest | None = ours(source, folder / "ours")
    for _ in range(repeats):
        for name, bits in (("png", 8), ("png16", 16)):
            target = folder / name
            target.mkdir()
            seconds, count = cpu_seconds(to_png, files, target, bits)
            rates[name].append(count / seconds)
            shutil.rmtree(target)
        shutil.rmtree(folder / "ours")
        seconds, manifest = cpu_seconds(ours, source, folder / "ours")
        rates["ours"].append(manifest.counts["slices"] / seconds)
    assert manifest is not None  # noqa: S101
    median = {name: statistics.median(values) for name, values in rates.items()}
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    return {
        "ratios": {
            "curation_vs_pydicom_png": median["ours"] / median["png"],
            "curation_vs_pydicom_png16": median["ours"] / median["png16"],
            **_store_ratios(folder, manifest),
        },
        "rates": {**median, "ours MB": median["ours"] * megabytes / len(files)},
        "compared": f"curation against pydicom and Pillow PNG, {len(files)} files, one core",
        "repeats": repeats,
    }


def _store_ratios(folder: Path, manifest: Manifest) -> dict[str, float]:
    """The store against 16-bit PNGs of the same stored integers: bytes, and decoding."""
    dataset = place(str(folder / "ours"))
    start = time.process_time()
    records = sample_slices(dataset, manifest, manifest.counts["slices"], 0)
    our_seconds = time.process_time() - start
    target = folder / "same"
    target.mkdir()
    for number, record in enumerate(records):
        Image.fromarray(record.pixels.view(np.uint16)).save(target / f"{number}.png")
    start = time.process_time()
    for number, record in enumerate(records):
        found = np.asarray(Image.open(target / f"{number}.png"))
        assert np.array_equal(found, record.pixels.view(np.uint16))  # noqa: S101
    png_seconds = time.process_time() - start
    png_bytes = sum(path.stat().st_size for path in target.iterdir())
    return {
        "size_vs_png16": sum(shard.bytes for shard in manifest.shards) / png_bytes,
        "decode_vs_png16": png_seconds / our_seconds,
    }


def multiplied(source: Path, target: Path, times: int) -> None:
    """The archive ``times`` over, each time of other patients, so that nothing is a copy."""
    for number in range(times):
        for path in sorted(one for one in source.rglob("*") if one.is_file()):
            image = pydicom.dcmread(path)
            image.PatientID = f"{number}-{image.PatientID}"
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(image, name, f"{getattr(image, name)}.{number}"[-64:].lstrip("."))
            place_of = target / str(number) / path.relative_to(source)
            place_of.parent.mkdir(parents=True, exist_ok=True)
            image.save_as(place_of)


def memory(source: Path, folder: Path, scales: Sequence[int]) -> dict[str, Any]:
    """Time and peak memory of the job on archives of growing size; ratios are of the largest to the first."""
    rows = []
    for times in scales:
        archive = folder / f"archive{times}"
        multiplied(source, archive, times)
        rows.append({"times": times, **_watched(archive, folder / f"curated{times}")})
        shutil.rmtree(archive)
        print(", ".join(f"{name} {value:,}" for name, value in rows[-1].items()), flush=True)
    first, last = rows[0], rows[-1]
    return {
        "ratios": {
            name: last[name] / first[name] for name in ("slices", "seconds", "lead_mib", "largest_task_mib")
        },
        "scales": rows,
        "compared": f"the curation job on an archive once and {scales[-1]} times over",
        "repeats": 1,
    }


def _watched(archive: Path, target: Path) -> dict[str, Any]:
    settings = [f"curation.{name}={value}" for name, value in _settings().items()]
    command = [sys.executable, "jobs/curate.py", str(archive), str(target), "--key", str(target) + ".key"]
    command += [part for setting in settings for part in ("--set", setting)]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    peaks = {"lead": 0.0, "largest_task": 0.0}
    while process.poll() is None:
        for name, size in _sizes(process.pid):
            peaks[name] = max(peaks[name], size)
        time.sleep(0.1)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"curation failed with exit code {process.returncode}")
    manifest = json.loads((target / "manifest.json").read_text())
    return {
        "slices": manifest["counts"]["slices"],
        "seconds": round(seconds, 1),
        **{f"{name}_mib": round(size) for name, size in peaks.items()},
    }


def _settings() -> dict[str, str]:
    return {
        "exclude_locations": "[]",
        "unknown_location": "include",
        "exams_per_protocol": "1000000",
        "repeated_volumes": "keep",
        "slices_per_shard": "64",  # so that the smallest archive fills a bucket, and memory is at its bound
    }


def _sizes(pid: int) -> Iterator[tuple[str, float]]:
    """Unshared memory in MiB of the leading process and of Ray's tasks (Linux)."""
    yield "lead", _unshared(pid)
    for child in _descendants(pid):
        with suppress(OSError):
            if Path(f"/proc/{child}/cmdline").read_bytes().startswith(b"ray::"):
                yield "largest_task", _unshared(child)


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from _descendants(child)


def _unshared(pid: int) -> float:
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024
    return 0.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path, help="folder with DICOM files (default: phantoms)")
    parser.add_argument("--quick", action="store_true", help="fewer files and repeats")
    parser.add_argument("--memory", action="store_true", help="measure memory and time at 1, 4 and 16 times")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else None) as name:
        folder = Path(name)
        source = options.source or phantoms(folder / "phantoms", options.quick)
        if options.memory:
            report = memory(source, folder, (1, 4) if options.quick else (1, 4, 16))
        else:
            report = compare(source, folder, 2 if options.quick else 3)
            for name, value in report["rates"].items():
                print(f"{name:8s} {value:10,.1f} per second and core")
    for name, value in report["ratios"].items():
        print(f"{name:26s} {value:.2f}")
    if options.json:
        hardware = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
        options.json.write_text(json.dumps({**report, "hardware": hardware}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
