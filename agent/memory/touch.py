"""The sense of touch of a robot without lidar: its safety gate won't let it go on, so something is there.

The gate has its own sensors and stops the robot before it touches.  A command that asked for motion while none left the gate,
for `PATIENCE` seconds on end, therefore says that the way is blocked right beside the footprint in that direction.  It becomes
part of the estimated sweep, so short-term memory keeps off, and route memory looks for another way.  With a measured sweep
nothing is added: that robot sees for itself.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.types import Command, Scan, wrap_angle

PATIENCE = 0.4
"""Shorter refusals have other reasons: a sensor's message that came late, s."""

ASKED, STILL = (0.05, (0.03, 0.15))
"""A command asks for motion from this speed on (m/s); below these (m/s, rad/s) nothing leaves the gate."""

SECTORS, HALF_WIDTH, GAP = 36, math.radians(50), 0.04
"""The blocked directions, and the distance from the footprint that is noted, m."""


class Touch:
    """`asked` and `sent` take commands before and after the gate; `feel` tells what they mean."""

    def __init__(self, robot: RobotParameters):
        self._range = robot.radius + GAP
        self.reset()

    def reset(self) -> None:
        self._asked: Command | None = None
        self._since: float | None = None
        self._last = -math.inf

    def asked(self, command: Command) -> None:
        """A command as the actor gave it."""
        self._asked = command

    def sent(self, command: Command) -> None:
        """A command as it left the gate."""
        asked = self._asked
        refused = asked is not None and abs(asked.v) > ASKED and abs(command.v) < STILL[0] and abs(command.w) < STILL[1]
        if command.stamp < self._last or not refused:
            self._since = None
        elif self._since is None:
            self._since = command.stamp
        self._last = command.stamp

    def feel(self, stamp: float, scan: Scan | None) -> Scan | None:
        """The estimated sweep `scan` with what is felt at `stamp` in it; `scan` itself (or None) when nothing is."""
        if self._since is None or self._last - self._since < PATIENCE or (scan is not None and not scan.estimated):
            return scan
        if scan is None:
            step = 2 * math.pi / SECTORS
            unknown = np.full(SECTORS, np.nan, np.float32)
            scan = Scan(stamp, unknown, -math.pi + 0.5 * step, step, 0.05, 3.0, estimated=True)
        ahead = 0.0 if self._asked.v > 0 else math.pi
        felt = np.abs(wrap_angle(scan.angles + scan.offset[2] - ahead)) < HALF_WIDTH
        return replace(scan, ranges=np.where(felt, np.float32(self._range), scan.ranges))
