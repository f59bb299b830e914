"""Whether a goal image is reached: near enough for some decisions in a row, and then until the robot is clearly away.

One look is not enough: two places can look alike for a moment.
"""

from __future__ import annotations

import math


class ImageGoal:
    """Counts decisions; `update` says whether the goal is reached."""

    def __init__(self):
        self._goal: object = None
        self._stamp = -math.inf
        self._near, self._reached = 0, False

    def update(
        self, goal: object, measured: tuple[float, float] | None, tolerance: float, decisions: int, leave: float
    ) -> bool:
        """`goal`: what identifies it; `measured`: (stamp, distance) of the newest comparison, counted once per stamp."""
        if goal != self._goal:
            self._goal, self._near, self._reached = goal, 0, False
            self._stamp = -math.inf if measured is None else measured[0]  # it was measured for the goal before
            return False
        if measured is None or not math.isfinite(measured[1]) or measured[0] == self._stamp:
            return self._reached
        self._stamp, distance = measured
        if self._reached:
            self._reached = distance <= leave * tolerance
            self._near = 0
        else:
            self._near = self._near + 1 if distance <= tolerance else 0
            self._reached = self._near >= decisions
        return self._reached
