"""How an archive is embedded: what is kept of each slice, and where it is computed."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from mricore.config.fields import Frozen, Positive


class Embedding(Frozen):
    """Settings of ``jobs/embed.py``; docs/embeddings.md tells what they cost."""

    image_size: int = Field(0, ge=0)
    """Slices are resized to a square of so many pixels, a multiple of the patch; 0: the encoder's own."""
    dense: bool = False
    """Also keep the features of each patch, as float16."""
    dtype: Literal["float32", "float16"] = "float32"
    """Of the vectors as they are kept."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """In which the encoder computes; bfloat16 on a GPU alone, where it is several times as fast."""
    batch: int = Field(64, ge=1)
    """Slices that go through the encoder together; those of a row group of the dataset at most."""
    workers: int = Field(0, ge=0)
    """Copies of the encoder, each in a process of its own; 0: as many as the cluster has room for."""
    cpus: Positive = 1.0
    """CPUs of a worker; without a GPU it computes with as many threads."""
    gpus: float = Field(0.0, ge=0)
    """GPUs of a worker, which then computes on one; 0.5 lets two workers share one."""
    readers: int = Field(4, ge=1)
    """Threads that read and decode ahead of each worker; more if its share of waiting is large."""

    @model_validator(mode="after")
    def _precision_fits(self) -> Self:
        if self.precision == "bfloat16" and not self.gpus:
            raise ValueError("bfloat16 is for GPUs: set embed.gpus as well, or leave embed.precision")
        return self

    @property
    def device(self) -> str:
        """The device of torch that a worker computes on."""
        return "cuda" if self.gpus else "cpu"
