"""Weights from outside and of our own: read strictly, loaded strictly, with a report. docs/weights.md."""

from mricore.model.weights.architecture import settings_of
from mricore.model.weights.files import read_tensors, write_tensors
from mricore.model.weights.layouts import read_weights
from mricore.model.weights.loading import load_into
from mricore.model.weights.report import LoadReport
from mricore.model.weights.strict import load_strictly
from mricore.model.weights.tensors import Layout, Weights

__all__ = [
    "Layout",
    "LoadReport",
    "Weights",
    "load_into",
    "load_strictly",
    "read_tensors",
    "read_weights",
    "settings_of",
    "write_tensors",
]
