"""The base controller of the simulated robot: command -> delay -> slip -> limits -> body velocity.

A command takes effect `actuator_delay` after it arrived, is reached under the acceleration limits, and lapses when no other
came for `command_timeout`: the base then brakes to a stop, as real bases do.
"""

from __future__ import annotations

import math
from collections import deque

from objective_agent.config import RobotParameters
from objective_agent.simulation.slip import NONE, Slip
from objective_agent.types import InputError


class Drive:
    """Keeps the commands that are under way, and answers what speed the wheels are asked for now."""

    def __init__(self, robot: RobotParameters, timeout: float, slip: Slip = NONE):
        self.robot = robot
        self.timeout = timeout
        self.slip = slip
        self._delay = max(0.0, robot.actuator_delay + slip.extra_delay)
        self.reset()

    def reset(self) -> None:
        self._queue: deque[tuple[float, float, float]] = deque()
        self._target = (0.0, 0.0)
        self._last = -math.inf

    def command(self, now: float, v: float, w: float) -> None:
        """A command that arrives `now`; clamped to the robot's limits.  InputError when it isn't finite."""
        if not (math.isfinite(v) and math.isfinite(w)):
            raise InputError(f"command v={v}, w={w}: must be finite; the robot keeps its last command")
        robot = self.robot
        v = min(max(float(v), -robot.max_reverse_speed), robot.max_speed)
        w = min(max(float(w), -robot.max_turn_rate), robot.max_turn_rate)
        self._last = now
        self._queue.append((now + self._delay, *self.slip.body(v, w)))

    def target(self, now: float) -> tuple[float, float]:
        """The (v, w) that the body is driven towards at `now`."""
        queue = self._queue
        while queue and queue[0][0] <= now + 1e-9:
            self._target = queue.popleft()[1:]
        if now - self._last > self.timeout - 1e-9:
            queue.clear()
            self._target = (0.0, 0.0)
        return self._target


def approach(value: float, target: float, step: float) -> float:
    """`value` moved towards `target` by at most `step`."""
    return min(max(target, value - step), value + step)
