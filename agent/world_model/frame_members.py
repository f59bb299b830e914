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
    from objective_agent.world_model.frame_native import Kernels
    from objective_agent.world_model.frame_network import FramePredictorShape

TILE = 128
"""So many candidates per thread are imagined together: more and their hidden layers leave the cache between two products."""


class Member(nn.Module):
    """`begin(history [B, W, T, D], past [B, W-1, A])` -> carry;  `step(carry, state, action)` -> (next state, carry).

    States are [B, N, dynamic, D], actions [B, N, A] (with the latent variable behind them, where there is one).
    """

    def begin(self, history: Tensor, past: Tensor) -> Any:
        raise NotImplementedError

    def step(self, carry: Any, state: Tensor, action: Tensor) -> tuple[Tensor, Any]:
        raise NotImplementedError

    def unroll(self, history: Tensor, past: Tensor, actions: Tensor) -> Tensor | None:
        """A faster way along all of `actions` [B, N, H, A], [B, N, H, dynamic, D], where a member has one."""
        return None


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
        self._copied: Copies | None = None
        self.kernels: Kernels | None = None

    def train(self, mode: bool = True) -> Residual:
        """Forgets the copies of the weights, too: torch's fused optimizers change weights without counting a new version."""
        self._copied = None
        return super().train(mode)

    def begin(self, history: Tensor, past: Tensor) -> Window:
        return Window.of(history, past, self.dynamic)

    def step(self, carry: Window, state: Tensor, action: Tensor) -> tuple[Tensor, Window]:
        hidden = functional.silu(self.norm(self.inputs(*carry.inputs(state, action), state)))
        following = state + self.out(functional.silu(self.inner(hidden)))
        return following, carry.moved(state, action)

    def unroll(self, history: Tensor, past: Tensor, actions: Tensor) -> Tensor | None:
        """All steps for candidates [B, N, H, A], without gradients: [B, N, H, 1, D]; None where it can't (several tokens).

        The numbers of `step`, but for rounding, at nearly the speed of the matrix products alone: what known frames add to the
        first layer is computed once per problem, everything else in place, and on the CPU so many candidates go all steps
        before the next ones that their hidden layers stay in its cache.
        """
        if self.dynamic > 1 or not torch.is_inference_mode_enabled():
            return None
        batch, count, horizon, size = *actions.shape[:3], history.shape[3]
        reads = history.shape[1]
        if reads > 1:
            actions = torch.cat([past[:, None].expand(-1, count, -1, -1), actions], 2)
            actions = actions.unfold(2, reads, 1).transpose(3, 4)  # [B, N, H, W, A]
        rows, (ready, work) = batch * count, self._copies()  # held here: another thread may make new ones
        states = actions.new_empty(horizon, rows, size)
        parts = max(1, round(rows / (TILE * torch.get_num_threads()))) if actions.device.type == "cpu" else 1
        if work is not None:
            self.kernels.follow(work, history, actions.reshape(rows, horizon, -1), states, -(-rows // parts))
            return states.view(horizon, batch, count, 1, size).permute(1, 2, 0, 3, 4)
        given = actions.movedim(2, 0).reshape(horizon, rows, -1).contiguous()
        known = known_frames(history[:, :, 0].flatten(1), ready[0], ready[-1], min(reads, horizon), size)
        before = history[:, -1, 0]
        if batch > 1:  # else one row, for all
            known, before = known.repeat_interleave(count, 1), before.repeat_interleave(count, 0)
        for part in range(parts):
            these = slice(part * rows // parts, (part + 1) * rows // parts)
            own = (known[:, these], before[these]) if batch > 1 else (known, before)
            self._follow(ready, *own, given[:, these], states[:, these])
        return states.view(horizon, batch, count, 1, size).permute(1, 2, 0, 3, 4)

    def _follow(self, ready: tuple, known: Tensor, before: Tensor, given: Tensor, states: Tensor) -> None:
        """Fills `states` [H, n, D] for the actions `given` [H, n, W A] to each step; `before` [n or 1, D]."""
        state, acting, inner, out, bias = ready
        blocks, after = state.split(len(self.out.weight)), states.unbind(0)
        within, beyond, norm = self.inner.bias, self.out.bias, self.norm
        hidden = states.new_empty(states.shape[1], len(inner))
        for step, action in enumerate(given.unbind(0)):
            torch.addmm(known[step] if step < len(known) else bias, action, acting, out=hidden)
            for frame, block in zip(after[max(0, step - len(blocks)) : step], blocks[-step:] if step else (), strict=True):
                hidden.addmm_(frame, block)
            normed = functional.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
            torch.addmm(within, functional.silu(normed, inplace=True), inner, out=hidden)
            following = after[step].copy_(before).add_(beyond) if not step else torch.add(before, beyond, out=after[step])
            before = following.addmm_(functional.silu(hidden, inplace=True), out)

    def _apply(self, *args: Any, **settings: Any) -> Residual:
        """Forgets the copies when the weights are moved or converted."""
        self._copied = None
        return super()._apply(*args, **settings)

    def _copies(self) -> tuple:
        """(ready, what the compiled kernels are told); `ready`: state [W D, hidden], oldest frame first; acting; inner; out;
        the first layer's bias, as products like them best.

        Weights are kept as [out, in]; laid out as [in, out] they are multiplied with up to a fifth faster, so that they are
        copied once, and again when they have changed.  For the compiled kernels the first layer's are such that what it gives
        has the mean 0, as the layer norm makes it in any case.
        """
        copied = self._copied
        if copied is not None and copied.kernels is self.kernels and copied.fresh():
            return copied.answer
        layers = (*self.inputs.children(), self.inner, self.out, self.norm)
        own = [(layer._parameters, name) for name in ("weight", "bias") for layer in layers]
        own = [(owner, name) for owner, name in own if owner[name] is not None]  # actions have no bias of their own
        weights = [owner[name].detach() for owner, name in own]
        state, acting, inner, out = (value.T.contiguous() for value in weights[:4])
        first = [state, acting, weights[5]]
        if self.kernels is not None:
            first = [value - value.mean(-1, keepdim=True) for value in first]
        ready = (*first[:2], inner, out, first[2])
        answer = ready, None if self.kernels is None else self.kernels.work(self, ready)
        # in inference mode nothing counts the changes of what was made there
        self._copied = None if any(value.is_inference() for value in weights) else Copies(own, weights, self.kernels, answer)
        return answer


class Copies:
    """What was made of weights, and whether these are still the same."""

    def __init__(self, own: list[tuple[dict, str]], weights: list[Tensor], kernels: Kernels | None, answer: tuple):
        self._seen = [(owner, name, owner[name], owner[name]._version) for owner, name in own]
        self._weights = weights  # kept: the kernels know some by their place in memory alone
        self.kernels, self.answer = kernels, answer

    def fresh(self) -> bool:
        return all(owner[name] is value and value._version == version for owner, name, value, version in self._seen)


def known_frames(frames: Tensor, state: Tensor, bias: Tensor, steps: int, size: int) -> Tensor:
    """What the first layer says of the frames [B, W size] that are known, [steps, B, hidden]: one less with every step."""
    found = [torch.addmm(bias, frames[:, step * size :], state[: len(state) - step * size]) for step in range(steps)]
    return torch.stack(found) if steps > 1 else found[0][None]


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
