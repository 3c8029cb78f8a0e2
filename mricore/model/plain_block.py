"""The block of a plain encoder, which can also make only those of its outputs that are read."""

from __future__ import annotations

from torch import Tensor

from mricore.config.schema import Model
from mricore.model.blocks import Attention, Block
from mricore.model.drop_path import Kept


class PlainBlock(Block):
    """A block with attention among all tokens."""

    attn: Attention

    def __init__(self, settings: Model) -> None:
        super().__init__(settings, Attention(settings))

    def chosen(
        self, tokens: Tensor, readers: int, places: Tensor, kept: tuple[Kept, Kept] | None = None
    ) -> Tensor:
        """Of what ``forward`` makes of tokens (B, N, dim), the rows at ``places`` (R,) alone: (R, dim).

        ``places`` are row-major in (B, ``readers``), the first tokens of each image. Tokens mix in attention
        alone: one whose output is not read is a key and a value, and needs neither a query (if it is not
        among the readers) nor output projection and MLP.
        """
        attention, mlp = kept or (None, None)
        images = places // readers
        gathered = self._gathered(tokens, readers, attention).flatten(0, 1).index_select(0, places)
        rows = tokens[:, :readers].flatten(0, 1).index_select(0, places)
        rows = _add(rows, self.attn.proj(gathered), attention, images, len(tokens))
        return _add(rows, self.mlp(self.norm2(rows)), mlp, images, len(tokens))

    def _gathered(self, tokens: Tensor, readers: int, kept: Kept | None) -> Tensor:
        """(B, readers, dim); attention is computed for the kept images alone, the others hold zeros."""
        if kept is None:
            return self.attn.gathered(self.norm1(tokens), readers)
        part = self.attn.gathered(self.norm1(tokens.index_select(0, kept.rows)), readers)
        return part.new_zeros(len(tokens), *part.shape[1:]).index_copy(0, kept.rows, part)


def _add(rows: Tensor, residual: Tensor, kept: Kept | None, images: Tensor, batch: int) -> Tensor:
    """Rows (R, dim) of ``images`` (R,) + their residual where the image keeps it.

    How many rows that are is known to the device alone, so that the others are multiplied by zero.
    """
    if kept is None:
        return rows + residual
    stays = residual.new_zeros(batch, 1).index_fill(0, kept.rows, 1).index_select(0, images)
    return rows.add((residual * stays).to(rows.dtype), alpha=kept.scale)
