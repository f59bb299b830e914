"""Guardrail: the footprint stays clear of every obstacle point, now and on the whole imagined way.

    margin = distance to the nearest point - robot radius - required clearance

`required` is the parameter `margin`.  A robot that is already nearer than that must not be locked in: then what is required is
the present clearance (less a few millimetres, so that measurement noise does not forbid turning on the spot), and only turning
or leaving is feasible.  Without points nothing is known, and only standing still or turning is feasible.
"""

from __future__ import annotations

from pydantic import Field

from objective_agent.config import READ_ONLY, RobotParameters, Strict
from objective_agent.cost.distance import obstacle_distance, present_distance
from objective_agent.types import Array, Trajectory, array_namespace

SLACK = 0.005
"""How much nearer than at present still counts as not coming nearer, m."""


class Clearance:
    """`margin(trajectory)` [B, N, K, H] in metres; NaN (never allowed) where the points or the poses are NaN."""

    class Config(Strict):
        margin: float = Field(0.08, ge=0.02, le=2, description="clearance to keep, m", json_schema_extra=READ_ONLY)

    def __init__(self, config: Config, robot: RobotParameters):
        self._radius, self._required = robot.radius, config.margin

    def margin(self, trajectory: Trajectory) -> Array:
        distance = obstacle_distance(trajectory)
        state, poses = trajectory.state, trajectory.poses
        xp = array_namespace(poses)
        if distance is None:
            moved = poses[..., :2] - state.pose[:, None, None, None, :2]
            return SLACK - xp.sqrt((moved**2).sum(-1))
        present = present_distance(state) - self._radius
        required = xp.clip(present - SLACK, None, self._required)
        return distance - self._radius - required[:, None, None, None]
