"""Read-outs: small networks that say in metres what a representation means for the robot.

    ego-motion   analytic + learned: what a robot with the nominal limits and delay would do, + r(z, v, u_before, u)
    clearance    least distance from the footprint to anything during the step that led here, and its 5 % quantile
    people       distance from the footprint to the nearest person, and its 5 % quantile

They are applied to predicted representations as to encoded ones, and are trained on predicted ones: what a read-out says is
what planning will hear.  The analytic part is exact for a robot that obeys, so that only what the robot does differently (slip,
asymmetry, payload, a longer delay) has to be learned.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from objective_agent.config import Strict

MOTION_SCALE = (0.1, 0.02, 0.3)
"""What counts as one unit of ego-motion per step: metres ahead, metres aside, radians."""

CLEARANCE_LIMIT, PEOPLE_LIMIT = 1.0, 3.0
"""Distances beyond these all count the same, m."""

CLEARANCE_SCALE, PEOPLE_SCALE = 0.3, 1.0
"""Unit of the quantiles' distance from the mean, m."""


class Nominal(Strict):
    """The robot as its data sheet has it; stored with the weights, because the learned part corrects just this."""

    dt: float = 0.2
    max_speed: float = 0.6
    max_turn_rate: float = 1.8
    max_acceleration: float = 1.0
    max_turn_acceleration: float = 3.0
    actuator_delay: float = 0.1


def nominal_rollout(velocity: Tensor, commands: Tensor, nominal: Nominal) -> tuple[Tensor, Tensor]:
    """(relative poses [H, n, 3] of H steps, velocities [H + 1, n, 2] at their ends, the start first) of a robot that obeys.

    `velocity` [n, 2] at the start; `commands` [H + 1, n, 2]: the mean command of the step before, then one per step.
    """
    motions, velocities = nominal_steps(velocity.T, commands.permute(2, 0, 1), nominal)
    return motions.permute(1, 2, 0), velocities.permute(1, 2, 0)


def nominal_steps(velocity: Tensor, commands: Tensor, nominal: Nominal) -> tuple[Tensor, Tensor]:
    """The same with components first, as planning computes it: [2, n] and [2, H + 1, n] give [3, H, n] and [2, H + 1, n].

    In each step the command before acts until the delay is over, then its own; speeds ramp under the acceleration limits; each
    of the two phases is one circular arc.
    """
    limits = torch.tensor([nominal.max_acceleration, nominal.max_turn_acceleration], device=commands.device)[:, None]
    delay = min(nominal.actuator_delay, nominal.dt)
    rest = nominal.dt - delay
    velocity, commands = velocity / limits, commands / limits[:, None]  # from here on in seconds at the acceleration limit
    velocities, middles = [velocity], []
    for before, command in pairwise(commands.unbind(1)):
        middle = velocity + torch.clamp(before - velocity, -delay, delay)
        velocity = middle + torch.clamp(command - middle, -rest, rest)
        middles.append(middle)
        velocities.append(velocity)
    velocities, middle = torch.stack(velocities, 1), torch.stack(middles, 1)
    x, y, turn = _phase(velocities[:, :-1], middle, commands[:, :-1], limits, delay)
    further, aside, more = _phase(middle, velocities[:, 1:], commands[:, 1:], limits, rest)
    cos, sin = torch.cos(turn), torch.sin(turn)
    motions = torch.stack([x + cos * further - sin * aside, y + sin * further + cos * aside, turn + more])
    return motions, velocities * limits[:, None]


def _phase(begin: Tensor, end: Tensor, command: Tensor, limits: Tensor, seconds: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x, y, yaw), each [H, n], of `seconds` under one command, in which the speed goes from `begin` to `end` [2, H, n]."""
    gained = end - begin
    ramp = gained.abs()
    distance, turn = limits[:, None] * (ramp * (begin + 0.5 * gained) + command * (seconds - ramp))
    chord = distance * torch.sinc(turn / (2 * math.pi))
    return chord * torch.cos(turn / 2), chord * torch.sin(turn / 2), turn


class Readouts(nn.Module):
    """All read-outs of representations [..., D]."""

    def __init__(self, features: int, nominal: Nominal, hidden: int = 96):
        super().__init__()
        self.nominal = nominal
        self.motion_state, self.motion_body = nn.Linear(features, hidden), nn.Linear(6, hidden, bias=False)
        self.motion_out = nn.Linear(hidden, 5)
        self.clearance_head = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        self.people_head = nn.Sequential(nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, 2))
        nn.init.zeros_(self.motion_out.bias)
        nn.init.normal_(self.motion_out.weight, std=0.01)
        self.register_buffer("action_scale", torch.tensor([nominal.max_speed, nominal.max_turn_rate]), persistent=False)
        self.register_buffer("motion_scale", torch.tensor(MOTION_SCALE), persistent=False)
        self.register_buffer("body_scale", self.action_scale.repeat(3), persistent=False)
        self.register_buffer("learned_scale", torch.cat([self.motion_scale, self.action_scale]), persistent=False)

    def motion(self, states: Tensor, velocity: Tensor, commands: Tensor) -> tuple[Tensor, Tensor]:
        """(relative poses [K, H, n, 3] of the steps, velocities [K, H, n, 2] at their ends), from `states` [K, H, n, D] at
        their begins.

        `velocity` [n, 2] is odometry's at the start; `commands` [H + 1, n, 2] as in `nominal_rollout`.
        """
        motions, velocities = nominal_rollout(velocity, commands, self.nominal)
        body = torch.cat([velocities[:-1], commands[:-1], commands[1:]], -1) / self.body_scale
        learned = self.motion_out(functional.relu(self.motion_state(states) + self.motion_body(body))) * self.learned_scale
        return motions + learned[..., :3], velocities[1:] + learned[..., 3:]

    def clearance(self, representation: Tensor) -> tuple[Tensor, Tensor]:
        """Clearance during the step that led here, and its 5 % quantile, both [...], metres (all beyond 1 m are alike)."""
        return _with_quantile(self.clearance_head(representation), CLEARANCE_SCALE)

    def people(self, representation: Tensor) -> tuple[Tensor, Tensor]:
        """Distance to the nearest person now, and its 5 % quantile, both [...], metres (all beyond 3 m are alike)."""
        return _with_quantile(self.people_head(representation), PEOPLE_SCALE)


def _with_quantile(values: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    mean = values[..., 0]
    return mean, mean - scale * functional.softplus(values[..., 1] - 2.0)


def compose(start: Tensor, motions: Tensor) -> Tensor:
    """Poses [..., H, 3] after each of `motions` [..., H, 3] (relative poses, one after the other), from `start` [..., 3]."""
    yaw = start[..., None, 2] + torch.cumsum(motions[..., 2], -1)
    heading = yaw - motions[..., 2]
    cos, sin = torch.cos(heading), torch.sin(heading)
    x = start[..., None, 0] + torch.cumsum(cos * motions[..., 0] - sin * motions[..., 1], -1)
    y = start[..., None, 1] + torch.cumsum(sin * motions[..., 0] + cos * motions[..., 1], -1)
    return torch.stack([x, y, yaw], -1)
