"""The decoder of masked autoencoding (arXiv 2111.06377, section 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mricore.config.schema import Mae, Model
from mricore.model.blocks import NORM_EPS, Attention, Block
from mricore.model.patches import take


class MaeDecoder(nn.Module):
    """Predicts the pixels of hidden patches from the tokens of the visible ones."""

    def __init__(self, model: Model, mae: Mae) -> None:
        super().__init__()
        settings = model.model_copy(update={"dim": mae.decoder_dim, "heads": mae.decoder_heads})
        self.embed = nn.Linear(model.dim, mae.decoder_dim)
        self.mask_token = nn.Parameter(torch.empty(mae.decoder_dim))
        self.blocks = nn.ModuleList(Block(settings, Attention(settings)) for _ in range(mae.decoder_depth))
        self.norm = nn.LayerNorm(mae.decoder_dim, eps=NORM_EPS)
        self.predict = nn.Linear(mae.decoder_dim, model.patch**2)

    def forward(
        self, visible: Tensor, class_token: Tensor | None, keep: Tensor, hidden: Tensor, grid: tuple[int, int]
    ) -> Tensor:
        """Normalised tokens (B, n, dim) at ``keep`` (B, n) -> pixels (B, m, patch * patch) at ``hidden``.

        The order of tokens means nothing to attention, so visible ones come first and hidden ones last; the
        class token, if there is one, comes before all and has no position.
        """
        batch = len(visible)
        shown = self.embed(visible)
        table = sine_positions(*grid, shown.shape[-1], shown.device).to(shown.dtype).expand(batch, -1, -1)
        sequence = [shown + take(table, keep), self.mask_token.to(shown.dtype) + take(table, hidden)]
        if class_token is not None:
            sequence.insert(0, self.embed(class_token)[:, None])
        tokens = torch.cat(sequence, 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.predict(self.norm(tokens[:, -hidden.shape[1] :]))


def sine_positions(height: int, width: int, dim: int, device: torch.device) -> Tensor:
    """Fixed positions of a grid in row-major order, (1, height * width, dim), float64.

    A quarter of the channels each: sine and cosine of the row, sine and cosine of the column, with
    frequencies from 1 down to 1 / 10,000 (arXiv 1706.03762, per axis).
    """
    exponents = torch.arange(dim // 4, device=device, dtype=torch.float64) / (dim // 4)
    rates = 10_000.0**-exponents
    rows = torch.arange(height, device=device)[:, None] * rates
    columns = torch.arange(width, device=device)[:, None] * rates
    angles = [rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)]
    parts = [wave(angle) for angle in angles for wave in (torch.sin, torch.cos)]
    return torch.cat(parts, -1).view(1, height * width, dim)
