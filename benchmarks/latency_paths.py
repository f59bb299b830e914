"""Paths to follow on time, among posts: a figure eight round two, a slalom past ten; and the objective that asks for it.

The place to be at time t is `path.at(t)`: along the curve at 0.3 to 0.5 m/s, before `BEGIN` at its beginning.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import Field

from objective_agent.config import Positive, RobotParameters, Strict
from objective_agent.types import array_namespace

BEGIN, SPEED, SWAY, RHYTHM = 1.0, 0.4, 0.1, 0.7
"""s, m/s, m/s, rad/s: the speed is SPEED + SWAY sin(RHYTHM t)."""
POST = 0.1
SPACING, WEAVE = 1.4, 0.45
"""Of the slalom: metres from post to post, and how far beside each the path goes by."""
EIGHT = (1.6, 0.8)


class Path:
    """`points` [n, 2] of the curve, evenly spaced; `posts` [m, 2] beside it."""

    def __init__(self, points: np.ndarray, posts: np.ndarray):
        steps = np.hypot(*np.diff(points, axis=0).T)
        self.length = np.concatenate([[0.0], np.cumsum(steps)])
        self.points, self.posts = points, posts

    def at(self, time: np.ndarray | float) -> np.ndarray:
        """Where to be at `time` [...], [..., 2]."""
        since = np.maximum(np.asarray(time, float) - BEGIN, 0.0)
        way = SPEED * since + SWAY / RHYTHM * (1 - np.cos(RHYTHM * since))
        return np.stack([np.interp(way, self.length, self.points[:, axis]) for axis in (0, 1)], -1)

    def beside(self, place: np.ndarray) -> float:
        """Distance from `place` [2] to the curve."""
        return float(np.sqrt(((self.points - place) ** 2).sum(1).min()))

    @property
    def start(self) -> tuple[float, float, float]:
        ahead = self.points[5] - self.points[0]
        return (*map(float, self.points[0]), float(np.arctan2(ahead[1], ahead[0])))

    def xml(self) -> str:
        """The world with its posts, as MJCF."""
        low, high = self.points.min(0) - 1.2, self.points.max(0) + 1.2
        (x, y), (half_x, half_y) = (low + high) / 2, (high - low) / 2
        walls = [(x, low[1], half_x, 0.05), (x, high[1], half_x, 0.05), (low[0], y, 0.05, half_y), (high[0], y, 0.05, half_y)]
        boxes = [f'<geom type="box" pos="{a:.3f} {b:.3f} 0.5" size="{c:.3f} {d:.3f} 0.5"/>' for a, b, c, d in walls]
        posts = [f'<geom type="cylinder" pos="{a:.3f} {b:.3f} 0.5" size="{POST} 0.5"/>' for a, b in self.posts]
        x, y, yaw = self.start
        site = f'<site name="start" pos="{x:.3f} {y:.3f} 0" euler="0 0 {yaw:.4f}"/>'
        floor = '<geom name="floor" type="plane" size="0 0 1"/>'
        return f'<mujoco><compiler angle="radian"/><worldbody>{floor}{"".join(boxes + posts)}{site}</worldbody></mujoco>'


@lru_cache(maxsize=4)
def path(name: str) -> Path:
    """`eight` (three rounds) or `slalom`."""
    if name == "eight":
        turn = np.linspace(0, 6 * np.pi, 6000)
        points = np.stack([EIGHT[0] * np.sin(turn), EIGHT[1] * np.sin(2 * turn)], 1)
        return Path(points, np.array([[-1.1, 0.0], [1.1, 0.0]]))
    along = np.linspace(0, 11 * SPACING, 6000)
    posts = np.stack([SPACING * np.arange(1, 11), np.zeros(10)], 1)
    return Path(np.stack([along, WEAVE * np.sin(np.pi * (along / SPACING - 0.5))], 1), posts)


class OnTime:
    """Objective: `weight` per metre from where to be at the end of each step."""

    class Config(Strict):
        path: Literal["eight", "slalom"] = "eight"
        scale: Positive = Field(4.0, description="energy of a metre")

    def __init__(self, config: Config, robot: RobotParameters):
        self._path, self._scale = path(config.path), config.scale

    def energy(self, trajectory, goal):
        poses = trajectory.poses
        xp = array_namespace(poses)
        begin = trajectory.state.stamp if trajectory.start is None else trajectory.start
        wanted = self._path.at(begin + trajectory.dt * np.arange(1, poses.shape[3] + 1)).astype(np.float32)
        wanted = wanted if xp is np else xp.as_tensor(wanted, device=poses.device)
        return self._scale * xp.sqrt(((poses[..., :2] - wanted) ** 2).sum(-1) + 1e-6)
