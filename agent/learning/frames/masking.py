"""Hides parts of clips from the encoder that learns: blocks of patches in each frame, or the same blocks in all (tubes).

Blocks as in I-JEPA (Assran et al. 2023, arXiv 2301.08243), tubes as in V-JEPA (Bardes et al. 2024, arXiv 2404.08471).  There
the tokens of hidden patches are dropped; here they are painted grey, which any encoder understands.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from objective_agent import devices
from objective_agent.config import Strict

GREY = 128


class Masking(Strict):
    kind: Literal["none", "patches", "tubes"] = Field(
        "tubes", description="blocks per frame, blocks through the clip, or nothing"
    )
    share: float = Field(0.5, ge=0, le=1, description="share of clips that are masked at all")
    blocks: int = Field(3, ge=1, le=16, description="blocks that are hidden; they may overlap")
    area: float = Field(0.1, gt=0, lt=1, description="area of each block, as a share of the image's")
    patch: int = Field(8, ge=1, le=64, description="side of a patch, pixels: blocks are made of whole patches")


def hide(images: Tensor, masking: Masking, random: torch.Generator) -> Tensor:
    """`images` [B, F, h, w, 3] uint8 with blocks painted grey; a copy, unless nothing is hidden."""
    if masking.kind == "none" or masking.share == 0:
        return images
    clips, frames, height, width, _ = images.shape
    each = frames if masking.kind == "patches" else 1
    hidden = blocks(clips * each, -(-height // masking.patch), -(-width // masking.patch), masking, random)
    hidden = hidden.repeat_interleave(masking.patch, 1).repeat_interleave(masking.patch, 2)[:, :height, :width]
    hidden = hidden.view(clips, each, height, width) & (torch.rand(clips, 1, 1, 1, generator=random) < masking.share)
    return images.masked_fill(devices.move(hidden, images.device)[..., None], GREY)


def blocks(count: int, rows: int, columns: int, masking: Masking, random: torch.Generator) -> Tensor:
    """`count` masks [count, rows, columns] bool, True = hidden: unions of blocks 2:3 to 3:2 wide, anywhere in the image."""
    cells = masking.area * rows * columns
    aspect = torch.exp((torch.rand(count, masking.blocks, generator=random) * 2 - 1) * 0.405)
    tall = torch.round((cells * aspect) ** 0.5).clamp(1, rows)
    wide = torch.round((cells / aspect) ** 0.5).clamp(1, columns)
    top = torch.floor(torch.rand(count, masking.blocks, generator=random) * (rows - tall + 1))
    left = torch.floor(torch.rand(count, masking.blocks, generator=random) * (columns - wide + 1))
    row, column = torch.arange(rows), torch.arange(columns)
    inside_rows = (row >= top[..., None]) & (row < (top + tall)[..., None])
    inside_columns = (column >= left[..., None]) & (column < (left + wide)[..., None])
    return (inside_rows[..., :, None] & inside_columns[..., None, :]).any(1)
