"""Controllers that any result must be compared with: doing nothing, anything, the obvious, and what a map makes easy."""

from __future__ import annotations

import math

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.memory.route import lookahead, nearest_open, shortest_path
from objective_agent.perception.synchronizer import carry_on
from objective_agent.simulation.occupancy import occupancy
from objective_agent.simulation.tasks import Episode
from objective_agent.types import Command, Image, Odometry, Scan, wrap_angle

STOP_DISTANCE = 0.15
"""Where odometry says that this little is left, the baselines stop, m: half the success radius, the rest is for drift."""


class Baseline:
    """Knows odometry and the goal in odom."""

    def __init__(self, robot: RobotParameters):
        self.robot = robot

    def reset(self, episode: Episode) -> None:
        self.goal = np.asarray(episode.goal)
        self._odometry: Odometry | None = None

    def observe(self, reading: Scan | Image | Odometry) -> None:
        if isinstance(reading, Odometry):
            self._odometry = reading

    def command_sent(self, command: Command) -> None:
        """Not used: no baseline predicts."""

    def pose(self, now: float) -> np.ndarray | None:
        return None if self._odometry is None else carry_on(self._odometry, now).astype(float)

    def drive_to(self, pose: np.ndarray, point: np.ndarray) -> tuple[float, float]:
        """Turns to `point`, and drives while it is ahead."""
        bearing = wrap_angle(math.atan2(point[1] - pose[1], point[0] - pose[0]) - pose[2])
        limit = self.robot.max_turn_rate
        speed = self.robot.max_speed * max(0.0, math.cos(bearing)) ** 2 if abs(bearing) < 1.0 else 0.0
        return speed, min(max(2.0 * bearing, -limit), limit)


class Zero(Baseline):
    """Stands still."""

    def act(self, now: float) -> tuple[float, float]:
        return 0.0, 0.0


class Random(Baseline):
    """A new uniform command every second."""

    def reset(self, episode: Episode) -> None:
        super().reset(episode)
        self._random = np.random.default_rng([episode.seed, 1])
        self._until, self._command = 0.0, (0.0, 0.0)

    def act(self, now: float) -> tuple[float, float]:
        if now >= self._until:
            robot = self.robot
            v = float(self._random.uniform(-robot.max_reverse_speed, robot.max_speed))
            w = float(self._random.uniform(-robot.max_turn_rate, robot.max_turn_rate))
            self._until, self._command = now + 1.0, (v, w)
        return self._command


class StraightLine(Baseline):
    """Turns to the goal and drives, whatever stands between."""

    def act(self, now: float) -> tuple[float, float]:
        pose = self.pose(now)
        if pose is None or math.dist(pose[:2], self.goal) < STOP_DISTANCE:
            return 0.0, 0.0
        return self.drive_to(pose, self.goal)


class MapPursuit(Baseline):
    """Cheapest path on the TRUE map of the world, and pure pursuit of a point ahead on it, by odometry.

    No robot has this map on arrival; the row says how hard the episodes are once mapping is solved.
    """

    LOOKAHEAD = 0.4
    NEAR, NEAR_COST = 0.3, 6.0

    def reset(self, episode: Episode) -> None:
        super().reset(episode)
        grid = occupancy(episode.world)
        clearance = grid.clearance() - self.robot.radius
        cost = 1 + self.NEAR_COST * np.clip(1 - clearance / self.NEAR, 0, 1)
        cost[clearance < 0.02] = np.inf
        cost[[0, -1]] = np.inf
        cost[:, [0, -1]] = np.inf
        start, goal = (nearest_open(np.isfinite(cost), grid.cell(*point[:2])) for point in (episode.start, episode.goal))
        cells = None if start is None or goal is None else shortest_path(cost.astype(np.float32), start, goal)
        if cells is None:
            self._path = np.array([episode.goal])
        else:
            self._path = np.array([*(grid.centre(row, column) for row, column in cells), episode.goal])

    def act(self, now: float) -> tuple[float, float]:
        pose = self.pose(now)
        if pose is None or math.dist(pose[:2], self.goal) < STOP_DISTANCE:
            return 0.0, 0.0
        point, _ = lookahead(self._path, pose[:2], self.LOOKAHEAD)
        return self.drive_to(pose, point.astype(float))


BASELINES: dict[str, type[Baseline]] = {
    "zero": Zero,
    "random": Random,
    "straight_line": StraightLine,
    "map_pursuit": MapPursuit,
}
