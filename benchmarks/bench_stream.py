"""Slices per second that reach a training worker, against what people feed slices with today.

    python benchmarks/bench_stream.py [--quick] [--peer-python PYTHON] [--workers N] [--no-s3] [--json FILE]

All sides hold the same slices (phantoms of 256 x 256, twelve bit, 128 that repeat), read them once
per round in an order of their own, and make batches of 64; they take turns, and each round gives one ratio,
of which the median is reported. Each has N threads or worker processes (default: one per CPU) that live on
from round to round. Files were just written, so that disks play no part; S3 is a server on this machine,
which takes its share of the CPUs (``--no-s3`` leaves it out).

Ours decode 16 bits and put a batch into one array, as a training step does before it normalises on its
device. Peers decode what they store and collate it, and are run by PYTHON of an environment that has torch,
pillow, webdataset, mosaicml-streaming and boto3; without one only ours are measured.

``stream_vs_png_dataloader``: torch's DataLoader over PNG files. ``stream_vs_webdataset``: WebDataset over tar
files of PNG. Both with 8 bits, the paper's format, and with 16 (``..._16bit``), which keep what ours do.
``stream_vs_mosaic``: MosaicML Streaming, the faster of 8-bit PNG and 16-bit arrays; it unpacks these from
zstd once, and then reads twice as many bytes from its disk as ours. ``ray_...``: ours through Ray Data, else
by the threads of the worker's process. ``..._s3``: all sides from S3, but for MosaicML, which copies a bucket
to its disk first. Ratios that end in ``_cpu`` are of the CPU's time of all processes, for machines that are
not quiet. Larger is better.

Besides, ``paced``: a worker that takes the slices of one H200 (DEMAND per second), its share of time spent
waiting, and memory as the dataset grows four times.
"""

import argparse
import io
import json
import os
import platform
import statistics
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from stream_sides import HERE, Reading, Side

from mricore.data.manifest import Manifest, write_manifest
from mricore.data.shards import write_shard
from mricore.data.storage import place
from mricore.imaging.intensity import histogram
from mricore.imaging.phantoms.tissues import Timing
from mricore.imaging.phantoms.volume import centered_grid, phantom_volume
from mricore.records import SliceRecord

sys.path += [str(HERE.parent / "tests" / "support"), str(HERE.parent / "tests" / "data")]
from records import slice_record
from servers import s3_server

BATCH, DISTINCT, PER_SHARD, PER_GROUP, PER_TAR = 64, 128, 512, 64, 256
DEMAND = 1100.0
"""Slices per second that a step of ViT-B takes on one H200, which comes with 16 CPUs or so."""
PACED = {"small": 1, "large": 4}
"""Datasets of the paced worker, and their relative sizes; the small one is larger than what is read ahead."""
PEERS = {
    "png 8-bit": ("png", "png8"),
    "png 16-bit": ("png", "png16"),
    "webdataset 8-bit": ("webdataset", "tar8"),
    "webdataset 16-bit": ("webdataset", "tar16"),
    "mosaic 8-bit png": ("mosaic", "mosaic8"),
    "mosaic 16-bit zstd": ("mosaic", "mosaic16"),
}
"""Reader and dataset of each peer."""
RATIOS = {
    "stream_vs_png_dataloader": ("png 8-bit",),
    "stream_vs_png_dataloader_16bit": ("png 16-bit",),
    "stream_vs_webdataset": ("webdataset 8-bit",),
    "stream_vs_webdataset_16bit": ("webdataset 16-bit",),
    "stream_vs_mosaic": ("mosaic 8-bit png", "mosaic 16-bit zstd"),
}
"""Whom each ratio compares with: the fastest of them."""


def phantoms(count: int) -> list[NDArray[np.uint16]]:
    """Twelve-bit phantom slices with noise like MR's, 256 x 256."""
    found: list[NDArray[np.uint16]] = []
    for person, location in enumerate(("knee", "lumbar_spine", "abdomen", "thigh")):
        grid = centered_grid("axial", (count // 4, 256, 256), 300, 4, np.zeros(3, np.float32))
        image, _ = phantom_volume(location, person, grid, (Timing(4000, 90),), 1.5, person)
        found += list(np.clip(image[0] * 2000, 0, 4095).astype(np.uint16))
    return found


def eight_bits(pixels: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """A slice as the paper stores it: from its smallest to its largest value."""
    low, high = int(pixels.min()), int(pixels.max())
    return ((pixels.astype(np.float32) - low) * (255 / (high - low))).astype(np.uint8)


def png(pixels: NDArray[Any]) -> bytes:
    """A slice as a PNG file."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def record(number: int, pixels: NDArray[np.uint16]) -> SliceRecord:
    """A slice as curation stores it."""
    intensity = histogram(pixels).intensity(1.0, 0.0)
    return slice_record(number, np.random.default_rng(number), pixels=pixels, slice_intensity=intensity)


def write_ours(folder: Path, images: Sequence[NDArray[np.uint16]], slices: int) -> None:
    """A dataset of as many slices as asked for: one shard under as many names as it takes."""
    part = [record(number, images[number % len(images)]) for number in range(PER_SHARD)]
    first = write_shard(place(str(folder)), "shards/000000.parquet", part, PER_GROUP)
    shards = [first]
    for number in range(1, slices // PER_SHARD):
        shards.append(replace(first, path=f"shards/{number:06d}.parquet"))
        os.link(folder / first.path, folder / shards[-1].path)
    counts = {"slices": len(shards) * PER_SHARD}
    manifest = Manifest(tuple(shards), counts, {}, {}, (), (), (), "none", True, {})
    write_manifest(place(str(folder)), manifest)


def write_png(folder: Path, name: str, files: Sequence[bytes], slices: int) -> None:
    """PNG files, one per slice (``pngN``), and tar files of them (``tarN``)."""
    (folder / f"png{name}").mkdir()
    (folder / f"tar{name}").mkdir()
    for start in range(0, slices, PER_TAR):
        with tarfile.open(folder / f"tar{name}" / f"{start:06d}.tar", "w") as tar:
            for number in range(start, start + PER_TAR):
                content = files[number % len(files)]
                (folder / f"png{name}" / f"{number:06d}.png").write_bytes(content)
                entry = tarfile.TarInfo(f"{number:06d}.png")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))


def write_all(folder: Path, options: argparse.Namespace) -> None:
    """The datasets of all sides."""
    images = phantoms(DISTINCT)
    write_ours(folder / "ours", images, options.slices)
    for name, times in PACED.items():
        write_ours(folder / name, images, times * options.paced)
    if not options.peer_python:
        return
    small = [eight_bits(image) for image in images]
    for bits, these in (("8", small), ("16", images)):
        write_png(folder, bits, [png(image) for image in these], options.slices)
        np.save(folder / "images.npy", np.stack(these))
        settings = {
            "reader": "write_mosaic",
            "images": str(folder / "images.npy"),
            "place": str(folder / f"mosaic{bits}"),
            "slices": options.slices,
            "environment": {},
        }
        peer(settings, folder, options).close()


def upload(folder: Path, environment: Mapping[str, str]) -> None:
    """Put the datasets of all sides into a bucket."""
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
    )
    client.create_bucket(Bucket="bench")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and len(name.parts) > 1 and name.parts[0] not in PACED:
            client.upload_file(str(path), "bench", name.as_posix())


def peer(settings: Mapping[str, Any], folder: Path, options: argparse.Namespace) -> Side:
    """A peer in its environment."""
    return Side(str(options.peer_python), HERE / "peers/stream_readers.py", settings, folder)


def ours(
    where: str,
    source: str,
    environment: Mapping[str, str],
    folder: Path,
    options: argparse.Namespace,
    demand: float = 0,
) -> Side:
    """One of our readers in a process of its own."""
    settings = {
        **{"place": where, "source": source, "environment": dict(environment), "demand": demand},
        **{"batch": BATCH, "workers": options.workers},
    }
    return Side(sys.executable, HERE / "stream_sides.py", settings, folder)


def in_turns(
    root: str, environment: Mapping[str, str], folder: Path, options: argparse.Namespace
) -> dict[str, list[Reading]]:
    """Each side's readings, after one to warm up; who begins changes from round to round."""
    with ExitStack() as stack:
        sides = {
            "ours": ours(f"{root}/ours", "in_process", environment, folder, options),
            "ray": ours(f"{root}/ours", "ray", environment, folder, options),
        }
        for name, (reader, data) in PEERS.items() if options.peer_python else ():
            if reader == "mosaic" and environment:
                continue
            settings = {
                **{"reader": reader, "place": f"{root}/{data}", "environment": dict(environment)},
                **{"batch": BATCH, "workers": options.workers},
                "names": sorted(path.name for path in (folder / data).iterdir()),
            }
            sides[name] = peer(settings, folder, options)
        for side in sides.values():
            stack.callback(side.close)
            side.read()
        found: dict[str, list[Reading]] = {name: [] for name in sides}
        names = list(sides)
        for number in range(options.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(sides[name].read())
    return found


def ratios(found: Mapping[str, Sequence[Reading]], end: str) -> dict[str, float]:
    """Our rate over the rate of the fastest peer, and of our threads over that of our Ray tasks."""
    result: dict[str, float] = {}
    for clock, last in (("seconds", ""), ("cpu_seconds", "_cpu")):
        result[f"threads_vs_ray{end}{last}"] = _ratio(found["ours"], found["ray"], clock)
        for mine, prefix in (("ours", ""), ("ray", "ray_")):
            for name, others in RATIOS.items():
                if others[0] in found:
                    each = [_ratio(found[mine], found[other], clock) for other in others]
                    result[f"{prefix}{name}{end}{last}"] = min(each)
    return result


def _ratio(mine: Sequence[Reading], others: Sequence[Reading], clock: str) -> float:
    """Median over the rounds of slices per second of ``clock``, mine over the other's."""
    return statistics.median(
        getattr(b, clock) / b.slices / (getattr(a, clock) / a.slices)
        for a, b in zip(mine, others, strict=True)
    )


def paced(folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """A worker that takes slices as fast as one H200 does: waiting, CPUs, memory."""
    small, large = (
        _read_once(ours(str(folder / name), "in_process", {}, folder, options, options.demand))
        for name in PACED
    )
    return {
        "demand_slices_per_s": options.demand,
        "data_wait_share": large.waited / large.seconds,
        "cpus_busy": large.cpu_seconds / large.seconds,
        "peak_mib": small.peak_mib,
        "peak_mib_at_four_times_the_slices": large.peak_mib,
        "memory_growth": large.peak_mib / small.peak_mib,
    }


def _read_once(side: Side) -> Reading:
    reading = side.read()
    side.close()
    return reading


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer slices and rounds")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="default: one per CPU")
    parser.add_argument("--rounds", type=int, help="default: 5, or 2 with --quick")
    parser.add_argument("--slices", type=int, help="default: 4,096, or 1,024 with --quick")
    parser.add_argument(
        "--demand", type=float, default=DEMAND, help=f"slices per second; default: {DEMAND:g}"
    )
    parser.add_argument("--no-s3", action="store_true", help="only the local disk")
    parser.add_argument("--peer-python", type=Path, metavar="PYTHON", help="python that has the peers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.slices = options.slices or (1024 if options.quick else 4096)
    options.paced = 1024 if options.quick else 12288
    if options.slices % PER_SHARD:
        parser.error(f"--slices must be a multiple of {PER_SHARD}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    options = _options(arguments)
    load = os.getloadavg()[0]
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}"
    report: dict[str, Any] = {
        **{"ratios": {}, "rates": {}, "cpu_rates": {}, "peak_mib": {}},
        "compared": f"{options.slices} slices of 256x256 read by {options.workers} threads or processes",
        "repeats": options.rounds,
        "hardware": f"{machine}, Python {platform.python_version()}",
    }
    with tempfile.TemporaryDirectory(prefix="bench") as name, ExitStack() as stack:
        folder = Path(name)
        write_all(folder, options)
        places: dict[str, tuple[str, Mapping[str, str]]] = {"": (name, {})}
        if not options.no_s3:
            server = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchs3")))
            environment = stack.enter_context(s3_server(server / "s3"))
            upload(folder, environment)
            places["_s3"] = "s3://bench", environment
        report["paced"] = paced(folder, options)
        for end, (root, environment) in places.items():
            add(report, in_turns(root, environment, folder, options), end)
            report["load"] = [load, os.getloadavg()[0]]
            if options.json:  # what there is, should the next place fail
                options.json.write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def add(report: dict[str, Any], found: Mapping[str, Sequence[Reading]], end: str) -> None:
    """Put the readings from one place into the report."""
    report["ratios"] |= ratios(found, end)
    for side, readings in found.items():
        report["rates"][side + end] = statistics.median(one.rate for one in readings)
        report["cpu_rates"][side + end] = statistics.median(one.slices / one.cpu_seconds for one in readings)
        report["peak_mib"][side + end] = max(one.peak_mib for one in readings)


def show(report: Mapping[str, Any]) -> None:
    """Print the results."""
    for side, rate in report["rates"].items():
        cpu, peak = report["cpu_rates"][side], report["peak_mib"][side]
        print(f"{side:24s} {rate:8,.0f} slices/s {cpu:8,.0f} per CPU second, {peak:6,.0f} MiB")
    for name, value in {**report["paced"], **report["ratios"]}.items():
        print(f"{name:44s} {value:10.3f}")
    print(report["compared"])


if __name__ == "__main__":
    sys.exit(main())
