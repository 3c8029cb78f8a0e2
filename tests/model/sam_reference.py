"""Meta's own image encoder as a reference, random everywhere (also positions, which it starts at zero)."""

import importlib
import sys
import types

import torch
from torch import nn

from mricore.model.segment_anything_class import MODELING, image_encoder, modeling


def sam_encoder(settings):
    """Meta's image encoder with the settings of ours."""
    torch.manual_seed(0)  # the constructor draws from the global generator
    encoder = image_encoder(settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if "rel_pos" in name or "pos_embed" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return encoder.eval()


def sam_encoder_at(settings, weights, positions):
    """Meta's class built for the square grid of ``positions`` (1, g, g, dim), with other weights of ours.

    Its tables of relative positions keep their length; the class stretches them when it runs.
    """
    encoder = image_encoder(settings.model_copy(update={"native_grid": positions.shape[1]}))
    weights = {**weights, "pos_embed": positions}
    for name, _ in list(encoder.named_parameters()):
        owner, _, last = name.rpartition(".")
        setattr(encoder.get_submodule(owner), last, nn.Parameter(weights[name].detach().clone()))
    return encoder.eval()


def sam_builders(monkeypatch):
    """``segment_anything.build_sam``, whose package needs torchvision, behind a bare parent module."""
    folder = next(iter(modeling().__path__)).rpartition("/")[0]
    parent = types.ModuleType("segment_anything")
    parent.__path__ = [folder]
    monkeypatch.setitem(sys.modules, "segment_anything", parent)
    monkeypatch.setitem(sys.modules, MODELING, modeling())
    return importlib.import_module("segment_anything.build_sam")
