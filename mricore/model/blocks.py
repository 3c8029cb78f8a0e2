"""The transformer block of both encoders; parameter names are SAM's, so its weights fit as they are."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mricore.config.schema import Model
from mricore.model.attention import attend, fused
from mricore.model.drop_path import Kept, add_branch

NORM_EPS = 1e-6


class AttentionBase(nn.Module):
    """Projections of multi-head attention; who attends to whom is for subclasses to say."""

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.heads = settings.heads
        self.backend = settings.attention
        self.head_dim = settings.dim // settings.heads
        self.qkv = nn.Linear(settings.dim, 3 * settings.dim)
        self.proj = nn.Linear(settings.dim, settings.dim)

    def together(self, tokens: Tensor) -> Tensor:
        """Queries, keys and values as they are made, (B, N, 3, heads, head dim)."""
        made: Tensor = self.qkv(tokens)
        return made.view(*tokens.shape[:2], 3, self.heads, self.head_dim)

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, N, head dim)."""
        qkv = self.together(tokens)
        # this order gives a gradient that lies like qkv, so that nothing copies it once more
        queries, keys, values = (part.transpose(1, 2) for part in qkv.unbind(2))
        return queries, keys, values

    def joined(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend and join the heads: (B, N, dim)."""
        attended = attend(queries, keys, values, self.head_dim**-0.5, self.backend)
        return attended.transpose(1, 2).flatten(2)

    def merged(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend, join the heads and project: (B, N, dim)."""
        return self.proj(self.joined(queries, keys, values))


class Attention(AttentionBase):
    """Attention among all tokens of a sequence."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, dim) -> the same shape."""
        if self.backend == "triton":
            return self.proj(fused(self.together(tokens), None, None, self.head_dim**-0.5))
        return self.merged(*self.split(tokens))

    def gathered(self, tokens: Tensor, readers: int) -> Tensor:
        """What the first ``readers`` tokens gather from all, before it is projected: (B, readers, dim)."""
        if self.backend == "triton" and readers == tokens.shape[1]:
            return fused(self.together(tokens), None, None, self.head_dim**-0.5)
        sizes = [self.proj.in_features, 2 * self.proj.in_features]
        weights, biases = self.qkv.weight.split(sizes), self.qkv.bias.split(sizes)
        queries = F.linear(tokens[:, :readers], weights[0], biases[0])
        keys, values = F.linear(tokens, weights[1], biases[1]).chunk(2, -1)
        heads = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (queries, keys, values))
        return self.joined(*heads)


class Mlp(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        hidden = int(dim * ratio)
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Per token."""
        return self.lin2(F.gelu(self.lin1(tokens)))


class Block(nn.Module):
    """Pre-norm block around an attention module that keeps the shape of (B, N, dim)."""

    def __init__(self, settings: Model, attn: nn.Module) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(settings.dim, eps=NORM_EPS)
        self.attn = attn
        self.norm2 = nn.LayerNorm(settings.dim, eps=NORM_EPS)
        self.mlp = Mlp(settings.dim, settings.mlp_ratio)

    def forward(self, tokens: Tensor, kept: tuple[Kept, Kept] | None = None, *where: object) -> Tensor:
        """(B, N, dim) -> the same shape; ``where`` is what the attention must know of the tokens' places."""
        attention, mlp = kept or (None, None)
        tokens = add_branch(tokens, lambda part: self.attn(self.norm1(part), *where), attention)
        return add_branch(tokens, lambda part: self.mlp(self.norm2(part)), mlp)
