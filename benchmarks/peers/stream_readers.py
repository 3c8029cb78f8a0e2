"""What people feed slices with today, on request; runs in an environment of its own.

    python stream_readers.py SETTINGS.json

``bench_stream.py`` starts this as a child. It writes a line when it is ready; then, for each line of standard
input, it reads the dataset once and answers with a line of JSON: slices and seconds.

Needs torch, pillow, webdataset, mosaicml-streaming and boto3. Every reader is the library's own, with as many
worker processes as settings say, kept from one reading to the next. A slice becomes a tensor of the stored
type; batches are collated by torch.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

# streaming imports torchvision, whose build for GPUs registers these two itself
_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
with suppress(RuntimeError):
    _OPERATORS.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _OPERATORS.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def decoded(image: Image.Image) -> Tensor:
    """The pixels of a PNG, 8 or 16 bit."""
    return torch.from_numpy(np.array(image))


class PngFiles(Dataset):
    """One file per slice, in a folder or below a prefix of a bucket."""

    def __init__(self, place: str, names: list[str]) -> None:
        self.place, self.names = place, names
        self._get: Callable[[str], bytes] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor:
        if self._get is None:  # in each worker process
            self._get = from_bucket(self.place) if self.place.startswith("s3://") else self._from_folder
        return decoded(Image.open(io.BytesIO(self._get(self.names[index]))))

    def _from_folder(self, name: str) -> bytes:
        return (Path(self.place) / name).read_bytes()


def from_bucket(place: str) -> Callable[[str], bytes]:
    """Reads objects below a prefix."""
    import boto3

    client = boto3.client("s3")
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    return lambda name: client.get_object(Bucket=bucket, Key=f"{prefix}/{name}")["Body"].read()


def png_files(settings: dict[str, Any]) -> Iterable[Tensor]:
    """Torch's DataLoader over PNG files, in random order."""
    files = PngFiles(settings["place"], settings["names"])
    return DataLoader(files, shuffle=True, **loader_options(settings))


def webdataset(settings: dict[str, Any]) -> Iterable[Tensor]:
    """WebDataset over tar files of PNG: random order of files, a buffer of 1000 slices."""
    import webdataset as wds
    from webdataset.gopen import gopen_schemes

    def open_object(url: str, *_: Any, **__: Any) -> io.BytesIO:
        place, _, name = url.rpartition("/")
        return io.BytesIO(from_bucket(place)(name))

    gopen_schemes["s3"] = open_object
    urls = [f"{settings['place']}/{name}" for name in settings["names"]]
    shards = wds.WebDataset(urls, shardshuffle=len(urls), empty_check=False)
    samples = shards.shuffle(1000).map(lambda one: decoded(Image.open(io.BytesIO(one["png"]))))
    return wds.WebLoader(samples, **loader_options(settings))


def mosaic(settings: dict[str, Any]) -> Iterable[Tensor]:
    """MosaicML Streaming in its random order, from a folder, in which it unpacks what is packed."""
    from streaming import StreamingDataset

    options = loader_options(settings)
    dataset = StreamingDataset(local=settings["place"], shuffle=True, batch_size=options["batch_size"])
    return DataLoader(dataset, **options, collate_fn=mosaic_batch)


def mosaic_batch(samples: list[dict[str, Any]]) -> Tensor:
    """A batch of samples, which hold a PNG or an array."""
    found = [one["image"] for one in samples]
    return torch.stack([decoded(one) if isinstance(one, Image.Image) else torch.tensor(one) for one in found])


def loader_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Worker processes live on, and work two batches ahead."""
    return {
        "batch_size": settings["batch"],
        "num_workers": settings["workers"],
        "persistent_workers": settings["workers"] > 0,
    }


def write_mosaic(settings: dict[str, Any]) -> None:
    """A dataset in MosaicML's format of slices in an ``npy`` file: 8-bit PNG, or 16-bit arrays in zstd."""
    from streaming import MDSWriter

    images = np.load(settings["images"])
    png = images.dtype == np.uint8
    shape = ",".join(map(str, images.shape[1:]))
    form = (
        {"columns": {"image": "png"}}
        if png
        else {"columns": {"image": f"ndarray:uint16:{shape}"}, "compression": "zstd:1"}
    )
    with MDSWriter(out=settings["place"], size_limit=1 << 25, **form) as out:
        for number in range(settings["slices"]):
            image = images[number % len(images)]
            out.write({"image": Image.fromarray(image) if png else image})


READERS: dict[str, Callable[[dict[str, Any]], Iterable[Tensor]]] = {
    "png": png_files,
    "webdataset": webdataset,
    "mosaic": mosaic,
}


def main() -> None:
    """Get ready, then read the dataset once for each line of standard input."""
    channel = sys.stdout
    with redirect_stdout(sys.stderr):  # whatever a library prints is no answer
        settings = json.loads(Path(sys.argv[1]).read_text())
        os.environ.update(settings["environment"])
        torch.set_num_threads(1)
        answer = partial(print, file=channel, flush=True)
        if settings["reader"] == "write_mosaic":
            write_mosaic(settings)
            answer("{}")
            return
        loader = READERS[settings["reader"]](settings)
        answer("{}")
        for _ in sys.stdin:
            start = time.perf_counter()
            slices = sum(len(batch) for batch in loader)
            answer(json.dumps({"slices": slices, "seconds": time.perf_counter() - start}))


if __name__ == "__main__":
    sys.exit(main())
