"""Meta's own image encoder as a reference, random everywhere (also positions, which it starts at zero)."""

import torch

from mricore.model.segment_anything_class import image_encoder


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
