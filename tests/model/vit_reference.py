"""Both encoders written out slowly from their papers, on a dictionary of tensors under our names.

Grids must fit into one window; larger ones are proven against segment_anything itself.
"""

import math

import torch
import torch.nn.functional as F


def random_state(module, scale=0.2, seed=0):
    """Fill all parameters of a module with random values in float64 and return them by name."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(scale * values)
    return dict(module.named_parameters())


def layer_norm(tokens, state, name):
    centred = tokens - tokens.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + 1e-6).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(tokens, state, name):
    return tokens @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def mlp(tokens, state, name):
    inner = linear(tokens, state, f"{name}.lin1")
    gelu = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
    return linear(gelu, state, f"{name}.lin2")


def attention(tokens, state, name, heads, bias, hidden):
    """Tokens (N, dim) of one image; bias(q of a head (N, d)) -> (N, N); ``hidden`` (N,) are no keys."""
    dim = tokens.shape[1]
    qkv = linear(tokens, state, f"{name}.qkv")
    outputs = []
    for head in range(heads):
        part = slice(head * dim // heads, (head + 1) * dim // heads)
        q, k, v = (qkv[:, i * dim : (i + 1) * dim][:, part] for i in range(3))
        logits = q @ k.T / math.sqrt(dim // heads) + bias(q)
        logits = logits.masked_fill(hidden, -torch.inf)
        weights = logits.exp() / logits.exp().sum(1, keepdim=True)
        outputs.append(weights @ v)
    return linear(torch.cat(outputs, 1), state, f"{name}.proj")


def embedded(image, state, patch, masks=None, mask_token=None):
    """Patches (h, w, dim) of one image (3, H, W), cut one by one."""
    height, width = image.shape[1] // patch, image.shape[2] // patch
    weight = state["patch_embed.proj.weight"].flatten(1)
    rows = []
    for i in range(height):
        for j in range(width):
            if masks is not None and masks[i, j]:
                rows.append(mask_token)
                continue
            pixels = image[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
            rows.append(weight @ pixels.flatten() + state["patch_embed.proj.bias"])
    return torch.stack(rows).view(height, width, -1)


def on_grid(table, height, width):
    """Positions (1, h, w, dim) on another grid."""
    maps = F.interpolate(table.permute(0, 3, 1, 2), (height, width), mode="bicubic", antialias=True)
    return maps[0].permute(1, 2, 0)


def plain_tokens(state, settings, image, hidden=None, masks=None, mask_token=None):
    """Class token (dim,) and patches (h, w, dim) of one image; patches in ``hidden`` (h, w) are no keys."""
    grid = embedded(image, state, settings.patch, masks, mask_token)
    height, width, dim = grid.shape
    native = settings.native_grid
    table = state["pos_embed"][:, 1:].reshape(1, native, native, dim)
    patches = (grid + on_grid(table, height, width)).reshape(-1, dim)
    tokens = torch.cat([state["cls_token"][0] + state["pos_embed"][0, :1], patches])
    unseen = torch.zeros(len(tokens), dtype=torch.bool)
    if hidden is not None:
        unseen[1:] = hidden.flatten()
    for index in range(settings.depth):
        name = f"blocks.{index}"
        normed = layer_norm(tokens, state, f"{name}.norm1")
        no_bias = lambda q: 0.0  # noqa: E731
        tokens = tokens + attention(normed, state, f"{name}.attn", settings.heads, no_bias, unseen)
        tokens = tokens + mlp(layer_norm(tokens, state, f"{name}.norm2"), state, f"{name}.mlp")
    return tokens[0], tokens[1:].view(height, width, dim)


def sam_tokens(state, settings, image, hidden=None, masks=None, mask_token=None):
    """Patches (h, w, dim) of one image whose grid fits into a window; ``hidden`` (h, w) are no keys."""
    grid = embedded(image, state, settings.patch, masks, mask_token)
    height, width, dim = grid.shape
    tokens = grid + on_grid(state["pos_embed"], height, width)
    unseen = torch.zeros(height, width, dtype=torch.bool) if hidden is None else hidden
    for index in range(settings.depth):
        name = f"blocks.{index}"
        normed = layer_norm(tokens, state, f"{name}.norm1")
        padded = settings.compat == "sam" and index not in settings.global_blocks
        side = (settings.window,) * 2 if padded else (height, width)
        beyond = (0, side[1] - width, 0, side[0] - height)
        normed = F.pad(normed, (0, 0, *beyond)).flatten(0, 1)
        bias = relative_bias(state, f"{name}.attn", *side, stretch=settings.compat == "sam")
        mixed = attention(
            normed, state, f"{name}.attn", settings.heads, bias, F.pad(unseen, beyond).flatten()
        )
        tokens = tokens + mixed.view(*side, dim)[:height, :width]
        tokens = tokens + mlp(layer_norm(tokens, state, f"{name}.norm2"), state, f"{name}.mlp")
    return tokens


def relative_bias(state, name, height, width, stretch):
    """q -> q . Rh[down] + q . Rw[right], one pair of tokens after the other."""
    down, right = (
        table_for(state[f"{name}.rel_pos_{axis}"], size, stretch)
        for axis, size in (("h", height), ("w", width))
    )

    def bias(queries):
        entries = []
        for i in range(height * width):
            for j in range(height * width):
                rows, columns = i // width - j // width, i % width - j % width
                entry = down[rows + len(down) // 2] + right[columns + len(right) // 2]
                entries.append((queries[i] * entry).sum())
        return torch.stack(entries).view(height * width, -1)

    return bias


def table_for(table, size, stretch):
    """The whole table, whose middle entry is offset 0; stretched to exactly ``size`` as SAM does."""
    if not stretch:
        return table
    return F.interpolate(table.T[None], size=2 * size - 1, mode="linear")[0].T
