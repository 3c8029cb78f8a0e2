"""Dense features as colours: the first three principal components over the foreground of all slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

COMPONENTS = 3
PERCENTILES = (2, 98)
SAMPLE = 20_000
FLAT = 1e-5
"""A component that varies less than this fraction of the largest feature is rounding, not structure."""


def pca_pictures(dense: NDArray[np.float32], foreground: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Pictures (N, h, w, 3) in [0, 1] of dense features (N, h, w, C >= 3); background (N, h, w) is black.

    The components are fitted on the foreground patches of all slices together, so equal colours mean
    similar features in all of them. Each component runs from 0 to 1 between its 2nd and 98th percentile;
    a component without variation is mid-grey, so that a collapsed encoder looks flat and not like noise.
    With too few foreground patches to fit components everything is black.
    """
    patches = dense[foreground].astype(np.float64)
    pictures = np.zeros((*dense.shape[:3], COMPONENTS))
    if len(patches) <= COMPONENTS:
        return pictures
    step = max(1, len(patches) // SAMPLE)
    # the full solver chooses signs by the components alone, so the same features give the same colours
    scores = PCA(COMPONENTS, svd_solver="full").fit(patches[::step]).transform(patches)
    low, high = np.percentile(scores, PERCENTILES, axis=0)
    varies = high - low > FLAT * np.abs(patches).max()
    scaled = (scores - low) / np.where(varies, high - low, 1)
    pictures[foreground] = np.where(varies, np.clip(scaled, 0, 1), 0.5)
    return pictures
