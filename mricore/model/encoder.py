"""The two encoders behind one name."""

from __future__ import annotations

from mricore.config.schema import Model
from mricore.model.plain_encoder import PlainEncoder
from mricore.model.sam_encoder import SamEncoder

Encoder = SamEncoder | PlainEncoder


def build_encoder(settings: Model) -> Encoder:
    """The encoder that ``settings.kind`` names, with weights yet to be given."""
    return SamEncoder(settings) if settings.kind == "sam" else PlainEncoder(settings)
