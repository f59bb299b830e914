"""Intrinsic objective: keep a comfortable distance.

    energy = scale * clip((comfort - clearance) / comfort, 0, 2)^2

Soft: it makes paths keep to the middle of a doorway.  That nothing is touched is the guardrail's business, not this one's.
"""

from __future__ import annotations

from pydantic import Field

from objective_agent.config import RobotParameters, Strict
from objective_agent.cost.distance import obstacle_distance
from objective_agent.types import Array, Goal, Trajectory, array_namespace


class Bump:
    """`energy(trajectory, goal)` [B, N, K, H], metres of goal distance; 0 where no obstacle points are known."""

    class Config(Strict):
        comfort: float = Field(0.25, gt=0, le=5, description="clearance from which on nothing is lost, m")
        scale: float = Field(0.5, ge=0, le=100, description="energy of touching an obstacle")

    def __init__(self, config: Config, robot: RobotParameters):
        self._config, self._radius = config, robot.radius

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        xp = array_namespace(trajectory.poses)
        distance = obstacle_distance(trajectory)
        if distance is None:
            return xp.zeros_like(trajectory.poses[..., 0])
        lacking = (self._config.comfort + self._radius - distance) / self._config.comfort
        return self._config.scale * xp.clip(lacking, 0, 2) ** 2
