"""Intrinsic objective: change the action gently.

    energy_h = scale * sum_a ((action_h - action_{h-1}) / limit_a)^2

with the speed and turn-rate limits of the robot; before the first action stands the last command that was really sent, so two
plans in a row agree where they meet.
"""

from __future__ import annotations

from pydantic import Field

from objective_agent.config import RobotParameters, Strict
from objective_agent.types import Array, Goal, Trajectory, array_namespace


class Smooth:
    """`energy(trajectory, goal)` [B, N, K, H], metres of goal distance that a full-scale change in each step is worth."""

    class Config(Strict):
        scale: float = Field(0.2, ge=0, le=100, description="energy of a full-scale change of one action in one step")

    def __init__(self, config: Config, robot: RobotParameters):
        self._scale = config.scale
        self._limits = (robot.max_speed, robot.max_turn_rate)

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        state, actions = trajectory.state, trajectory.actions
        xp = array_namespace(actions)
        known = state.sent is not None and state.sent.shape[1] > 0
        last = state.sent[:, -1] if known else state.velocity
        before = xp.broadcast_to(last[:, None, None, :], actions[:, :, :1].shape)
        change = actions - xp.concatenate([before, actions[:, :, :-1]], 2)
        energy = sum(((change[..., i] / limit) ** 2 for i, limit in enumerate(self._limits)), start=0.0)
        return xp.broadcast_to(self._scale * energy[:, :, None], trajectory.poses.shape[:-1])
