"""Task objective: be at a pose.  In metres.

    energy = d + facing * min(d / near, 1) * (1 - cos(bearing)) / 2 + heading * near * exp(-(d / near)^2) * (1 - cos(error)) / 2

`d` is the distance to the goal, `bearing` the direction in which the robot sees it, `error` the heading's error once a heading
is asked for.  The second term is what turning round costs a robot that drives forwards; without it a goal behind the robot is
approached in reverse.  The third acts within about `near` of the goal, and its bound on `heading` keeps the sum falling all the
way to the goal.  For a subgoal that is only passed (goal.final False) each step counts the least energy up to then: having been
there is enough, and slowing down gains nothing.

The caller averages over the whole trajectory: the last step alone would make the robot procrastinate (eb_jepa's ablation).
"""

from __future__ import annotations

from pydantic import Field, field_validator

from objective_agent.config import RobotParameters, Strict
from objective_agent.types import Array, Goal, InputError, Trajectory, array_namespace


class GoalPose:
    """`energy(trajectory, goal)` [B, N, K, H], metres.  InputError when the goal has no position."""

    needs = "position"
    """What a goal must have for this objective to say anything."""

    class Config(Strict):
        facing: float = Field(0.5, ge=0, le=10, description="metres that facing straight away from the goal costs")
        near: float = Field(0.5, gt=0, le=10, description="distance within which the goal's heading matters, m")
        heading: float = Field(0.9, ge=0, le=1, description="weight of the goal's heading near the goal, share of near")
        saturation: float = Field(0.0, ge=0, le=1000, description="distances level off around this one, m; 0: never")

        @field_validator("saturation")
        @classmethod
        def _not_tiny(cls, value: float) -> float:
            if 0 < value < 0.01:
                raise ValueError("must be 0 (never) or at least 0.01 m")
            return value

    def __init__(self, config: Config, robot: RobotParameters):
        self._config = config

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        if goal.position is None:
            raise InputError("objective goal_pose: the goal has no position; give one, or take goal_pose out of `objectives`")
        config, poses = self._config, trajectory.poses
        xp = array_namespace(poses)
        offset = goal.position[:, None, None, None, :] - poses[..., :2]
        yaw = poses[..., 2]
        distance = xp.sqrt((offset**2).sum(-1))
        energy = distance
        if config.saturation > 0:
            energy = config.saturation * (1 - xp.exp(-distance / config.saturation))
        if config.facing > 0:
            # min(d / near, 1) (1 - cos(bearing)), without dividing by a distance that may be 0
            along = offset[..., 0] * xp.cos(yaw) + offset[..., 1] * xp.sin(yaw)
            away = (distance - along) / xp.clip(distance, config.near, None)
            energy = energy + 0.5 * config.facing * xp.clip(away, 0, None)
        if goal.heading is not None and config.heading > 0:
            error = 1 - xp.cos(yaw - goal.heading[:, None, None, None])
            energy = energy + 0.5 * config.heading * config.near * xp.exp(-((distance / config.near) ** 2)) * error
        return energy if goal.final else _least_so_far(energy)


def _least_so_far(energy: Array) -> Array:
    xp = array_namespace(energy)
    if hasattr(xp, "cummin"):
        return xp.cummin(energy, -1).values
    return xp.minimum.accumulate(energy, -1)
