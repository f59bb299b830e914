"""A vision transformer: a picture as patches that look at each other (Dosovitskiy et al. 2021, arXiv 2010.11929).

    x = patches + positions;    x += attention(norm(x));    x += mlp(norm(x));    ...;    norm(x)

Parameters carry the names that `timm` gives them, so a pretrained file (ViT, DeiT, DINO, DINOv2 with or without registers)
loads without that library: see `frozen.py`.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from objective_agent.config import Strict


class VisionTransformerShape(Strict):
    """What the weights' shapes depend on."""

    dim: int = 128
    depth: int = 4
    heads: int = 4
    patch: int = 8
    grid: int = Field(8, description="patches along each side")
    hidden: int = Field(0, description="width of the blocks' MLPs; 0: 4 x dim")
    class_token: bool = True
    registers: int = 0
    position_prefix: bool = Field(True, description="class token and registers have positions, too")
    scaled: bool = Field(False, description="each branch has a learned scale (LayerScale)")


class VisionTransformer(nn.Module):
    """`forward(pictures [n, 3, h, w])` -> [n, prefix + grid^2, dim]: class token and registers first, then patches by row."""

    def __init__(self, shape: VisionTransformerShape):
        super().__init__()
        self.prefix = int(shape.class_token) + shape.registers
        self._before = self.prefix if shape.position_prefix else 0
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, shape.dim, shape.patch, shape.patch)})
        if shape.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        if shape.registers:
            self.reg_token = nn.Parameter(torch.zeros(1, shape.registers, shape.dim))
        self.pos_embed = nn.Parameter(0.2 * torch.randn(1, self._before + shape.grid**2, shape.dim))
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.depth))
        self.norm = nn.LayerNorm(shape.dim, eps=1e-6)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.patch_embed["proj"](pictures).flatten(2).transpose(1, 2)
        prefix = [
            token.expand(x.shape[0], -1, -1)
            for name in ("cls_token", "reg_token")
            if (token := getattr(self, name, None)) is not None
        ]
        if self._before:
            x = torch.cat([*prefix, x], 1) + self.pos_embed
        else:
            x = torch.cat([*prefix, x + self.pos_embed], 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Block(nn.Module):
    """Attention and an MLP, each normalised before and added after."""

    def __init__(self, shape: VisionTransformerShape):
        super().__init__()
        self.heads, hidden = shape.heads, shape.hidden or 4 * shape.dim
        self.norm1 = nn.LayerNorm(shape.dim, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(shape.dim, 3 * shape.dim), "proj": nn.Linear(shape.dim, shape.dim)})
        self.norm2 = nn.LayerNorm(shape.dim, eps=1e-6)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(shape.dim, hidden), "fc2": nn.Linear(hidden, shape.dim)})
        if shape.scaled:
            self.ls1, self.ls2 = Scale(shape.dim), Scale(shape.dim)
        else:
            self.ls1 = self.ls2 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, dim = x.shape
        query, key, value = self.attn["qkv"](self.norm1(x)).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, tokens, dim)
        x = x + self.ls1(self.attn["proj"](seen))
        return x + self.ls2(self.mlp["fc2"](functional.gelu(self.mlp["fc1"](self.norm2(x)))))


class Scale(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma
