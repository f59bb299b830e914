"""Trajectories for the tests of energies and guardrails."""

import numpy as np
import torch

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.plugins import create
from objective_agent.types import Goal, Trajectory, WorldState

ROBOT = RobotParameters()
OBJECTIVES = ("goal_pose", "smooth", "effort", "bump")


def objective(name, **settings):
    return create("objective", PluginSpec(plugin=name, **settings), ROBOT)


def guardrail(**settings):
    return create("guardrail", PluginSpec(plugin="clearance", **settings), ROBOT)


def state(points=None, pose=(0, 0, 0), sent=None):
    """One robot; `points` [P, 2] in odom, `sent` [L, 2]."""
    return WorldState(
        stamp=0.0,
        representation=np.zeros((1, 1, 4), np.float32),
        pose=np.array([pose], np.float32),
        velocity=np.zeros((1, 2), np.float32),
        model="test",
        points=None if points is None else np.array(points, np.float32).reshape(1, -1, 2),
        sent=None if sent is None else np.array([sent], np.float32),
    )


def along(poses, points=None, start=(0, 0, 0), actions=None, sent=None):
    """The trajectory [1, 1, 1, H] through `poses` [H, 3]."""
    poses = np.array(poses, np.float32)[None, None, None]
    horizon = poses.shape[3]
    actions = np.zeros((1, 1, horizon, 2), np.float32) if actions is None else np.array(actions, np.float32)[None, None]
    return Trajectory(state(points, start, sent), actions, poses, np.zeros((*poses.shape[:-1], 2), np.float32), 0.2)


def straight(end, steps=5, **rest):
    """Straight from the origin to `end` (x, y) without turning."""
    share = np.arange(1, steps + 1)[:, None] / steps
    return along(np.concatenate([share * np.array(end), np.zeros((steps, 1))], -1), **rest)


def random_trajectory(seed, batch=2, candidates=3, futures=2, horizon=5, points=12):
    """A trajectory of anything, with padding among its points, and a goal."""
    rng = np.random.default_rng(seed)

    def some(*shape):
        return rng.normal(size=shape).astype(np.float32)

    obstacles = some(batch, points, 2)
    obstacles[rng.random((batch, points)) < 0.3] = np.inf
    start = WorldState(
        0.0, some(batch, 1, 4), some(batch, 3), some(batch, 2), "test", obstacles, np.array([-0.1]), some(batch, 1, 2)
    )
    poses = some(batch, candidates, futures, horizon, 3)
    trajectory = Trajectory(start, some(batch, candidates, horizon, 2), poses, poses[..., :2] * 0, 0.2)
    return trajectory, Goal(some(batch, 2), some(batch))


def as_torch(trajectory, goal):
    moved = Trajectory(
        trajectory.state.to_torch(),
        torch.tensor(trajectory.actions),
        torch.tensor(trajectory.poses),
        torch.tensor(trajectory.velocities),
        trajectory.dt,
    )
    heading = None if goal.heading is None else torch.tensor(goal.heading)
    return moved, Goal(torch.tensor(goal.position), heading, None, goal.final)
