"""Predictor member `transformer`: frames look at earlier frames and at the scene; actions modulate them.

    frame t's tokens:   x += gate * attention(modulate(norm(x)), frames t-W+1 .. t and the scene);   x += gate * mlp(...)
    modulate(x) = x * (1 + gain) + shift;   gain, shift, gate = linear(u[t])      adaptive layer norm (DiT, Peebles & Xie 2023)

Attention is causal over frames and complete inside one (DINO-WM, Zhou et al. 2024).  It reaches W frames back, and knows how
far back a frame is by a learned bias per head.  So a frame's keys and values never change, and a rollout computes each frame
once: those of the history once for all candidates, every later one when it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from objective_agent.types import InputError
from objective_agent.world_model.frame_members import Member

if TYPE_CHECKING:
    from objective_agent.world_model.frame_network import FramePredictorShape

Cache = tuple[Tensor, Tensor]
"""Keys and values [B, 1 or N, heads, tokens, hidden / heads]."""


class CausalTransformer(Member):
    """Kind `transformer`, over one token or many, with a scene or without."""

    def __init__(self, shape: FramePredictorShape):
        super().__init__()
        d, h = shape.features, shape.hidden
        if h % shape.attention_heads:
            raise InputError(f"predictor: {shape.attention_heads} attention heads do not divide hidden = {h}")
        self.dynamic, self.history = shape.dynamic, shape.history
        self.enter = nn.Linear(d, h)
        self.place = nn.Parameter(0.1 * torch.randn(shape.tokens, h))
        self.action = nn.Sequential(nn.Linear(shape.actions + shape.latent, h), nn.SiLU())
        self.blocks = nn.ModuleList(
            Block(h, shape.attention_heads, shape.history, shape.tokens > shape.dynamic) for _ in range(shape.depth)
        )
        self.norm = nn.LayerNorm(h)
        self.out = nn.Linear(h, d)

    def begin(self, history: Tensor, past: Tensor) -> tuple[list[Cache] | None, list[list[Cache]]]:
        scene = None
        if history.shape[2] > self.dynamic:
            seen = self.enter(history[:, -1:, self.dynamic :]) + self.place[self.dynamic :]
            scene = [block.remember(seen) for block in self.blocks]
        caches: list[list[Cache]] = [[] for _ in self.blocks]
        for frame, action in zip(history[:, :-1, None, : self.dynamic].unbind(1), past[:, :, None].unbind(1), strict=True):
            _, caches = self._frame((scene, caches), frame, action)
        return scene, caches

    def step(self, carry: tuple, state: Tensor, action: Tensor) -> tuple[Tensor, tuple]:
        hidden, caches = self._frame(carry, state, action)
        return state + self.out(self.norm(hidden)), (carry[0], caches)

    def _frame(self, carry: tuple, state: Tensor, action: Tensor) -> tuple[Tensor, list[list[Cache]]]:
        """(hidden [B, N, dynamic, h] of a new frame, the blocks' caches with it)."""
        scene, caches = carry
        x, told, following = self.enter(state) + self.place[: self.dynamic], self.action(action)[:, :, None], []
        for index, block in enumerate(self.blocks):
            x, cache = block(x, told, caches[index], None if scene is None else scene[index])
            following.append(cache[-(self.history - 1) :] if self.history > 1 else [])
        return x, following


class Block(nn.Module):
    """Attention to this frame, earlier ones and the scene, then an MLP; both modulated by the action."""

    def __init__(self, hidden: int, heads: int, history: int, scene: bool):
        super().__init__()
        self.heads = heads
        self.norm, self.mlp_norm = (nn.LayerNorm(hidden, elementwise_affine=False) for _ in range(2))
        self.modulation = nn.Linear(hidden, 6 * hidden)
        self.query, self.key_value = nn.Linear(hidden, hidden), nn.Linear(hidden, 2 * hidden)
        self.project = nn.Linear(hidden, hidden)
        self.mlp = nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.GELU(), nn.Linear(4 * hidden, hidden))
        self.scene_norm = nn.LayerNorm(hidden) if scene else None
        self.age = nn.Parameter(torch.zeros(heads, history + 1))
        """Added to the attention: column 0 to the scene, column 1 + k to the frame k steps back."""
        nn.init.normal_(self.modulation.weight, std=0.02)  # every block begins as identity ...
        with torch.no_grad():
            self.modulation.bias.zero_()[4 * hidden :] = 0.1  # ... nearly: closed gates would let no gradient through

    def remember(self, scene: Tensor) -> Cache:
        """Keys and values of the scene [B, 1, S, h]."""
        return self._keys(self.scene_norm(scene))

    def forward(self, x: Tensor, action: Tensor, earlier: list[Cache], scene: Cache | None) -> tuple[Tensor, list[Cache]]:
        """`x` [B, N, dynamic, h], `action` [B, N, 1, h]."""
        gain, shift, mlp_gain, mlp_shift, gate, mlp_gate = self.modulation(action).chunk(6, -1)
        here = torch.addcmul(shift, self.norm(x), 1 + gain)
        cache = [*earlier, self._keys(here)]
        x = x + gate * self._attend(here, cache, scene)
        return x + mlp_gate * self.mlp(torch.addcmul(mlp_shift, self.mlp_norm(x), 1 + mlp_gain)), cache

    def _attend(self, here: Tensor, cache: list[Cache], scene: Cache | None) -> Tensor:
        parts = [*([] if scene is None else [(scene, self.age[:, 0])])]
        parts += [(part, self.age[:, len(cache) - index]) for index, part in enumerate(cache)]
        batch, count = here.shape[:2]
        keys, values = (torch.cat([part[side].expand(-1, count, -1, -1, -1) for part, _ in parts], 3) for side in (0, 1))
        bias = torch.cat([age[:, None].expand(-1, part[0].shape[3]) for part, age in parts], 1)[:, None]  # [heads, 1, keys]
        query = self._split(self.query(here))
        bias = bias.expand(-1, query.shape[3], -1)
        seen = functional.scaled_dot_product_attention(
            query.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1), attn_mask=bias
        )
        return self.project(seen.unflatten(0, (batch, count)).transpose(2, 3).flatten(3))

    def _keys(self, x: Tensor) -> Cache:
        key, value = self.key_value(x).chunk(2, -1)
        return self._split(key), self._split(value)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(2, 3)
