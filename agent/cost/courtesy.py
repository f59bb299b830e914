"""Intrinsic objective: be slow where somebody is expected near.

    energy = scale * clip((distance - read-out "people_expected") / distance, 0, 1) * (|v| / max_speed + |w| / max_turn_rate)

The guardrail `people` forbids going nearer; this one makes the robot wait for who comes towards it, which no constraint on the
distance alone can: standing is then as near as driving, but who stands runs into nobody.  The world model says where people
will be at each imagined step, so the robot is slow before they are there.  People keep such a space round themselves, too
(Hall, "The Hidden Dimension", 1966).
"""

from __future__ import annotations

from pydantic import Field

from objective_agent.config import RobotParameters, Strict
from objective_agent.types import Array, Goal, Trajectory, array_namespace

READOUT = "people_expected"


class Courtesy:
    """`energy(trajectory, goal)` [B, N, K, H], metres of goal distance; 0 for a world model without the read-out."""

    class Config(Strict):
        distance: float = Field(0.6, gt=0, le=3, description="expected distance of people within which speed costs, m")
        scale: float = Field(3.0, ge=0, le=100, description="energy of full speed (or of the fastest turn) at a person")

    def __init__(self, config: Config, robot: RobotParameters):
        self._config, self._limits = config, (robot.max_speed, robot.max_turn_rate)

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        xp = array_namespace(trajectory.poses)
        people = trajectory.readouts.get(READOUT)
        if people is None:
            return xp.zeros_like(trajectory.poses[..., 0])
        near = xp.clip((self._config.distance - people) / self._config.distance, 0, 1)
        pace = sum((xp.abs(trajectory.velocities[..., i]) / limit for i, limit in enumerate(self._limits)), start=0.0)
        return self._config.scale * near * pace
