"""Plugin `ema`: the encoder predicts what a slow copy of itself says of more than it sees itself.

    target weights <- m target weights + (1 - m) weights, after every step; no gradient goes into the targets
    the encoder sees masked clips, the slow copy whole ones; a small head must turn the former's representation into the
    latter's, and the predictor's rollouts, which begin in masked frames, must arrive at the latter's later ones

What keeps it from collapsing is no term of a loss but that asymmetry: the head, the slow copy, the stopped gradient (BYOL,
Grill et al. 2020, arXiv 2006.07733), and the batch normalisation at the encoder's end, without which it collapses here.  Blocks
per frame make it I-JEPA's task (Assran et al. 2023), blocks through the clip V-JEPA's (Bardes et al. 2024); with actions as in
V-JEPA 2-AC (Assran et al. 2025, arXiv 2506.09985).
"""

from __future__ import annotations

import copy

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from objective_agent.config import NonNegative, Strict
from objective_agent.learning.frames.masking import Masking, hide
from objective_agent.learning.frames.regularizers import Regularizer, encode_clips


class Distillation(Regularizer):
    class Config(Strict):
        momentum: float = Field(
            0.95, ge=0, lt=1, description="share of the slow copy that stays at each step, at the beginning"
        )
        weight: NonNegative = Field(1.0, description="weight of the head's error")
        hidden: int = Field(256, ge=1, le=4096, description="size of the head")
        masking: Masking = Masking()

    batch_norm = True

    def __init__(self, config: Config, encoder: nn.Module):
        super().__init__(config, encoder)
        self.target = copy.deepcopy(encoder).requires_grad_(False)
        size = encoder.features
        self.head = nn.Sequential(
            nn.Linear(size, config.hidden), nn.LayerNorm(config.hidden), nn.SiLU(), nn.Linear(config.hidden, size)
        )

    def view(self, images, random):
        return hide(images, self.config.masking, random)

    @torch.no_grad()
    def targets(self, images, encoded):
        return encode_clips(getattr(self.target, "agent", self.target), images)  # of a split encoder, what is predicted

    def penalty(self, encoded, targets, layouts, random):
        return self.config.weight * functional.mse_loss(self.head(encoded), targets)

    @torch.no_grad()
    def update(self, encoder, share):
        """The slow copy follows; ever more slowly, up to standing still at the end of the training."""
        keep = 1 - (1 - self.config.momentum) * (1 - min(1.0, share))
        for slow, fast in zip(self.target.parameters(), encoder.parameters(), strict=True):
            slow.lerp_(fast, 1 - keep)
        for slow, fast in zip(self.target.buffers(), encoder.buffers(), strict=True):
            slow.copy_(fast)
