"""Predictor member `place`: what happens here depends on what the scene looks like here.

Models that get the whole scene as one vector learn free motion and drive through walls: contacts are rare, and the mean error
hides them.  This one knows where on the scene's map the agent is, and reads the map there:

    where = linear(z)                                in parts of the picture, (x right, y down)
    weights = softmax over the map's tokens of  -|where + offset - token's place|^2 / 2 s^2        3 x 3 offsets round it
    hidden = linear(z, u) + linear(weights @ values of the tokens)
    hidden = hidden * (1 + gain) + shift             from the pooled map: feature-wise modulation (FiLM, Perez et al. 2018)

`where` may be learned with the rest, but that takes long: begin from positions of what moves, seen in the pictures themselves
(`set_where`).  With `ahead` the map is also read at where + linear(u), where the action would lead.  On a toy (walls across the
way, 800 steps, 2 seeds) .21 instead of .30 of the blocked steps went through, free steps were 40 % less exact, and a step of
training took half as long again: an option, not the default.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from objective_agent.types import InputError
from objective_agent.world_model.frame_members import Member, Window

if TYPE_CHECKING:
    from objective_agent.world_model.frame_network import FramePredictorShape

VALUES = 24
"""What is read of each token."""


class Glimpse(nn.Module):
    """`read(values, where)`: the map's values at 3 x 3 places round `where`, [B, N, 9 x values]."""

    def __init__(self, grid: int, reach: float = 0.11, width: float = 0.07):
        super().__init__()
        self.offsets = nn.Parameter(reach * torch.tensor([-1.0, 0.0, 1.0]).repeat(2, 1))
        self.log_width = nn.Parameter(torch.tensor(math.log(width)))
        self.register_buffer("places", (torch.arange(grid) + 0.5) / grid, persistent=False)

    def read(self, values: Tensor, where: Tensor) -> Tensor:
        """`values` [B, grid^2, V] row by row, `where` [B, N, 2] as (x, y) in parts of the picture."""
        distance = (where[..., None] + self.offsets)[..., None] - self.places  # [B, N, 2, 3, grid]
        across, down = (-0.5 * distance**2 * torch.exp(-2 * self.log_width)).softmax(-1).unbind(2)
        weights = down[:, :, :, None, :, None] * across[:, :, None, :, None, :]  # the softmax of a sum of squares factors
        batch, count = where.shape[:2]
        return (weights.reshape(batch, count * 9, -1) @ values).view(batch, count, -1)


class Place(Member):
    """Kind `place`; for representations of one agent token and a square map."""

    def __init__(self, shape: FramePredictorShape):
        super().__init__()
        d, h = shape.features, shape.hidden
        grid = math.isqrt(shape.tokens - 1)
        if shape.dynamic != 1 or grid < 2 or grid**2 != shape.tokens - 1:
            raise InputError(
                f"predictor: kind place reads a square map behind one agent token; got {shape.tokens} tokens, "
                f"{shape.dynamic} of them predicted; use an encoder of kind cnn_map"
            )
        self.grid = grid
        self.where = nn.Linear(d, 2)
        nn.init.normal_(self.where.weight, std=0.1 / math.sqrt(d))
        nn.init.constant_(self.where.bias, 0.5)
        self.glimpse = Glimpse(grid)
        self.values = nn.Linear(d, VALUES)
        self.pooled = nn.Sequential(
            nn.Conv2d(d, d, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(d * ((grid + 1) // 2) ** 2, 128),
            nn.LayerNorm(128),
            nn.SiLU(),
        )
        self.modulate = nn.Linear(128, 4 * h)
        self.state, self.action = (
            nn.Linear(shape.history * d, h),
            nn.Linear(shape.history * (shape.actions + shape.latent), h, bias=False),
        )
        self.seen = nn.Linear(9 * VALUES, h, bias=False)
        self.gaze = self.seen_ahead = None
        if shape.ahead:
            self.gaze = nn.Linear(shape.actions + shape.latent, 2, bias=False)
            nn.init.normal_(self.gaze.weight, std=0.02)
            self.seen_ahead = nn.Linear(9 * VALUES, h, bias=False)
        self.norm = nn.LayerNorm(h)
        self.inner, self.inner_norm = nn.Linear(h, h), nn.LayerNorm(h)
        self.out = nn.Linear(h, d)

    def set_where(self, weight: Tensor, bias: Tensor) -> None:
        """Lets `where` begin as `z @ weight + bias`, weight [D, 2]."""
        with torch.no_grad():
            self.where.weight.copy_(weight.T)
            self.where.bias.copy_(bias)

    def begin(self, history: Tensor, past: Tensor) -> tuple:
        scene = history[:, -1, 1:]
        picture = scene.transpose(1, 2).reshape(scene.shape[0], -1, self.grid, self.grid)
        return self.values(scene), self.modulate(self.pooled(picture))[:, None].chunk(4, -1), Window.of(history, past, 1)

    def step(self, carry: tuple, state: Tensor, action: Tensor) -> tuple[Tensor, tuple]:
        values, (gain, shift, inner_gain, inner_shift), window = carry
        states, actions = window.inputs(state, action)
        newest = state[:, :, 0]
        where = self.where(newest)
        hidden = self.state(states[:, :, 0]) + self.action(actions) + self.seen(self.glimpse.read(values, where))
        if self.gaze is not None:
            hidden = hidden + self.seen_ahead(self.glimpse.read(values, where + self.gaze(action)))
        hidden = functional.silu(torch.addcmul(shift, self.norm(hidden), 1 + gain))
        hidden = functional.silu(torch.addcmul(inner_shift, self.inner_norm(self.inner(hidden)), 1 + inner_gain))
        following = (newest + self.out(hidden))[:, :, None]
        return following, (values, (gain, shift, inner_gain, inner_shift), window.moved(state, action))
