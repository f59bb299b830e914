"""The exploratory driver: what a robot does while data is collected.

A world model can only learn what was tried, and what is rare must be made common: near misses, doors, spins, stops, driving
backwards.  One manoeuvre follows another, drawn at random; over each lies noise correlated in time (Ornstein-Uhlenbeck),
because a command that jumps every step goes nowhere.  It sees the scan, as any robot's would; the safety gate is behind it.
"""

from __future__ import annotations

import math

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.types import Command, Image, Odometry, Scan, wrap_angle

MANOEUVRES = {
    # name: (weight, shortest, longest in s)
    "towards": (0.6, 2.0, 10.0),
    "arc": (0.18, 0.5, 3.0),
    "near": (0.10, 1.0, 3.0),
    "follow": (0.12, 2.0, 6.0),
    "spin": (0.06, 0.5, 2.5),
    "reverse": (0.04, 0.5, 2.0),
    "stop": (0.04, 0.3, 1.5),
}
ARRIVED = 0.3
CORRIDORS = np.linspace(-math.pi, math.pi, 72, endpoint=False)
"""Directions that are looked at for a way past obstacles, rad."""

DEAD_END = 0.12
"""With less room than this in the best direction the robot backs out, m."""

NOISE_TIME = 0.6
"""Time in which the noise forgets itself, s."""

PATIENCE = (0.1, 0.8)
"""How long the driver lets the gate hold it before it turns to where there is room, s."""


class Explorer:
    """Answers `act` with speed and turn rate.  The same seed and readings give the same commands."""

    def __init__(self, robot: RobotParameters, seed):
        self.robot = robot
        self._random = np.random.default_rng(seed)
        self._scan: Scan | None = None
        self._pose = np.zeros(3)
        self._until, self._name, self._now, self._patience = 0.0, "stop", 0.0, 0.0
        self._noise = np.zeros(2)
        self._wanted, self._held_since = 0.0, math.inf
        # Some drivers are calm, some are not.
        self._pace = float(self._random.uniform(0.8, 1.0))
        self._spread = self._random.uniform([0.02, 0.05], [0.1, 0.4])

    def observe(self, reading: Scan | Image | Odometry) -> None:
        if isinstance(reading, Scan):
            self._scan = reading
        elif isinstance(reading, Odometry):
            self._pose = np.asarray(reading.pose, float)

    def command_sent(self, command: Command) -> None:
        """What left the gate: shows that it holds the robot."""
        if abs(self._wanted) < 0.05 or abs(command.v) > 0.3 * abs(self._wanted):
            self._held_since = math.inf
        else:
            self._held_since = min(self._held_since, command.stamp)

    def act(self, now: float) -> tuple[float, float]:
        """Speed (m/s) and turn rate (rad/s) wanted at `now`."""
        if now - self._held_since > self._patience:
            self._choose(now, "towards")
        elif now >= self._until or self._is_over():
            self._choose(now)
        v, w = getattr(self, f"_{self._name}")()
        step, self._now = max(now - self._now, 0.0), now
        keep = math.exp(-step / NOISE_TIME)
        kick = self._random.standard_normal(2) * self._spread * math.sqrt(max(1 - keep * keep, 0.0))
        self._noise = keep * self._noise + kick
        if self._name != "stop":
            v, w = v + self._noise[0], w + self._noise[1]
        robot = self.robot
        v = self._wanted = float(min(max(v, -robot.max_reverse_speed), robot.max_speed))
        return v, float(min(max(w, -robot.max_turn_rate), robot.max_turn_rate))

    def _choose(self, now: float, name: str | None = None) -> None:
        names = list(MANOEUVRES)
        weights = np.array([MANOEUVRES[name][0] for name in names])
        self._name = name or names[self._random.choice(len(names), p=weights / weights.sum())]
        self._until = now + float(self._random.uniform(*MANOEUVRES[self._name][1:]))
        self._speed = self._pace * self.robot.max_speed * float(self._random.uniform(0.7, 1.25))
        self._turn = self.robot.max_turn_rate * float(self._random.uniform(-1, 1)) * self._pace
        self._side = 1.0 if self._random.random() < 0.5 else -1.0
        self._patience, self._held_since = float(self._random.uniform(*PATIENCE)), math.inf
        self._room = float(self._random.uniform(0.06, 0.25))
        self._gap = float(self._random.uniform(0.25, 0.6))
        self._point = self._far_point() if self._name == "towards" else self._near_point()

    # --- where to -----------------------------------------------------------------------------------------------------------

    def _ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """Directions and distances that the last sweep knows: free counts as the farthest range."""
        scan = self._scan
        if scan is None:
            return np.zeros(1), np.ones(1)
        ranges = np.where(np.isposinf(scan.ranges), scan.range_max, scan.ranges)
        known = np.isfinite(ranges)
        return (scan.angles[known], ranges[known]) if known.any() else (np.zeros(1), np.ones(1))

    def _at(self, angle: float, distance: float) -> np.ndarray:
        heading = self._pose[2] + angle
        return self._pose[:2] + distance * np.array([math.cos(heading), math.sin(heading)])

    def _far_point(self) -> np.ndarray:
        """A place in odom, drawn with preference for where it is far: long views lead through doors."""
        angles, ranges = self._ranges()
        weights = np.clip(ranges, 0.05, 4.0) ** 2 * (1.1 + np.cos(angles)) ** 2  # rather on than back
        index = self._random.choice(len(angles), p=weights / weights.sum())
        return self._at(float(angles[index]), float(ranges[index]) * float(self._random.uniform(0.6, 0.95)))

    def _near_point(self) -> np.ndarray:
        """One of the nearest obstacles, in odom, a little to the side of its middle."""
        angles, ranges = self._ranges()
        index = np.argsort(ranges)[int(self._random.integers(max(1, len(ranges) // 8)))]
        return self._at(float(angles[index]) + 0.3 * self._random.standard_normal(), float(ranges[index]))

    def _is_over(self) -> bool:
        return self._name == "towards" and math.dist(self._point, self._pose[:2]) < ARRIVED

    def _drive_to(self, point: np.ndarray) -> tuple[float, float]:
        bearing = wrap_angle(math.atan2(point[1] - self._pose[1], point[0] - self._pose[0]) - self._pose[2])
        ahead = max(0.0, math.cos(bearing)) if abs(bearing) < 1.2 else 0.0
        return self._speed * ahead, 2.0 * bearing

    # --- manoeuvres ---------------------------------------------------------------------------------------------------------

    def _towards(self) -> tuple[float, float]:
        """To a place in view, by the free corridor that leads most nearly there."""
        angles, ranges = self._ranges()
        x, y = ranges * np.cos(angles), ranges * np.sin(angles)
        cos, sin = np.cos(CORRIDORS)[:, None], np.sin(CORRIDORS)[:, None]
        ahead, beside = cos * x + sin * y, np.abs(cos * y - sin * x)
        # What is close already must not block the way along it.
        room = min(self._room, max(0.0, float(ranges.min()) - self.robot.radius - 0.01))
        blocking = (ahead > 0) & (beside < self.robot.radius + room)
        free = np.where(blocking, ahead, 4.0).min(1) - self.robot.radius
        offset = self._point - self._pose[:2]
        bearing = wrap_angle(math.atan2(offset[1], offset[0]) - self._pose[2])
        wanted = min(float(np.hypot(*offset)), 1.2)
        cost = np.abs(wrap_angle(CORRIDORS - bearing)) + 2.5 * np.clip(wanted - free, 0, None)
        best = int(np.argmin(cost))
        heading = float(CORRIDORS[best])
        speed = self._speed * max(0.0, math.cos(heading)) if abs(heading) < 1.0 else 0.0
        open_way = float(free[best])
        if open_way < DEAD_END:
            return -self.robot.max_reverse_speed, 0.3 * self._turn
        return speed * min(1.0, 2.0 * (open_way - 0.5 * DEAD_END)), 2.0 * heading

    def _near(self) -> tuple[float, float]:
        """At an obstacle until the gate holds the robot: a near miss."""
        return self._drive_to(self._point)

    def _arc(self) -> tuple[float, float]:
        return self._speed, self._turn

    def _spin(self) -> tuple[float, float]:
        return 0.0, self._turn

    def _reverse(self) -> tuple[float, float]:
        return -self.robot.max_reverse_speed, 0.5 * self._turn

    def _stop(self) -> tuple[float, float]:
        return 0.0, 0.0

    def _follow(self) -> tuple[float, float]:
        """Along a wall on one side, at a gap from the body."""
        angles, ranges = self._ranges()
        beside = np.abs(wrap_angle(angles - self._side * math.pi / 2)) < 0.6
        ahead = np.abs(angles) < 0.5
        gap = float(ranges[beside].min()) - self.robot.radius if beside.any() else 1.0
        front = float(ranges[ahead].min()) - self.robot.radius if ahead.any() else 1.0
        if front < self._gap + 0.1:
            return 0.1, -self._side * 1.2
        return self._speed, self._side * min(max(2.0 * (gap - self._gap), -0.8), 0.8)
