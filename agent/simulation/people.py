"""People: capsules that walk to and fro along given waypoints.

A person is a mocap body `person*` of the world file with a custom text `<body>_path` ("x,y x,y …") and, optionally, a custom
numeric `<body>_speed`.  Unless told otherwise a person pauses while the robot is close ahead, as people do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from objective_agent.types import InputError

DEFAULT_SPEED = 0.6
SIDEWAYS = 0.15  # room that a person wants beside itself, m


@dataclass(frozen=True, eq=False)
class Person:
    """One walking person: `path` [k, 2] waypoints (one of them: stands still), `speed` m/s, `radius` of the capsule, m."""

    name: str
    path: np.ndarray
    speed: float = DEFAULT_SPEED
    radius: float = 0.25


def parse_path(text: str, where: str) -> np.ndarray:
    """Waypoints [k, 2] of "x,y x,y …"; InputError when there are none or one of them isn't two finite numbers."""
    points = []
    for item in text.split():
        try:
            x, y = (float(value) for value in item.split(","))
        except ValueError:
            raise InputError(f'{where}: waypoint {item!r} is not x,y; write "x,y x,y ..." in metres') from None
        if not (math.isfinite(x) and math.isfinite(y)):
            raise InputError(f"{where}: waypoint {item!r} is not finite; give numbers in metres")
        points.append((x, y))
    if not points:
        raise InputError(f'{where}: has no waypoints; write "x,y x,y ..." in metres')
    return np.array(points)


class Walk:
    """Where a person is on the way: `position`, `heading`, moved on by `advance`."""

    def __init__(self, person: Person, phase: float = 0.0):
        self.person = person
        lengths = np.hypot(*np.diff(person.path, axis=0).T) if len(person.path) > 1 else np.zeros(0)
        self._ends = np.concatenate([[0.0], np.cumsum(lengths)])
        self.length = float(self._ends[-1])
        self._travelled = phase * 2 * self.length
        self.walking = True
        self._locate()

    def _locate(self) -> None:
        path, ends = self.person.path, self._ends
        if self.length == 0:
            self.x, self.y, self.heading = float(path[0, 0]), float(path[0, 1]), 0.0
            return
        along = self._travelled % (2 * self.length)
        back = along >= self.length
        if back:
            along = 2 * self.length - along
        i = min(int(np.searchsorted(ends, along, side="left" if back else "right")), len(ends) - 1)
        i = max(i, 1)
        share = (along - ends[i - 1]) / max(ends[i] - ends[i - 1], 1e-12)
        (ax, ay), (bx, by) = path[i - 1].tolist(), path[i].tolist()
        self.x, self.y = ax + share * (bx - ax), ay + share * (by - ay)
        sign = -1.0 if back else 1.0
        self.heading = math.atan2(sign * (by - ay), sign * (bx - ax))

    def blocked(self, x: float, y: float, radius: float, gap: float) -> bool:
        """Whether a body of `radius` at (x, y) is less than `gap` away and in the way of the next step."""
        dx, dy = x - self.x, y - self.y
        touch = self.person.radius + radius
        if dx * dx + dy * dy > (touch + gap) ** 2:
            return False
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return dx * cos + dy * sin > 0 and abs(dy * cos - dx * sin) < touch + SIDEWAYS

    def advance(self, seconds: float) -> None:
        if self.length:
            self._travelled += self.person.speed * seconds
            self._locate()
