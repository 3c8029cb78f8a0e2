"""One vector per slice, and the normalised patches, from what an encoder returns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.model.blocks import NORM_EPS, Mlp
from mricore.model.tokens import ChosenTokens, Tokens, VisibleTokens


class ImageToken(nn.Module):
    """The final norm of all tokens, and the readout.

    It is trained beside the encoder and is not part of SAM, whose neck takes tokens as they are.
    """

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.kind = settings.kind
        self.readout = settings.readout
        self.norm = nn.LayerNorm(settings.dim, eps=NORM_EPS)
        if settings.readout == "attention":
            self.pool = AttentionPool(settings)

    def forward(self, tokens: Tokens, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Image token (B, dim) and normalised patches (B, h * w, dim).

        Patches in ``masks`` (B, h, w) do not count in the mean; the other readouts see all.
        """
        return self._read(tokens.grid.flatten(1, 2), tokens.class_token, masks)

    def of_visible(self, tokens: VisibleTokens) -> tuple[Tensor, Tensor]:
        """Image token (B, dim) and normalised patches (B, n, dim) of the patches that were shown."""
        return self._read(tokens.patches, tokens.class_token, None)

    def of_chosen(self, tokens: ChosenTokens) -> tuple[Tensor, Tensor]:
        """Image token (B, dim) and normalised patches (M, dim), where the class token is the readout."""
        return self.norm(tokens.class_token), self.norm(tokens.patches)

    def dense(self, tokens: Tokens) -> Tensor:
        """What users get per patch, (B, h, w, dim): before the norm as of SAM, after it as of DINOv2."""
        return tokens.grid if self.kind == "sam" else self.norm(tokens.grid)

    def _read(
        self, tokens: Tensor, class_token: Tensor | None, masks: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        patches: Tensor = self.norm(tokens)
        if self.readout == "attention":
            return self.pool(patches), patches
        if self.readout == "mean":
            return mean_of_shown(patches, masks), patches
        return self.norm(class_token), patches


class AttentionPool(nn.Module):
    """A learned query attends to the patches (class attention, arXiv 2103.17239).

    As the query is the same for all images, keys and values of the patches need not be made: it is taken
    through the projection of keys once, and what it gathers goes through the projection of values. The bias
    of keys would add the same to all logits, so it plays no part.
    """

    def __init__(self, settings: Model) -> None:
        super().__init__()
        dim = settings.dim
        self.heads = settings.heads
        self.query = nn.Parameter(torch.empty(dim))
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm_mlp = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, settings.mlp_ratio)
        self.norm_token = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, N, dim) -> (B, dim)."""
        dim = patches.shape[-1]
        keys, values = self.kv.weight.view(2, self.heads, -1, dim).unbind(0)  # (heads, head dim, dim)
        query = self.query.view(self.heads, 1, -1) * (dim // self.heads) ** -0.5
        shares = (patches @ (query @ keys).squeeze(1).T).softmax(dim=1)  # (B, N, heads)
        gathered = (shares.mT @ patches).transpose(0, 1)  # (heads, B, dim)
        pooled = (gathered @ values.mT).transpose(0, 1).flatten(1) + self.kv.bias[dim:]
        token = self.proj(pooled)
        token = token + self.mlp(self.norm_mlp(token))
        return self.norm_token(token)


def mean_of_shown(patches: Tensor, masks: Tensor | None) -> Tensor:
    """Mean (B, dim) of the patches (B, N, dim) that are not masked; zero where all are."""
    if masks is None:
        return patches.mean(1)
    shown = (~masks.flatten(1))[..., None].to(patches.dtype)
    return (patches * shown).sum(1) / shown.sum(1).clamp(min=1)
