"""One run in memory: what every topic said and when, ready to be drawn.

A `Series` answers "what was known at time t": the newest value not later than t.  Large messages stay as bytes and are decoded
when they are asked for, because a video shows ten moments of each second and the robot lives through many more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


class Series:
    """Values with rising times (seconds).  `decode` turns a raw value into the real one, on demand; the last one is kept."""

    def __init__(self, times: Sequence[float] = (), values: Sequence[Any] = (), decode: Callable[[Any], Any] | None = None):
        if len(times) != len(values):
            raise ValueError(f"Series: {len(times)} times but {len(values)} values; give one value per time")
        self.times = np.asarray(times, np.float64)
        self._values = values
        self._decode = decode
        self._last: tuple[int, Any] = (-1, None)

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index: int) -> Any:
        index = range(len(self))[index]
        if self._decode is None:
            return self._values[index]
        if self._last[0] != index:
            self._last = (index, self._decode(self._values[index]))
        return self._last[1]

    def __iter__(self) -> Iterator[tuple[float, Any]]:
        return ((time, self[i]) for i, time in enumerate(self.times))

    def index(self, time: float) -> int:
        """Index of the newest value not later than `time`; -1 when there is none yet."""
        return int(np.searchsorted(self.times, time, side="right")) - 1

    def at(self, time: float, max_age: float = np.inf) -> Any:
        """The newest value not later than `time`, None when there is none or when it is older than `max_age` seconds."""
        i = self.index(time)
        return self[i] if i >= 0 and time - self.times[i] <= max_age else None

    def between(self, start: float, end: float) -> slice:
        """Indices of the values with `start` <= time <= `end`."""
        low, high = np.searchsorted(self.times, start, side="left"), np.searchsorted(self.times, end, side="right")
        return slice(int(low), int(high))

    def column(self, key: str) -> np.ndarray:
        """One key of values that are dictionaries, as floats [n]; NaN where it is missing."""
        return np.array([value.get(key, np.nan) for _, value in self], np.float64)


@dataclass(frozen=True)
class Futures:
    """Imagined futures as line segments: `points` [n, 2, 2] in metres (odom), `energy` [n] from 0 (least of this decision) to 1
    (most), `feasible` [n] bool."""

    points: np.ndarray
    energy: np.ndarray
    feasible: np.ndarray


@dataclass(frozen=True)
class Walls:
    """The world's geometry as the world file has it, for drawing only: `grid` bool [h, w], `origin` (x, y) of its lower left
    corner in metres, `resolution` metres per cell."""

    grid: np.ndarray
    origin: tuple[float, float]
    resolution: float


@dataclass(frozen=True)
class GoalSpan:
    """One goal of a run: where, when it was given and ended, and how."""

    index: int
    position: tuple[float, float]
    start: float
    end: float
    reached: bool
    reason: str = ""


@dataclass(frozen=True)
class Recording:
    """A run, topic by topic.  Times are seconds since the recording started.

    `pose` (odometry) and `true_pose` (the simulator's truth): [x, y, yaw].  Scans are in base_link, thoughts (`route`, `plan`,
    `candidates`) in odom, goals, people and walls in the world. `route`, `plan`: [n, 2]; `people`: [n, 3] (x, y, radius);
    `wall`: [5] (x, y, yaw, thickness, width) of the wall that appeared, empty when it went.  `energies`, `surprise` (in
    units of the alarm level), `status`, `gate`, `simulator`: dictionaries of what the actor, the world model, the gate and the
    simulator reported (numbers as floats, the rest as text).
    """

    pose: Series = field(default_factory=Series)
    true_pose: Series = field(default_factory=Series)
    scan: Series = field(default_factory=Series)
    image: Series = field(default_factory=Series)
    route: Series = field(default_factory=Series)
    plan: Series = field(default_factory=Series)
    candidates: Series = field(default_factory=Series)
    energies: Series = field(default_factory=Series)
    status: Series = field(default_factory=Series)
    surprise: Series = field(default_factory=Series)
    gate: Series = field(default_factory=Series)
    simulator: Series = field(default_factory=Series)
    people: Series = field(default_factory=Series)
    wall: Series = field(default_factory=Series)
    contact: Series = field(default_factory=Series)
    configuration: Series = field(default_factory=Series)
    diagnostics: Series = field(default_factory=Series)
    clock: Series = field(default_factory=Series)
    goals: tuple[GoalSpan, ...] = ()
    all_goals: tuple[tuple[float, float], ...] = ()
    walls: Walls | None = None
    start: float = 0.0
    end: float = 0.0
    info: dict[str, Any] = field(default_factory=dict)

    def goal_at(self, time: float) -> GoalSpan | None:
        """The goal being driven to at `time`; between two goals, the one just finished."""
        given = [goal for goal in self.goals if goal.start <= time]
        return given[-1] if given else None

    def wall_spans(self) -> list[tuple[float, float]]:
        """From when to when the wall stood there."""
        times, up = self.wall.times, [len(value) > 0 for _, value in self.wall]
        ends = [*times[1:], self.end]
        return [(float(time), float(end)) for time, end, stands in zip(times, ends, up, strict=False) if stands]

    def pose_at(self, time: float) -> np.ndarray | None:
        """Where the robot is [3]: the truth where it was recorded (a simulator), else what odometry says."""
        true_pose = self.true_pose.at(time)
        return self.pose.at(time) if true_pose is None else true_pose

    def to_world(self, points: np.ndarray, time: float) -> np.ndarray:
        """Points [..., 2] given in odom, where they are in the world: odometry drifts, and the walls on the map do not.

        The robot's thoughts are carried along with the robot.  Without the truth they stay where they are.
        """
        believed, true = self.pose.at(time), self.true_pose.at(time)
        if believed is None or true is None:
            return np.asarray(points)
        turn = true[2] - believed[2]
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return (np.asarray(points, np.float64)[..., :2] - believed[:2]) @ rotation.T + true[:2]
