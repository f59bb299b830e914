"""The predictor's network: an ensemble of action-conditioned residual steps in representation space, and the read-outs.

    z[k+1] = z[k] + f_head(z[k], u[k])            one step of 0.2 s; u = the mean command that leaves the gate in that time

A future is one head used through all steps: heads that saw different bootstrap weights in training disagree where the data say
little, and keep their opinion for a whole rollout (deep ensembles, Lakshminarayanan et al. 2017; one member per rollout: PETS,
Chua et al. 2018).  The heads are stacked into one batched matrix product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from objective_agent.config import Strict
from objective_agent.world_model.readouts import Nominal, Readouts


class PredictorShape(Strict):
    """What the weights' shapes depend on, and the nominal robot; stored with them."""

    features: int = 128
    hidden: int = 256
    heads: int = 3
    nominal: Nominal = Nominal()


class Heads(nn.Module):
    """K residual MLPs (D + 2) -> hidden -> hidden -> D, side by side."""

    def __init__(self, shape: PredictorShape):
        super().__init__()
        k, d, h = shape.heads, shape.features, shape.hidden
        self.from_state, self.from_action = _matrix(k, d, h), _matrix(k, 2, h)
        self.inner, self.out = _matrix(k, h, h), _matrix(k, h, d, 0.3)
        self.bias, self.inner_bias = nn.Parameter(torch.zeros(k, 1, h)), nn.Parameter(torch.zeros(k, 1, h))
        self.out_bias = nn.Parameter(torch.zeros(k, 1, d))

    def forward(self, start: Tensor, actions: Tensor, heads: int) -> Tensor:
        """Representations [K, H + 1, n, D] along `actions` [n, H, 2] (shares of the limits), `start` [n, D] first."""
        if not torch.is_grad_enabled():
            return self._head_by_head(start, actions, heads)
        horizon = actions.shape[1]
        by_step = actions.transpose(0, 1).reshape(1, -1, 2).expand(heads, -1, -1)
        driven = torch.baddbmm(self.bias[:heads], by_step, self.from_action[:heads])
        driven = driven.view(heads, horizon, len(start), -1)
        state = start.expand(heads, -1, -1)
        states = [state]
        for step in range(horizon):
            hidden = torch.baddbmm(driven[:, step], state, self.from_state[:heads]).relu_()
            hidden = torch.baddbmm(self.inner_bias[:heads], hidden, self.inner[:heads]).relu_()
            state = state + torch.baddbmm(self.out_bias[:heads], hidden, self.out[:heads])
            states.append(state)
        return torch.stack(states, 1)

    def _head_by_head(self, start: Tensor, actions: Tensor, heads: int) -> Tensor:
        """The same without gradients: one head's weights stay in the cache for all its steps (a third less time)."""
        by_step = actions.transpose(0, 1).contiguous()
        states = start.new_empty(heads, len(by_step) + 1, *start.shape)
        states[:, 0] = start
        for head, along in enumerate(states):
            self.follow(head, along, by_step)
        return states

    def follow(self, head: int, along: Tensor, by_step: Tensor) -> None:
        """Fills `along` [H + 1, n, D] from its first row on with what one head expects under `by_step` [H, n, 2].

        In place and without gradients.  Between two matrix products nothing is written that the next one does not read, so that
        all of it stays in a core's cache.
        """
        first, action, inner, out = (weight[head] for weight in (self.from_state, self.from_action, self.inner, self.out))
        bias, inner_bias, out_bias = self.bias[head], self.inner_bias[head], self.out_bias[head]
        hidden, deeper = (along.new_empty(along.shape[1], size) for size in (first.shape[1], inner.shape[1]))
        states = along.unbind(0)
        for begin, end, told in zip(states, states[1:], by_step.unbind(0), strict=False):
            torch.addmm(bias, told, action, out=hidden)
            hidden.addmm_(begin, first).relu_()
            torch.addmm(inner_bias, hidden, inner, out=deeper).relu_()
            torch.addmm(begin, deeper, out, out=end).add_(out_bias)


class PredictorNetwork(nn.Module):
    """`rollout(representation, velocity, before, actions)`: what K heads think will happen."""

    def __init__(self, shape: PredictorShape):
        super().__init__()
        self.shape = shape
        self.heads = Heads(shape)
        self.readouts = Readouts(shape.features, shape.nominal)

    def imagine(self, start: Tensor, actions: Tensor, heads: int) -> Tensor:
        """Representations [K, H + 1, n, D] along `actions` [n, H, 2] (m/s, rad/s) from `start` [n, D], which comes first."""
        return self.heads(start, actions / self.readouts.action_scale, heads)

    def motions(self, states: Tensor, velocity: Tensor, before: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(relative poses [K, H, n, 3] of the steps, velocities [K, H, n, 2] at their ends) of `states` [K, H + 1, n, D].

        `velocity` [n, 2] is odometry's at the start, `before` [n, 2] the mean command of the step before it, `actions`
        [n, H, 2].
        """
        commands = torch.cat([before[None], actions.transpose(0, 1)])
        return self.readouts.motion(states[:, :-1], velocity, commands)


def _matrix(heads: int, inputs: int, outputs: int, gain: float = 1.0) -> nn.Parameter:
    bound = gain * math.sqrt(3 / inputs)
    return nn.Parameter(torch.empty(heads, inputs, outputs).uniform_(-bound, bound))
