"""DINOv2's training step written plainly from the papers: a yardstick for numbers and for speed.

Sources: DINO (arXiv 2104.14294), iBOT (2111.07832), DINOv2 (2304.07193), KoLeo (1806.03198), Sinkhorn-Knopp
of SwAV (2006.09882), SAM's encoder (2304.02643), ViT (2010.11929), AdamW (1711.05101).

Parameters have the package's names, so that its weights load here; apart from the settings nothing is
shared. This is how the method is usually written: softmax(Q K^T / sqrt(d) + bias) with an explicit N x N
bias, one pass for global and one for local crops, one call of the head per kind of token, loops over pairs
of views, AdamW as torch offers it, a moving average parameter by parameter, and stochastic depth that
multiplies branches by zero. Crops must fit into one window of the encoder.
"""

import copy
import math
import re

import torch
import torch.nn.functional as F
from torch import nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Attention(nn.Module):
    def __init__(self, dim, heads, table=0):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.table = table
        if table:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * table - 1, dim // heads))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * table - 1, dim // heads))

    def forward(self, tokens, side):
        batch, count, dim = tokens.shape
        qkv = self.qkv(tokens).reshape(batch, count, 3, self.heads, dim // self.heads)
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)
        logits = queries @ keys.transpose(-2, -1) / math.sqrt(dim // self.heads)
        if self.table:
            logits = logits + self.relative_bias(queries, side)
        attended = logits.softmax(dim=-1) @ values
        return self.proj(attended.transpose(1, 2).reshape(batch, count, dim))

    def relative_bias(self, queries, side):
        """q . Rh[row - row'] + q . Rw[column - column'] for every pair of tokens, (B, heads, N, N)."""
        batch, heads, count, channels = queries.shape
        grid = queries.reshape(batch, heads, side, side, channels)
        offsets = torch.arange(side)[:, None] - torch.arange(side)[None, :] + self.table - 1
        offsets = offsets.to(queries.device)
        rows = torch.einsum("bnhwc,hkc->bnhwk", grid, self.rel_pos_h[offsets])
        columns = torch.einsum("bnhwc,wkc->bnhwk", grid, self.rel_pos_w[offsets])
        return (rows[..., :, None] + columns[..., None, :]).reshape(batch, heads, count, count)


class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.lin1 = nn.Linear(dim, hidden)
        self.lin2 = nn.Linear(hidden, dim)

    def forward(self, tokens):
        return self.lin2(F.gelu(self.lin1(tokens)))


class Block(nn.Module):
    def __init__(self, model, table):
        super().__init__()
        self.norm1 = nn.LayerNorm(model.dim, eps=1e-6)
        self.attn = Attention(model.dim, model.heads, table)
        self.norm2 = nn.LayerNorm(model.dim, eps=1e-6)
        self.mlp = Mlp(model.dim, int(model.dim * model.mlp_ratio))

    def forward(self, tokens, side, factors=(1, 1)):
        """``factors`` of the two branches, (B, 1, 1) each: stochastic depth (arXiv 1603.09382)."""
        tokens = tokens + factors[0] * self.attn(self.norm1(tokens), side)
        return tokens + factors[1] * self.mlp(self.norm2(tokens))


def run(blocks, tokens, side, kept):
    """All blocks; ``kept`` (depth, 2, B) tells whose branches count, and keeps their expectation."""
    if kept is None:
        for block in blocks:
            tokens = block(tokens, side)
        return tokens
    factors = (kept / kept.float().mean(dim=-1, keepdim=True)).to(tokens.dtype)[..., None, None]
    for block, pair in zip(blocks, factors, strict=True):
        tokens = block(tokens, side, pair)
    return tokens


class PatchEmbed(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.proj = nn.Conv2d(3, model.dim, model.patch, model.patch)

    def forward(self, images):
        return self.proj(images).flatten(2).transpose(1, 2)


def resampled(table, side):
    """Positions (1, n, n, dim) at another grid, (1, side * side, dim)."""
    table = table.permute(0, 3, 1, 2)
    if table.shape[-1] != side:
        table = F.interpolate(table, (side, side), mode="bicubic", antialias=True)
    return table.flatten(2).transpose(1, 2)


class SamEncoder(nn.Module):
    """Patches and relative positions; no class token, no final norm. The neck is not used in training."""

    def __init__(self, model):
        super().__init__()
        self.patch, self.window = model.patch, model.window
        self.patch_embed = PatchEmbed(model)
        self.pos_embed = nn.Parameter(torch.zeros(1, model.native_grid, model.native_grid, model.dim))
        tables = [
            model.native_grid if index in model.global_blocks else model.window
            for index in range(model.depth)
        ]
        self.blocks = nn.ModuleList([Block(model, table) for table in tables])

    def forward(self, images, masks, mask_token, kept):
        """Patch tokens (B, N, dim) and no class token."""
        side = images.shape[-1] // self.patch
        assert side <= self.window, "a crop must fit into one window"
        tokens = self.patch_embed(images)
        if masks is not None:
            tokens = torch.where(masks.flatten(1)[..., None], mask_token, tokens)
        tokens = tokens + resampled(self.pos_embed, side)
        return run(self.blocks, tokens, side, kept), None


class PlainEncoder(nn.Module):
    """ViT with a class token in front and absolute positions; no final norm."""

    def __init__(self, model):
        super().__init__()
        self.patch, self.native = model.patch, model.native_grid
        self.patch_embed = PatchEmbed(model)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, model.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + model.native_grid**2, model.dim))
        self.blocks = nn.ModuleList([Block(model, 0) for _ in range(model.depth)])

    def forward(self, images, masks, mask_token, kept):
        """Patch tokens (B, N, dim) and class token (B, dim)."""
        side = images.shape[-1] // self.patch
        tokens = self.patch_embed(images)
        if masks is not None:
            tokens = torch.where(masks.flatten(1)[..., None], mask_token, tokens)
        table = self.pos_embed[:, 1:].reshape(1, self.native, self.native, -1)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        tokens = torch.cat([first, tokens + resampled(table, side)], dim=1)
        tokens = run(self.blocks, tokens, side, kept)
        return tokens[:, 1:], tokens[:, 0]


class AttentionPool(nn.Module):
    """Class attention (arXiv 2103.17239): one learned query asks all patches."""

    def __init__(self, model):
        super().__init__()
        self.heads = model.heads
        self.query = nn.Parameter(torch.zeros(model.dim))
        self.kv = nn.Linear(model.dim, 2 * model.dim)
        self.proj = nn.Linear(model.dim, model.dim)
        self.norm_mlp = nn.LayerNorm(model.dim, eps=1e-6)
        self.mlp = Mlp(model.dim, int(model.dim * model.mlp_ratio))
        self.norm_token = nn.LayerNorm(model.dim, eps=1e-6)

    def forward(self, patches):
        batch, count, dim = patches.shape
        keys, values = self.kv(patches).reshape(batch, count, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        query = self.query.reshape(self.heads, 1, -1)
        weights = (query @ keys.transpose(-2, -1) / math.sqrt(query.shape[-1])).softmax(dim=-1)
        token = self.proj((weights @ values).reshape(batch, dim))
        return self.norm_token(token + self.mlp(self.norm_mlp(token)))


class ImageToken(nn.Module):
    """One vector per crop: attention pooling, the class token, or the mean of visible patches."""

    def __init__(self, model):
        super().__init__()
        self.readout = model.readout
        self.norm = nn.LayerNorm(model.dim, eps=1e-6)
        if self.readout == "attention":
            self.pool = AttentionPool(model)

    def forward(self, patches, class_token, masks):
        patches = self.norm(patches)
        if self.readout == "attention":
            return self.pool(patches), patches
        if self.readout == "class":
            return self.norm(class_token), patches
        visible = torch.ones_like(patches[..., 0]) if masks is None else (~masks.flatten(1)).to(patches)
        return (patches * visible[..., None]).sum(1) / visible.sum(1, keepdim=True), patches


class Head(nn.Module):
    """MLP, unit sphere, and a weight-normed layer of prototypes with free lengths."""

    def __init__(self, dim, head):
        super().__init__()
        widths = [dim, *[head.hidden] * (head.layers - 1), head.bottleneck]
        self.layers = nn.ModuleList(
            [nn.Linear(*widths[index : index + 2]) for index in range(len(widths) - 1)]
        )
        self.prototypes = nn.Parameter(torch.ones(head.prototypes, head.bottleneck))
        self.prototypes_length = nn.Parameter(torch.ones(head.prototypes, 1))

    def forward(self, features):
        for layer in self.layers[:-1]:
            features = F.gelu(layer(features))
        features = F.normalize(self.layers[-1](features), dim=-1)
        weight = self.prototypes_length * self.prototypes / self.prototypes.norm(dim=1, keepdim=True)
        return features @ weight.T


class Network(nn.Module):
    def __init__(self, model, head):
        super().__init__()
        self.encoder = SamEncoder(model) if model.kind == "sam" else PlainEncoder(model)
        self.token = ImageToken(model)
        self.head = Head(model.dim, head)
        if not head.shared:
            self.patch_head = Head(model.dim, head)
        self.mask_token = nn.Parameter(torch.zeros(model.dim))
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1), persistent=False)

    def features(self, crops, masks=None, kept=None):
        """Grey crops (B, 1, S, S) -> image tokens (B, dim), patch tokens (B, N, dim)."""
        images = (crops.expand(-1, 3, -1, -1) - self.mean) / self.std
        patches, class_token = self.encoder(images, masks, self.mask_token, kept)
        return self.token(patches, class_token, masks)

    def project_patches(self, patches):
        return self.patch_head(patches) if hasattr(self, "patch_head") else self.head(patches)


def sinkhorn(logits, temperature):
    """Three rounds: prototypes to equal mass, then samples to equal mass; rows of the result sum to 1."""
    mass = torch.exp(logits / temperature).T
    mass = mass / mass.sum()
    prototypes, samples = mass.shape
    for _ in range(3):
        mass = mass / mass.sum(dim=1, keepdim=True) / prototypes
        mass = mass / mass.sum(dim=0, keepdim=True) / samples
    return (mass * samples).T


def pair_losses(students, teachers, temperature, same_views):
    """Sum over pairs of student and teacher views of the mean cross-entropy, without pairs of one view."""
    total = teachers[0].new_zeros(())
    for place, student in enumerate(students):
        logarithms = F.log_softmax(student / temperature, dim=-1)
        for other, targets in enumerate(teachers):
            if not (same_views and place == other):
                total = total - (targets * logarithms).sum(dim=-1).mean()
    return total


def patch_loss(student, targets, masks, temperature):
    """Cross-entropy of masked patches: each masked crop's mean, summed, over the number of all crops."""
    per_patch = -(targets * F.log_softmax(student / temperature, dim=-1)).sum(dim=-1)
    masks = masks.flatten(1)
    weights = (1 / masks.sum(dim=1, keepdim=True).clamp(min=1)).expand_as(masks)[masks]
    return (per_patch * weights).sum() / len(masks)


def koleo(tokens):
    """-mean log distance to the nearest neighbour on the sphere; equal images are no neighbours."""
    tokens = F.normalize(tokens, dim=-1)
    with torch.no_grad():
        cosines = tokens @ tokens.T
        cosines.fill_diagonal_(-2)
        cosines[cosines > 1 - 1e-6] = -2
        nearest, index = cosines.max(dim=1)
    distances = F.pairwise_distance(tokens, tokens[index], eps=1e-8)
    return -(torch.log(distances + 1e-8) * (nearest > -2)).sum() / len(tokens)


def parameter_groups(network, model, settings):
    """Layer-wise learning rates, and no decay of biases, norms, positions and tokens (DINOv2)."""
    groups = {}
    for name, parameter in network.named_parameters():
        block = re.match(r"encoder\.blocks\.(\d+)\.", name)
        layer = int(block.group(1)) + 1 if block else model.depth + 1
        if re.search("patch_embed|pos_embed|mask_token|cls_token", name):
            layer = 0
        scale = settings.layer_decay ** (model.depth + 1 - layer)
        if "patch_embed" in name:
            scale *= settings.patch_embed_lr_scale
        spared = parameter.ndim == 1 or re.search("rel_pos|pos_embed|cls_token", name)
        traits = {
            "lr_scale": scale,
            "decay_scale": 0.0 if spared else 1.0,
            "is_prototypes": "prototypes" in name,
        }
        groups.setdefault(tuple(traits.values()), {"params": [], **traits})["params"].append(parameter)
    return list(groups.values())


class PlainDinov2:
    """Student, teacher, optimiser and centres, and the step that advances them."""

    def __init__(self, recipe, weights):
        """``weights`` is the state of the package's network; student and teacher start from it."""
        self.objective, self.optimizer_settings = recipe.objective, recipe.optimizer
        self.student = Network(recipe.model, recipe.head)
        kept = {name: tensor for name, tensor in weights.items() if not name.startswith("encoder.neck.")}
        self.student.to(kept["mask_token"].dtype).load_state_dict(kept)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.student, recipe.model, recipe.optimizer), betas=recipe.optimizer.betas
        )
        self.image_center = self.patch_center = torch.zeros(1, recipe.head.prototypes)

    def to(self, device):
        """Move networks and centres; before the first step."""
        self.student.to(device)
        self.teacher.to(device)
        self.image_center, self.patch_center = self.image_center.to(device), self.patch_center.to(device)
        return self

    def targets(self, globals_, masks, temperature):
        """Teacher probabilities of both global crops, and of the patches that the student does not see."""
        image_tokens, patches = self.teacher.features(globals_)
        image_logits = self.teacher.head(image_tokens)
        patch_logits = self.teacher.project_patches(patches[masks.flatten(1)])
        if self.objective.centering == "sinkhorn":
            return sinkhorn(image_logits, temperature).chunk(2), sinkhorn(patch_logits, temperature)
        image_targets = F.softmax((image_logits - self.image_center) / temperature, dim=-1)
        patch_targets = F.softmax((patch_logits - self.patch_center) / temperature, dim=-1)
        if self.objective.centering == "center":
            keep = self.objective.center_momentum
            self.image_center = keep * self.image_center + (1 - keep) * image_logits.mean(dim=0)
            self.patch_center = keep * self.patch_center + (1 - keep) * patch_logits.mean(dim=0)
        return image_targets.chunk(2), patch_targets

    def losses(self, globals_, locals_, masks, teacher_temperature, kept=(None, None)):
        """The four terms and their weighted sum; crops are ordered crop by crop.

        ``kept`` (depth, 2, crops) of global and of local crops: the student's branches that count.
        """
        crops = 0 if locals_ is None else len(locals_) // (len(globals_) // 2)
        with torch.no_grad():
            image_targets, patch_targets = self.targets(globals_, masks, teacher_temperature)
        image_tokens, patches = self.student.features(globals_, masks, kept[0])
        global_logits = self.student.head(image_tokens)
        patch_logits = self.student.project_patches(patches[masks.flatten(1)])
        local_logits = ()
        if crops:
            local_logits = self.student.head(self.student.features(locals_, None, kept[1])[0]).chunk(crops)
        temperature, pairs = self.objective.student_temperature, 2 + 2 * crops
        terms = {
            "dino_global": pair_losses(global_logits.chunk(2), image_targets, temperature, True) / pairs,
            "dino_local": pair_losses(local_logits, image_targets, temperature, False) / pairs,
            "ibot": patch_loss(patch_logits, patch_targets, masks, temperature),
            "koleo": sum(koleo(tokens) for tokens in image_tokens.chunk(2)),
        }
        weights = self.objective
        total = weights.dino_weight * (terms["dino_global"] + terms["dino_local"])
        total = total + weights.ibot_weight * terms["ibot"] + weights.koleo_weight * terms["koleo"]
        return {"total": total, **terms}

    def step(self, globals_, locals_, masks, rates, kept=(None, None)):
        """One optimisation step; returns the losses before it.

        ``rates`` has lr, weight_decay, teacher_momentum, teacher_temperature and freeze_prototypes.
        """
        losses = self.losses(globals_, locals_, masks, rates.teacher_temperature, kept)
        self.optimizer.zero_grad()
        losses["total"].backward()
        for part in (*self.student.children(), [self.student.mask_token]):
            parameters = part if isinstance(part, list) else part.parameters()
            nn.utils.clip_grad_norm_(parameters, self.optimizer_settings.clip_norm)
        for group in self.optimizer.param_groups:
            frozen = rates.freeze_prototypes and group["is_prototypes"]
            group["lr"] = 0.0 if frozen else rates.lr * group["lr_scale"]
            group["weight_decay"] = rates.weight_decay * group["decay_scale"]
        self.optimizer.step()
        keep = rates.teacher_momentum
        with torch.no_grad():
            for average, parameter in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                average.mul_(keep).add_(parameter, alpha=1 - keep)
        return {name: loss.detach() for name, loss in losses.items()}
