"""The open system for pretraining and judging MRI foundation encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mricore.model.embedder import Embedder

__all__ = ["load"]


def load(uri: str, device: str = "cpu") -> Embedder:
    """Load an encoder: ``models:/mri-core@champion``, ``models:/mri-core/3``, or a folder.

    The result embeds slices: ``load(uri)(images)`` with images (N, H, W) of any numeric type gives
    (N, dim) float32; ``.dense(images)`` gives patch features (N, h, w, dim).

    Raises:
        mricore.errors.UserError: there is no such model.
    """
    from mricore.registry.load import load as load_registered  # MLflow takes a second to import

    return load_registered(uri, device)
