"""Files of others, made with their own classes where we have them, else with classes written here.

And networks of ours that these weights go into.
"""

import hashlib
import importlib
import importlib.util
import json
import sys
import types

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from mricore.config.recipes import tiny
from mricore.config.schema import Head, Mae, Model
from mricore.model.mae_network import build_mae_network
from mricore.model.network import build_network
from mricore.model.segment_anything_class import PACKAGE, image_encoder, modeling

SAM = Model(
    dim=32,
    depth=3,
    heads=4,
    patch=4,
    window=5,
    global_blocks=(1,),
    native_grid=8,
    neck_dim=32,
    readout="mean",
)
PLAIN = Model(kind="plain", dim=32, depth=3, heads=4, patch=4, native_grid=6, readout="class")
HEAD = {"prototypes": 12, "hidden": 16, "bottleneck": 8}


def shaken(module, seed=0, scale=0.1):
    """Random values everywhere, since tensors that start at 0 or 1 would hide a mix-up."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def meta_sam(settings=SAM, seed=0):
    """Meta's whole Sam of any size, as its own builder joins the parts."""
    parts, grid = modeling(), settings.native_grid
    torch.manual_seed(seed)  # its constructors draw from the global generator
    sam = parts.Sam(
        image_encoder(settings),
        parts.PromptEncoder(settings.neck_dim, (grid, grid), (grid * settings.patch,) * 2, mask_in_chans=16),
        parts.MaskDecoder(
            num_multimask_outputs=3,
            transformer=parts.TwoWayTransformer(
                depth=2, embedding_dim=settings.neck_dim, mlp_dim=64, num_heads=8
            ),
            transformer_dim=settings.neck_dim,
        ),
    )
    return shaken(sam, seed)


def meta_registry():
    """``segment_anything.sam_model_registry``, which needs no torchvision behind a bare parent package."""
    modeling()
    parent = types.ModuleType(PACKAGE)
    parent.__path__ = list(importlib.util.find_spec(PACKAGE).submodule_search_locations)
    sys.modules[PACKAGE] = parent
    try:
        return importlib.import_module(f"{PACKAGE}.build_sam").sam_model_registry
    finally:
        del sys.modules[PACKAGE]


class StockBlock(nn.Module):
    """A block of DINOv2, MAE and timm, with LayerScale as a step of its own."""

    def __init__(self, dim, heads, layer_scale):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(dim, 3 * dim), "proj": nn.Linear(dim, dim)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(dim, 4 * dim), "fc2": nn.Linear(4 * dim, dim)})
        if layer_scale:
            self.ls1, self.ls2 = nn.Module(), nn.Module()
            self.ls1.gamma, self.ls2.gamma = nn.Parameter(torch.ones(dim)), nn.Parameter(torch.ones(dim))

    def forward(self, tokens):
        mixed = self.attend(self.norm1(tokens))
        tokens = tokens + (self.ls1.gamma * mixed if hasattr(self, "ls1") else mixed)
        mixed = self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(tokens))))
        return tokens + (self.ls2.gamma * mixed if hasattr(self, "ls2") else mixed)

    def attend(self, tokens):
        batch, count, dim = tokens.shape
        queries, keys, values = (
            part.view(batch, count, self.heads, -1).transpose(1, 2)
            for part in self.attn["qkv"](tokens).chunk(3, dim=-1)
        )
        shares = (queries @ keys.mT / (dim // self.heads) ** 0.5).softmax(-1)
        return self.attn["proj"]((shares @ values).transpose(1, 2).reshape(batch, count, dim))


class StockVit(nn.Module):
    """A plain ViT with the names that DINOv2, MAE and timm share, at its own image size."""

    def __init__(self, settings=PLAIN, layer_scale=False, mask_token=False):
        super().__init__()
        dim = settings.dim
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, settings.patch, settings.patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + settings.native_grid**2, dim))
        self.blocks = nn.ModuleList(
            StockBlock(dim, settings.heads, layer_scale) for _ in range(settings.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        if mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, dim))

    def forward(self, images, masks=None):
        """Normed class token (B, dim) and patches (B, N, dim); ``masks`` (B, N) hides patches."""
        patches = self.patch_embed["proj"](images).flatten(2).mT
        if masks is not None:
            patches = torch.where(masks[..., None], self.mask_token, patches)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1), patches], 1) + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        normed = self.norm(tokens)
        return normed[:, 0], normed[:, 1:]


def stock_vit(settings=PLAIN, seed=0, **parts):
    torch.manual_seed(seed)
    return shaken(StockVit(settings, **parts), seed)


class StockHead(nn.Module):
    """DINOv2's head: three layers, unit length, and a linear layer with weight normalisation."""

    def __init__(self, dim, prototypes, hidden, bottleneck):
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.last_layer = nn.Module()
        self.last_layer.weight_g = nn.Parameter(torch.ones(prototypes, 1))
        self.last_layer.weight_v = nn.Parameter(torch.randn(prototypes, bottleneck))

    def forward(self, features):
        inner = self.mlp(features)
        inner = inner / inner.norm(dim=-1, keepdim=True)
        direction = self.last_layer.weight_v
        return inner @ (self.last_layer.weight_g * direction / direction.norm(dim=1, keepdim=True)).T


def stock_head(settings=PLAIN, seed=5):
    torch.manual_seed(seed)
    return shaken(StockHead(settings.dim, **HEAD), seed)


def chunked(state, size=2):
    """Block I as ``blocks.C.I``, C = I // size: how DINOv2 names blocks that it wraps in chunks."""
    names = {}
    for name in state:
        parts = name.split(".")
        if parts[0] == "blocks":
            parts.insert(1, str(int(parts[1]) // size))
        names[name] = ".".join(parts)
    return {names[name]: tensor for name, tensor in state.items()}


def teacher_file(vit, head, ibot_head=None, chunks=True):
    """What DINOv2's training saves of a teacher, as the released MRI-CORE is."""
    backbone = chunked(vit.state_dict()) if chunks else vit.state_dict()
    parts = {"backbone": backbone, "dino_head": head.state_dict()}
    if ibot_head is not None:
        parts["ibot_head"] = ibot_head.state_dict()
    return {"teacher": {f"{part}.{name}": t for part, state in parts.items() for name, t in state.items()}}


def mae_file(vit):
    """MAE's file with its decoder, which has another width and a mask token."""
    extra = {"mask_token": torch.zeros(1, 1, 16), "decoder_embed.weight": torch.zeros(16, 32)}
    extra |= {
        "decoder_blocks.0.mlp.fc1.weight": torch.zeros(4, 16),
        "decoder_pos_embed": torch.zeros(1, 37, 16),
    }
    return {"model": {**vit.state_dict(), **extra}}


def saved(folder, content, name="weights.pth"):
    torch.save(content, folder / name)
    return folder / name


FILES = {
    "sam": lambda: ("sam", meta_sam().state_dict()),
    "mri_core": lambda: ("mri_core", teacher_file(stock_vit(mask_token=True), stock_head())),
    "mri_core with two heads": lambda: (
        "mri_core",
        teacher_file(stock_vit(mask_token=True), stock_head(), stock_head(seed=6), chunks=False),
    ),
    "dinov2": lambda: ("dinov2", stock_vit(layer_scale=True, mask_token=True).state_dict()),
    "mae": lambda: ("mae", mae_file(stock_vit())),
}


def dinov2_network(model, **head):
    return build_network(model, Head(**{**HEAD, **head}), torch.Generator().manual_seed(7)).eval()


def mae_network(model):
    return build_mae_network(
        model, Mae(decoder_dim=16, decoder_depth=1, decoder_heads=2), torch.Generator().manual_seed(7)
    ).eval()


def checkpoint_folder(folder, settings, **networks):
    """The parts of a checkpoint of a run that matter here."""
    tensors = {f"{part}/{name}": t for part, net in networks.items() for name, t in net.state_dict().items()}
    save_file({**tensors, "centers/image": torch.zeros(3)}, folder / "tensors.safetensors")
    document = {
        "recipe": tiny().model_copy(update={"model": settings}).model_dump(mode="json"),
        "sha256": hashlib.sha256((folder / "tensors.safetensors").read_bytes()).hexdigest(),
    }
    (folder / "state.json").write_text(json.dumps(document))
