"""Intrinsic objective: do no more than is needed.

    energy_h = scale * sum_a (action_h / limit_a)^2

Small beside the task: it decides between plans that serve the goal equally, and keeps an idle robot still.
"""

from __future__ import annotations

from pydantic import Field

from objective_agent.config import RobotParameters, Strict
from objective_agent.types import Array, Goal, Trajectory, array_namespace


class Effort:
    """`energy(trajectory, goal)` [B, N, K, H], metres of goal distance that one step at full speed or turn rate is worth."""

    class Config(Strict):
        scale: float = Field(0.01, ge=0, le=100, description="energy of one action at its limit")

    def __init__(self, config: Config, robot: RobotParameters):
        self._scale = config.scale
        self._limits = (robot.max_speed, robot.max_turn_rate)

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        actions = trajectory.actions
        xp = array_namespace(actions)
        energy = sum(((actions[..., i] / limit) ** 2 for i, limit in enumerate(self._limits)), start=0.0)
        return xp.broadcast_to(self._scale * energy[:, :, None], trajectory.poses.shape[:-1])
