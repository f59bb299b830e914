"""One member of a predictor: how the next representation follows from the last ones.  Residual MLP and GRU.

A member works step by step: `begin` computes what all candidates of a problem share (axes [B, 1, ...]), `step` goes one step
with each of them.  Several tokens go through the same weights, each with its place and with the mean of all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from objective_agent.types import InputError

if TYPE_CHECKING:
    from objective_agent.world_model.frame_network import FramePredictorShape


class Member(nn.Module):
    """`begin(history [B, W, T, D], past [B, W-1, A])` -> carry;  `step(carry, state, action)` -> (next state, carry).

    States are [B, N, dynamic, D], actions [B, N, A] (with the latent variable behind them, where there is one).
    """

    def begin(self, history: Tensor, past: Tensor) -> Any:
        raise NotImplementedError

    def step(self, carry: Any, state: Tensor, action: Tensor) -> tuple[Tensor, Any]:
        raise NotImplementedError


class Window:
    """The last W frames as a member sees them: states and actions of the W - 1 before the newest, oldest first."""

    def __init__(self, states: tuple[Tensor, ...], actions: tuple[Tensor, ...]):
        self.states, self.actions = states, actions

    @classmethod
    def of(cls, history: Tensor, past: Tensor, dynamic: int) -> Window:
        return cls(history[:, :-1, None, :dynamic].unbind(1), past[:, :, None].unbind(1))

    def inputs(self, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """(states [B, N, dynamic, W D], actions [B, N, W A]) with the newest last."""
        if not self.states:
            return state, action
        count = state.shape[1]
        states = [value.expand(-1, count, -1, -1) for value in self.states]
        actions = [value.expand(-1, count, -1) for value in self.actions]
        return torch.cat([*states, state], -1), torch.cat([*actions, action], -1)

    def moved(self, state: Tensor, action: Tensor) -> Window:
        return Window((*self.states, state)[1:], (*self.actions, action)[1:]) if self.states else self


class TokenInput(nn.Module):
    """Frames and actions -> hidden [B, N, dynamic, hidden]; several tokens get their place and the mean of all beside them."""

    def __init__(self, shape: FramePredictorShape, history: int):
        super().__init__()
        d, a = shape.features, shape.actions + shape.latent
        self.state = nn.Linear(history * d, shape.hidden)
        self.action = nn.Linear(history * a, shape.hidden, bias=False)
        self.mean = self.place = None
        if shape.dynamic > 1:
            self.mean = nn.Linear(d, shape.hidden, bias=False)
            self.place = nn.Parameter(0.1 * torch.randn(shape.dynamic, shape.hidden))

    def forward(self, states: Tensor, actions: Tensor, newest: Tensor) -> Tensor:
        hidden = self.state(states) + self.action(actions)[:, :, None]
        if self.mean is not None:
            hidden = hidden + self.mean(newest.mean(2, keepdim=True)) + self.place
        return hidden


class Residual(Member):
    """Kind `mlp`: z + MLP(frames, actions), two hidden layers."""

    def __init__(self, shape: FramePredictorShape):
        super().__init__()
        need_no_scene(shape)
        self.dynamic = shape.dynamic
        self.inputs = TokenInput(shape, shape.history)
        self.norm = nn.LayerNorm(shape.hidden)
        self.inner = nn.Linear(shape.hidden, shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.features)

    def begin(self, history: Tensor, past: Tensor) -> Window:
        return Window.of(history, past, self.dynamic)

    def step(self, carry: Window, state: Tensor, action: Tensor) -> tuple[Tensor, Window]:
        hidden = functional.silu(self.norm(self.inputs(*carry.inputs(state, action), state)))
        following = state + self.out(functional.silu(self.inner(hidden)))
        return following, carry.moved(state, action)


class Recurrent(Member):
    """Kind `gru`: h = GRU(h, (z, u)), z + linear(h).  The history's frames fill h before the first step."""

    def __init__(self, shape: FramePredictorShape):
        super().__init__()
        need_no_scene(shape)
        self.dynamic, self.hidden = shape.dynamic, shape.hidden
        self.inputs = TokenInput(shape, 1)
        self.norm = nn.LayerNorm(shape.hidden)
        self.cell = nn.GRUCell(shape.hidden, shape.hidden)
        self.out = nn.Linear(shape.hidden, shape.features)

    def begin(self, history: Tensor, past: Tensor) -> Tensor:
        hidden = history.new_zeros(history.shape[0], 1, self.dynamic, self.hidden)
        for frame, action in zip(history[:, :-1, None, : self.dynamic].unbind(1), past[:, :, None].unbind(1), strict=True):
            hidden = self._update(hidden, frame, action)
        return hidden

    def step(self, carry: Tensor, state: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        carry = self._update(carry.expand(-1, state.shape[1], -1, -1), state, action)
        return state + self.out(carry), carry

    def _update(self, hidden: Tensor, state: Tensor, action: Tensor) -> Tensor:
        told = functional.silu(self.norm(self.inputs(state, action, state)))
        return self.cell(told.flatten(0, 2), hidden.flatten(0, 2)).view_as(hidden)


def need_no_scene(shape: FramePredictorShape) -> None:
    """InputError for a representation with a scene, by a kind that would not look at it."""
    if shape.tokens != shape.dynamic:
        raise InputError(
            f"predictor: kind {shape.kind} reads no scene, but {shape.tokens - shape.dynamic} of {shape.tokens} tokens are; "
            "use place or transformer"
        )
