"""Views in batch against the usual way: image by image with Pillow, eight bits, as DINOv2's loader does it.

    python benchmarks/bench_views.py [--quick] [--json FILE]

Both sides cut 2 global crops of 224 and 8 local crops of 96 pixels from generated phantom slices of 256 to
512 pixels on one core, timed by its CPU in turns. Ours begins with 16-bit slices and includes the draws and
the padding; Pillow's begins with decoded 8-bit images; both end with float32 crops. Ratios, of slices per
second (larger is better):

- ``views_vs_pil``: all that we do, bias field, noise and the choice of crops with foreground included,
  against DINOv2's own list in RGB (brightness, contrast, saturation, hue, greyscale, blur, solarize).
- ``same_changes_vs_pil_grey``: both sides crop, flip, change brightness and contrast and blur, Pillow in one
  channel without what does nothing to grey images, ours with gamma in addition.
- ``views_vs_pil_grey``: all that we do against that same lean list.
"""

import argparse
import json
import math
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from mricore.augment.collate import pad_slices
from mricore.augment.crops import make_views
from mricore.augment.draws import draw_views
from mricore.config.schema import Augment
from mricore.imaging.phantoms.tissues import Timing
from mricore.imaging.phantoms.volume import centered_grid, phantom_volume

ALL = Augment()
SAME = Augment(foreground_candidates=1, bias_probability=0, noise_probability=0)
SIDES = (256, 320, 384, 512)
BATCH = 16
FULL_SCALE = 65535


def phantoms(count: int) -> list[np.ndarray]:
    """Sixteen-bit phantom slices of several sizes, in no order of size."""
    found: list[np.ndarray] = []
    for side in SIDES:
        grid = centered_grid("axial", (count // len(SIDES), side, side), 300, 4, np.zeros(3, np.float32))
        image, _ = phantom_volume("abdomen", side, grid, (Timing(4000, 90),), 1.5, side)
        found += list((image[0] / image[0].max() * FULL_SCALE).astype(np.uint16))
    random.Random(0).shuffle(found)
    return found


def ours(slices: Sequence[np.ndarray], settings: Augment, seed: int) -> int:
    """Batch by batch; returns the number of crops."""
    made = 0
    rng = np.random.default_rng(seed)
    for start in range(0, len(slices), BATCH):
        images, sizes = pad_slices(slices[start : start + BATCH])
        parameters = draw_views(rng, len(images), settings)
        levels = torch.tensor([[0.0, FULL_SCALE]]).expand(len(images), 2)
        crops = make_views(images, sizes, parameters, settings, 224, 96, levels)
        made += sum(map(len, crops))
    return made


def pillow(images: Sequence[Image.Image], seed: int) -> int:
    """Image by image; returns the number of crops."""
    rng = random.Random(seed)
    return sum(len(pillow_views(image, rng)) for image in images)


def pillow_views(image: Image.Image, rng: random.Random) -> list[torch.Tensor]:
    """DINOv2's crops of one image, with the blur probabilities that it intended."""
    views = []
    for view in range(2 + ALL.local_crops):
        size, scale = (224, ALL.global_scale) if view < 2 else (96, ALL.local_scale)
        crop = random_resized_crop(image, size, scale, rng)
        if rng.random() < 0.5:
            crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        crop = color_jitter(crop, rng)
        if rng.random() < ALL.blur_probability[min(view, 2)]:
            crop = crop.filter(ImageFilter.GaussianBlur(rng.uniform(*ALL.blur_sigma)))
        if image.mode == "RGB" and view == 1 and rng.random() < 0.2:
            crop = ImageOps.solarize(crop, 128)
        views.append(torch.from_numpy(np.asarray(crop, np.float32) / 255))
    return views


def random_resized_crop(
    image: Image.Image, size: int, scale: tuple[float, float], rng: random.Random
) -> Image.Image:
    """Bicubic; ten tries for a box that fits, else the whole image."""
    for _ in range(10):
        area = image.width * image.height * rng.uniform(*scale)
        ratio = math.exp(rng.uniform(*map(math.log, ALL.ratio)))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if width <= image.width and height <= image.height:
            left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
            image = image.crop((left, top, left + width, top + height))
            break
    return image.resize((size, size), Image.Resampling.BICUBIC)


def color_jitter(crop: Image.Image, rng: random.Random) -> Image.Image:
    """Brightness and contrast; in RGB also saturation, hue and greyscale."""
    color = crop.mode == "RGB"
    if rng.random() < ALL.jitter_probability:
        crop = ImageEnhance.Brightness(crop).enhance(rng.uniform(0.6, 1.4))
        crop = ImageEnhance.Contrast(crop).enhance(rng.uniform(0.6, 1.4))
        if color:
            crop = ImageEnhance.Color(crop).enhance(rng.uniform(0.8, 1.2))
            hue, saturation, value = crop.convert("HSV").split()
            hue = Image.fromarray(np.asarray(hue) + np.uint8(rng.randrange(26)))
            crop = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    if color and rng.random() < 0.2:
        crop = crop.convert("L").convert("RGB")
    return crop


def rate(function: Callable[[], int], slices: int) -> float:
    """Slices per second of this process's CPU."""
    start = time.process_time()
    made = function()
    assert made == slices * (2 + ALL.local_crops)  # noqa: S101
    return slices / (time.process_time() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure in turns, report medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer slices and repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the ratios here")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    slices = phantoms(32 if options.quick else 96)
    grey = [Image.fromarray((pixels >> 8).astype(np.uint8)) for pixels in slices]
    color = [image.convert("RGB") for image in grey]
    repeats = 3 if options.quick else 9
    rates: dict[str, list[float]] = {}
    ours(slices, ALL, 0)  # what is slow once is not counted
    for seed in range(repeats):
        for name, function in {
            "ours": lambda seed=seed: ours(slices, ALL, seed),
            "ours, same changes": lambda seed=seed: ours(slices, SAME, seed),
            "pillow RGB": lambda seed=seed: pillow(color, seed),
            "pillow grey": lambda seed=seed: pillow(grey, seed),
        }.items():
            rates.setdefault(name, []).append(rate(function, len(slices)))
    median = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {
        "views_vs_pil": median["ours"] / median["pillow RGB"],
        "same_changes_vs_pil_grey": median["ours, same changes"] / median["pillow grey"],
        "views_vs_pil_grey": median["ours"] / median["pillow grey"],
    }
    for name, value in median.items():
        print(f"{name:20s} {value:8,.0f} slices/s on one core")
    for name, value in ratios.items():
        print(f"{name:26s} {value:.2f}")
    if options.json:
        document = {
            "ratios": ratios,
            "rates": median,
            "compared": f"2 x 224 + 8 x 96 crops of {len(slices)} phantom slices of {SIDES} pixels, one core",
            "repeats": repeats,
            "hardware": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
