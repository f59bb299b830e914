"""Intrinsic objective: be slow where somebody is expected near.

    energy = scale * clip((distance - read-out "people_expected") / distance, 0, 1) * pace
             * clip(mean pace of the commands sent lately / patience, 0, 1),        pace = |v| / max_speed + |w| / max_turn_rate

The guardrail `people` forbids going nearer; this one makes the robot wait for who comes towards it, which no constraint on the
distance alone can: standing is then as near as driving, but who stands runs into nobody.  The world model says where people
will be at each imagined step, so the robot is slow before they are there.  The second factor lets a robot that has stood for
some seconds go on beside people who stay.  People keep such a space round themselves, too (Hall, "The Hidden Dimension", 1966).
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
        patience: float = Field(
            0.6,
            ge=0,
            le=2,
            description="it fades below this mean pace of the last seconds, share of the limits; 0: never",
        )
        scale: float = Field(3.0, ge=0, le=100, description="energy of full speed (or of the fastest turn) at a person")

    def __init__(self, config: Config, robot: RobotParameters):
        self._config, self._limits = config, (robot.max_speed, robot.max_turn_rate)

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        xp = array_namespace(trajectory.poses)
        people = trajectory.readouts.get(READOUT)
        if people is None:
            return xp.zeros_like(trajectory.poses[..., 0])
        near = xp.clip((self._config.distance - people) / self._config.distance, 0, 1)
        return self._config.scale * self._patience(trajectory) * near * self._pace(trajectory.velocities)

    def _pace(self, velocities: Array) -> Array:
        """Velocities [..., 2] as shares of the limits [...]."""
        xp = array_namespace(velocities)
        return sum((xp.abs(velocities[..., i]) / limit for i, limit in enumerate(self._limits)), start=0.0)

    def _patience(self, trajectory: Trajectory) -> Array | float:
        """How much courtesy is left [B, 1, 1, 1], 0 to 1."""
        sent = trajectory.state.sent
        if sent is None or sent.shape[1] == 0 or self._config.patience == 0:
            return 1.0
        pace = self._pace(sent).mean(1)
        return array_namespace(sent).clip(pace / self._config.patience, 0, 1)[:, None, None, None]
