"""The predictor laid out for planning: what `PredictorNetwork` computes, without gradients and in a third less time.

Planning imagines some 80 candidates in 3 futures, and its time is that of a few dozen matrix products that fit into a core's
cache.  So one head goes all its steps and its read-outs follow at once; the read-outs' layers lie side by side in one product
each; positions, headings and speeds are arrays of their own (components first), not columns.

A test holds it to the network that was trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from objective_agent.world_model.jepa_network import PredictorNetwork
from objective_agent.world_model.readouts import CLEARANCE_SCALE, PEOPLE_SCALE, nominal_steps

READOUTS = ("clearance", "people")


@dataclass(frozen=True)
class Foreseen:
    """`states` [K, H + 1, n, D], the start first; `motions` [K, 3, H, n] (relative poses of the steps) and `velocities`
    [K, 2, H, n] at their ends; `means` and `lows` [K, 2, steps, n]: the expected values and the 5 % quantiles of `READOUTS` at
    the ends of the last steps, m.
    """

    states: Tensor
    motions: Tensor
    velocities: Tensor
    means: Tensor | None
    lows: Tensor | None

    def poses(self, start: Tensor) -> Tensor:
        """Poses [K, H, n, 3] at the ends of the steps, from `start` [n, 3]."""
        ahead, aside, turn = self.motions.unbind(1)
        x, y, yaw = start.unbind(-1)
        yaw = yaw + torch.cumsum(turn, 1)
        heading = yaw - turn
        cos, sin = torch.cos(heading), torch.sin(heading)
        x = x + torch.cumsum(cos * ahead - sin * aside, 1)
        return torch.stack([x, y + torch.cumsum(sin * ahead + cos * aside, 1), yaw], -1)


class Foresight:
    """Made of a network whose weights stay as they are from then on."""

    def __init__(self, network: PredictorNetwork):
        self._heads, self._nominal = network.heads, network.readouts.nominal
        self._network, readouts = network, network.readouts
        self._action_scale = readouts.action_scale
        with torch.inference_mode(False), torch.no_grad():  # optimizers may ask for gradients later
            self._motion_state = readouts.motion_state.weight.T.contiguous()
            self._motion_body = (readouts.motion_body.weight / readouts.body_scale).T.contiguous()
            self._motion_bias = readouts.motion_state.bias.clone()
            self._motion_out = readouts.motion_out.weight * readouts.learned_scale[:, None]
            self._motion_out_bias = (readouts.motion_out.bias * readouts.learned_scale)[:, None]
            hidden, out = zip(*((head[0], head[2]) for head in (readouts.clearance_head, readouts.people_head)), strict=True)
            self._hidden = torch.cat([layer.weight for layer in hidden]).T.contiguous()
            self._hidden_bias = torch.cat([layer.bias for layer in hidden])
            # rows: both means, then both spreads
            self._out = torch.stack([torch.block_diag(*(layer.weight[row : row + 1] for layer in out)) for row in (0, 1)])
            self._out = self._out.flatten(0, 1)
            self._out_bias = torch.stack([layer.bias for layer in out], 1).reshape(4, 1)
            self._scales = torch.tensor([CLEARANCE_SCALE, PEOPLE_SCALE], device=self._out.device)[:, None, None]

    def foresee(
        self, start: Tensor, velocity: Tensor, before: Tensor, actions: Tensor, heads: int, readout_steps: int = 0
    ) -> Foreseen:
        """What `heads` heads expect of `actions` [n, H, 2] (m/s, rad/s) from representations `start` [n, D].

        `velocity` [n, 2] is odometry's at the start, `before` [n, 2] the mean command of the step before it; read-outs are made
        of the last `readout_steps` steps.  Where autograd is to follow `actions`, the network itself is asked.
        """
        if torch.is_grad_enabled() and actions.requires_grad:
            return self._differentiable(start, velocity, before, actions, heads, readout_steps)
        count, horizon, _ = actions.shape
        by_step = (actions / self._action_scale).transpose(0, 1).contiguous()
        commands = torch.cat([before.T[:, None], actions.permute(2, 1, 0)], 1)
        nominal, speeds = nominal_steps(velocity.T, commands, self._nominal)
        body = torch.cat([speeds[:, :-1], commands[:, :-1], commands[:, 1:]]).flatten(1)
        body = torch.addmm(self._motion_bias, body.T, self._motion_body)
        states = start.new_empty(heads, horizon + 1, *start.shape)
        states[:, 0] = start
        learned = start.new_empty(heads, 5, horizon * count)
        values = start.new_empty(heads, 4, readout_steps * count)
        for head, along in enumerate(states):
            self._heads.follow(head, along, by_step)
            hidden = torch.addmm(body, along[:-1].flatten(0, 1), self._motion_state).relu_()
            torch.addmm(self._motion_out_bias, self._motion_out, hidden.T, out=learned[head])
            if readout_steps:
                hidden = torch.addmm(self._hidden_bias, along[-readout_steps:].flatten(0, 1), self._hidden).relu_()
                torch.addmm(self._out_bias, self._out, hidden.T, out=values[head])
        learned = learned.view(heads, 5, horizon, count)
        means, lows = None, None
        if readout_steps:
            means, spread = values.view(heads, 2, 2, readout_steps, count).unbind(1)
            lows = means - self._scales * torch.nn.functional.softplus(spread - 2.0)
        return Foreseen(states, nominal + learned[:, :3], speeds[:, 1:] + learned[:, 3:], means, lows)

    def _differentiable(
        self, start: Tensor, velocity: Tensor, before: Tensor, actions: Tensor, heads: int, readout_steps: int
    ) -> Foreseen:
        network = self._network
        states = network.imagine(start, actions, heads)
        motions, velocities = network.motions(states, velocity, before, actions)
        means, lows = None, None
        if readout_steps:
            last = states[:, -readout_steps:]
            read = [network.readouts.clearance(last), network.readouts.people(last)]
            means, lows = (torch.stack(values, 1) for values in zip(*read, strict=True))
        return Foreseen(states, motions.movedim(-1, 1), velocities.movedim(-1, 1), means, lows)
