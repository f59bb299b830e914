"""What goes into the gate, what comes out, and what it remembers between two calls: values only."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from objective_agent.types import Command, Odometry, Scan


class Ladder(enum.IntEnum):
    """How far the gate had to go."""

    OK = 0
    """The command passed unchanged."""
    LIMIT = 1
    """Scaled down or clamped."""
    STOP = 2
    """Comfortable stop: braking gently, verified; or held at zero with nothing wrong but missing input."""
    EMERGENCY = 3
    """Zero at once."""
    LATCHED = 4
    """Emergency stop was pressed: zero until it is released AND reset."""


@dataclass(frozen=True)
class GateInputs:
    """The newest message of each source at time `now` (ROS time, s).  The same object means: nothing new arrived.

    `steady` is the monotonic clock that judges arrivals (None: `now`, for simulation in one process).  `max_speed` (m/s)
    tightens the speed limit; a value that is not a finite number >= 0 counts as 0.
    """

    now: float
    command: Command | None
    scan: Scan | None
    odometry: Odometry | None
    e_stop: bool = False
    reset: bool = False
    steady: float | None = None
    max_speed: float | None = None


@dataclass(frozen=True)
class GateOutput:
    """The command that may leave, with the reason in words; `held`: the robot was kept from moving as asked."""

    v: float
    w: float
    level: Ladder
    reason: str
    held: bool
    scan_age: float = float("nan")


@dataclass(frozen=True, eq=False)
class Source:
    """One topic's freshness: the last accepted message, when it arrived (steady), and how many fresh ones in a row."""

    message: Any = None
    seen: Any = None
    arrival: float = 0.0
    fresh: int = 0
    problem: str = ""


@dataclass(frozen=True, eq=False)
class SeenScan:
    """A scan placed in odom: hit points [P, 2], and what the lidar could see from where (for things that move)."""

    stamp: float
    arrival: float
    points: np.ndarray
    origin: np.ndarray
    """Pose [x, y, yaw] of the lidar in odom."""
    angle_min: float
    angle_increment: float
    free_ranges: np.ndarray
    """Range up to which each beam saw free space [beams]; 0 where unknown."""


@dataclass(frozen=True, eq=False)
class Moving:
    """Points that move: position [M, 2] in odom at `stamp`, velocity [M, 2] m/s."""

    stamp: float = 0.0
    points: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    velocities: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))


@dataclass(frozen=True, eq=False)
class GateState:
    """Everything the gate remembers; made by `initial_state`, replaced by every `step`."""

    now: float = float("-inf")
    steady: float = float("-inf")
    v: float = 0.0
    w: float = 0.0
    latched: bool = False
    command: Source = field(default_factory=Source)
    scan: Source = field(default_factory=Source)
    odometry: Source = field(default_factory=Source)
    odometry_history: tuple[Odometry, ...] = ()
    scans: tuple[SeenScan, ...] = ()
    blind: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    """Points [P, 2] in odom that close the sectors the newest scan knows nothing about."""
    edges: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    """Corners [E, 2] in odom from behind which something could step out."""
    moving: Moving = field(default_factory=Moving)
    sent: tuple[tuple[float, float, float], ...] = ()
    """(time, v, w) that left the gate, oldest first."""
