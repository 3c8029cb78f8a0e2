"""The slice codec against 16-bit PNG, side by side on the same slices: size, encoding and decoding speed.

    python benchmarks/bench_codec.py [--quick] [--dicom FOLDER] [--json FILE]

Slices are generated phantoms with noise like MR's, or taken evenly from a folder of DICOM files. Ratios:
``size_vs_png`` (smaller is better), ``decode_vs_png`` and ``encode_vs_png`` (slices per second of ours over
PNG's; larger is better).
"""

import argparse
import io
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mricore.data import codec
from mricore.imaging.phantoms.tissues import Timing
from mricore.imaging.phantoms.volume import centered_grid, phantom_volume
from mricore.imaging.pixels import read_pixels


def phantoms(count: int) -> list[np.ndarray]:
    """Twelve-bit phantom slices, 256 x 256."""
    found: list[np.ndarray] = []
    for person, location in enumerate(("knee", "lumbar_spine", "abdomen", "thigh")):
        grid = centered_grid("axial", (count // 4, 256, 256), 300, 4, np.zeros(3, np.float32))
        image, _ = phantom_volume(location, person, grid, (Timing(4000, 90),), 1.5, person)
        found += list(np.clip(image[0] * 2000, 0, 4095).astype(np.uint16))
    return found


def real(folder: Path, count: int) -> list[np.ndarray]:
    """Slices of the files below a folder, all of which must be MR images."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = []
    for index in np.linspace(0, len(files) - 1, count).astype(int):
        with files[index].open("rb") as stream:
            found += [pixels.view(np.uint16) for pixels in read_pixels(stream)]
    return found


def to_png(pixels: np.ndarray) -> bytes:
    """What people do today."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def from_png(content: bytes) -> np.ndarray:
    """Undo ``to_png``."""
    return np.asarray(Image.open(io.BytesIO(content)))


def rate(function: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Items per second."""
    start = time.perf_counter()
    for item in items:
        function(item)
    return len(items) / (time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure alternately, report medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer slices and repeats")
    parser.add_argument(
        "--dicom", type=Path, metavar="FOLDER", help="measure these slices instead of phantoms"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios here")
    options = parser.parse_args(arguments)
    repeats = 3 if options.quick else 9
    count = 40 if options.quick else 160
    images = real(options.dicom, count) if options.dicom else phantoms(count)
    ours = [(codec.encode(image), *image.shape) for image in images]
    png = [to_png(image) for image in images]
    for image, mine, other in zip(images, ours, png, strict=True):
        assert np.array_equal(codec.decode(*mine, "uint16"), image)  # noqa: S101
        assert np.array_equal(from_png(other), image)  # noqa: S101
    rates: dict[str, list[float]] = {name: [] for name in ("decode", "decode png", "encode", "encode png")}
    for _ in range(repeats):
        rates["decode"].append(rate(lambda item: codec.decode(*item, "uint16"), ours))
        rates["decode png"].append(rate(from_png, png))
        rates["encode"].append(rate(codec.encode, images))
        rates["encode png"].append(rate(to_png, images))
    median = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {
        "size_vs_png": sum(len(content) for content, *_ in ours) / sum(map(len, png)),
        "decode_vs_png": median["decode"] / median["decode png"],
        "encode_vs_png": median["encode"] / median["encode png"],
    }
    for name, value in median.items():
        print(f"{name:12s} {value:10,.0f} slices/s on one core")
    for name, value in ratios.items():
        print(f"{name:16s} {value:.2f}")
    if options.json:
        kind = "real slices" if options.dicom else "phantom slices 256x256, 12 bit in uint16"
        compared = f"codec against Pillow PNG, {len(images)} {kind}"
        document = {
            "ratios": ratios,
            "rates": median,
            "compared": compared,
            "repeats": repeats,
            "hardware": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
