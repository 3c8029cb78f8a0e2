"""The open system for pretraining and judging MRI foundation encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from mricore.model.embedder import Embedder

__all__ = ["load", "read_embeddings"]


def load(uri: str, device: str = "cpu") -> Embedder:
    """Load an encoder: ``models:/mri-core@champion``, ``models:/mri-core/3``, or a folder.

    The result embeds slices: ``load(uri)(images)`` with images (N, H, W) of any numeric type gives
    (N, dim) float32; ``.dense(images)`` gives patch features (N, h, w, dim).

    Raises:
        mricore.errors.UserError: there is no such model.
    """
    from mricore.registry.load import load as load_registered  # MLflow takes a second to import

    return load_registered(uri, device)


def read_embeddings(uri: str, patches: bool = False) -> pa.Table:
    """What ``jobs/embed.py`` wrote, as a table: a row per slice, in the order of the dataset.

    ``embedding`` holds the vectors; with ``patches``, which may need much memory, that column is there too,
    and its metadata tells the shape (docs/embeddings.md).

    Raises:
        mricore.errors.UserError: there are no complete embeddings, or they are damaged.
    """
    from mricore.data.embedding_place import read_embeddings as read_all

    return read_all(uri, patches)
