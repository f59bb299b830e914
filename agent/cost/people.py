"""Guardrail: keep away from people, where the world model expects them to be.

    margin = read-out "people" - margin

The read-out is the distance from the footprint to the nearest person at each imagined step, its calibrated conformal margin
taken off.  People walk, so this is the one constraint that a still picture of the surroundings can't give.  The robot answers
for what it does, not for who comes: a step is allowed, too, when the read-out is no worse than if the robot stood still.

Without the read-out nothing is known about people, and nothing is allowed: this guardrail is for world models that have it.
"""

from __future__ import annotations

from pydantic import Field

from objective_agent.config import READ_ONLY, RobotParameters, Strict
from objective_agent.cost.learned_clearance import readout_margin
from objective_agent.types import Array, Trajectory, array_namespace

READOUT = "people"


class People:
    """`margin(trajectory)` [B, N, K, H] in metres; -1 everywhere for a world model without the read-out."""

    class Config(Strict):
        margin: float = Field(0.1, ge=0, le=2, description="distance to keep from people, m", json_schema_extra=READ_ONLY)
        slack: float = Field(
            0.3, ge=0, le=1, description="this little nearer than when standing is no nearer, m", json_schema_extra=READ_ONLY
        )

    def __init__(self, config: Config, robot: RobotParameters):
        self._config = config

    def margin(self, trajectory: Trajectory) -> Array:
        found = readout_margin(trajectory, READOUT, self._config.margin, self._config.slack)
        return array_namespace(trajectory.poses).full_like(trajectory.poses[..., 0], -1.0) if found is None else found
