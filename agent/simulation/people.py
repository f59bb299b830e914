"""People: capsules that walk to and fro along given waypoints.

A person is a mocap body `person*` of the world file with a custom text `<body>_path` ("x,y x,y …") and, optionally, a custom
numeric `<body>_speed`.  Unless told otherwise a person pauses while the robot is close ahead, as people do.  A restless person
(condition `apartment_people`) also stops, turns round and changes pace at random, and doesn't always look where the robot is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from objective_agent.types import InputError

DEFAULT_SPEED = 0.6
SIDEWAYS = 0.15  # room that a person wants beside itself, m
SLOWEST = 0.3  # of the paces a restless person takes, m/s
STANDS = (0.3, 2.5)  # how long a restless person stands, s
CAREFUL = 0.2  # share of its ways on which a restless person looks out for the robot
TOUCH = 0.0  # gap at which a restless person notices the robot in any case: when they have touched, m


@dataclass(frozen=True, eq=False)
class Person:
    """One walking person: `path` [k, 2] waypoints (one of them: stands still), `speed` m/s, `radius` of the capsule, m.

    `restless`: how often per second it changes what it does, 0 for never; `speed` is then its fastest.
    """

    name: str
    path: np.ndarray
    speed: float = DEFAULT_SPEED
    radius: float = 0.25
    restless: float = 0.0


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

    def step(self, seconds: float, robot: tuple[float, float], radius: float, gap: float | None) -> None:
        """Walks on, unless the robot (a disc at `robot`) is within `gap` ahead; `gap` None: whatever stands there."""
        if gap is None or not self.blocked(*robot, radius, gap):
            self.advance(seconds)


class RestlessWalk(Walk):
    """Walks, stops and turns at random.  Whoever is touched, or touches, turns round: nobody pushes the robot about."""

    def __init__(self, person: Person, random: np.random.Generator):
        super().__init__(person)
        self._random = random
        self._stands = 0.0
        self._pace = person.speed
        self._careful = True

    def step(self, seconds: float, robot: tuple[float, float], radius: float, gap: float | None) -> None:
        if self.blocked(*robot, radius, TOUCH):
            self._turn()
            self._stands = float(self._random.uniform(*STANDS))
        elif self._random.random() < self.person.restless * seconds:
            self._change()
        if self._stands > 0:
            self._stands -= seconds
        elif gap is None or not (self._careful and self.blocked(*robot, radius, gap)):
            self._travelled += self._pace * seconds
            self._locate()

    def _change(self) -> None:
        choice = self._random.random()
        if choice < 0.4:
            self._stands = float(self._random.uniform(*STANDS))
        elif choice < 0.7:
            self._turn()
        self._careful = bool(self._random.random() < CAREFUL)
        self._pace = float(self._random.uniform(min(SLOWEST, self.person.speed), self.person.speed))

    def _turn(self) -> None:
        if self.length:
            self._travelled = 2 * self.length - self._travelled % (2 * self.length)
            self._locate()


def walk_of(person: Person, random: np.random.Generator) -> Walk:
    """A walk that begins at the first waypoint."""
    return RestlessWalk(person, random) if person.restless else Walk(person)
