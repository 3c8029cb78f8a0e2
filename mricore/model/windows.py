"""Cutting a grid of tokens into windows, and back."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def to_windows(tokens: Tensor, window: int) -> Tensor:
    """(B, h, w, C) -> (B * number of windows, window * window, C), zero-padded at bottom and right."""
    batch, height, width, channels = tokens.shape
    tokens = F.pad(tokens, (0, 0, 0, -width % window, 0, -height % window))
    rows, columns = tokens.shape[1] // window, tokens.shape[2] // window
    tokens = tokens.view(batch, rows, window, columns, window, channels)
    return tokens.transpose(2, 3).reshape(-1, window * window, channels)


def from_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """Undo ``to_windows``: (B, height, width, C)."""
    rows, columns = -(-height // window), -(-width // window)
    tokens = windows.view(-1, rows, columns, window, window, windows.shape[-1])
    tokens = tokens.transpose(2, 3).reshape(-1, rows * window, columns * window, windows.shape[-1])
    return tokens[:, :height, :width]
