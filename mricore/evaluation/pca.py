"""Dense features as colours: the first three principal components over the foreground of all slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

COMPONENTS = 3
PERCENTILES = (2, 98)
SAMPLE = 20_000


def pca_pictures(dense: NDArray[np.float32], foreground: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pictures (N, h, w, 3) in [0, 1] of dense features (N, h, w, C); background (N, h, w) is black.

    The components are fitted on the foreground patches of all slices together, so equal colours mean
    similar features in all of them. Signs are fixed, so that the same features give the same colours.
    """
    patches = dense[foreground]
    pictures = np.zeros((*dense.shape[:3], COMPONENTS))
    if len(patches) <= COMPONENTS:
        return pictures
    step = max(1, len(patches) // SAMPLE)
    pca = PCA(COMPONENTS, svd_solver="full").fit(patches[::step])
    largest = np.abs(pca.components_).argmax(1)
    signs = np.sign(pca.components_[np.arange(COMPONENTS), largest])
    scores = pca.transform(patches) * signs
    low, high = np.percentile(scores, PERCENTILES, axis=0)
    pictures[foreground] = np.clip((scores - low) / np.maximum(high - low, 1e-12), 0, 1)
    return pictures
