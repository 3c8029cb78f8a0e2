"""The code that MLflow stores with each version ("models from code"): slices in, embeddings out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from mricore.model.embedder import Embedder


class SliceEmbedder(PythonModel):
    """``predict``: slices (N, H, W) of any numeric type -> embeddings (N, dim), float32."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the encoder from the version's artifacts."""
        self.embedder = Embedder.load(Path(context.artifacts["embedder"]))

    # The bare array type keeps MLflow from deriving a schema, which would refuse integer slices.
    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,
        params: dict[str, Any] | None = None,
    ) -> np.ndarray:
        """Embed slices of shape (N, H, W), (N, 1, H, W) or (H, W); each is min-max normalised."""
        return np.asarray(self.embedder(np.asarray(model_input)), np.float32)


set_model(SliceEmbedder())
