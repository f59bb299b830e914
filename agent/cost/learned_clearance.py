"""Guardrail: the footprint stays clear of what the world model expects there, and of every obstacle point that is known.

    margin = min(read-out "clearance" - (margin - allowance),  distance to the nearest point - robot radius - margin)

The read-out (metres from the footprint, each step's calibrated conformal margin already taken off) sees what no point shows:
what the camera knows, and what will have moved.  The points, where there are any, see what the read-out overlooks.  Its
conformal margin stands for `allowance` metres of the clearance to keep, so that doubt is not paid for twice.

A robot that is already nearer than that may stand, turn or leave, as with guardrail `clearance`: a step is allowed, too, when
the read-out is no worse than it would be at that step if the robot stood still.  That comparison is within one future, so what
the model doubts in any case does not lock the robot in.

With neither read-out nor points nothing is known, and nothing is allowed.
"""

from __future__ import annotations

from pydantic import Field

from objective_agent.config import READ_ONLY, RobotParameters, Strict
from objective_agent.cost.clearance import Clearance
from objective_agent.types import Array, Trajectory, array_namespace

READOUT = "clearance"


class LearnedClearance:
    """`margin(trajectory)` [B, N, K, H] in metres; NaN (never allowed) where read-out, points or poses are NaN."""

    class Config(Strict):
        margin: float = Field(0.08, ge=0.02, le=2, description="clearance to keep, m", json_schema_extra=READ_ONLY)
        allowance: float = Field(
            0.08,
            ge=0,
            le=0.2,
            description="part of it that the read-out's calibrated margin stands for, m",
            json_schema_extra=READ_ONLY,
        )
        slack: float = Field(
            0.02, ge=0, le=0.1, description="this little nearer than when standing is no nearer, m", json_schema_extra=READ_ONLY
        )

    def __init__(self, config: Config, robot: RobotParameters):
        self._config = config
        self._points = Clearance(Clearance.Config(margin=config.margin), robot)

    def margin(self, trajectory: Trajectory) -> Array:
        xp = array_namespace(trajectory.poses)
        learned = readout_margin(trajectory, READOUT, self._config.margin - self._config.allowance, self._config.slack)
        if trajectory.state.points is not None:
            points = self._points.margin(trajectory)
            return points if learned is None else xp.minimum(points, learned)
        if learned is None:
            return xp.full_like(trajectory.poses[..., 0], -1.0)
        return learned


def readout_margin(trajectory: Trajectory, name: str, required: float, slack: float) -> Array | None:
    """Margin [B, N, K, H] of the read-out `name` over `required` metres, or over what standing still gives where that is less.

    None when the world model has no such read-out.
    """
    distance = trajectory.readouts.get(name)
    if distance is None:
        return None
    standing = trajectory.standing.get(name)
    if standing is None:
        return distance - required
    return distance - array_namespace(distance).clip(standing - slack, None, required)
