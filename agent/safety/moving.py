"""Things that move: returns inside space that the lidar saw free a moment ago.

A static world never puts a return where an earlier sweep looked through, whatever the robot did in between: so the test needs
no tracking and is blind to the robot's own motion (both sweeps are placed in odom).  The nearest earlier return tells where the
surface came from, and so its velocity.  Noise, dropouts and thin legs between two beams are kept out by a clearance of `CLEAR`,
a minimum over neighbouring beams, and the need for `SUPPORT` such returns side by side.
"""

from __future__ import annotations

import numpy as np

from objective_agent.safety.parameters import GateParameters
from objective_agent.safety.state import Moving, SeenScan
from objective_agent.types import to_base

BASELINE = 0.25  # time between the two sweeps that are compared, s (at least; the oldest remembered if there is none)
CLEAR = 0.10  # a return this far inside free space moved, m: five sigma of a common lidar
NEIGHBOURS = 2  # beams to either side that must have seen free space, too
SUPPORT = 3  # returns that must agree
TOGETHER = 0.25  # within this distance, m
REACH = 4.0  # farther things are left to later, m


def moving_points(parameters: GateParameters, new: SeenScan, earlier: tuple[SeenScan, ...]) -> Moving:
    """The points of `new` that moved since the sweep about BASELINE seconds ago, with their velocities."""
    old = next((scan for scan in reversed(earlier) if new.stamp - scan.stamp >= BASELINE - 1e-3), None)
    if old is None or not len(new.points) or not len(old.points):
        return Moving()
    near = np.hypot(*(new.points - new.origin[:2]).T) < REACH
    points = new.points[near]
    inside = _was_free(points, old)
    points = points[inside]
    if len(points) < SUPPORT:
        return Moving()
    elapsed = new.stamp - old.stamp
    offset = points[:, None] - old.points
    source = np.argmin((offset**2).sum(-1), 1)
    velocities = offset[np.arange(len(points)), source] / elapsed
    speeds = np.hypot(*velocities.T)
    plausible = speeds <= parameters.max_closing_speed
    points, velocities = points[plausible], velocities[plausible]
    together = np.hypot(*(points[:, None] - points).transpose(2, 0, 1)) < TOGETHER
    supported = together.sum(1) >= SUPPORT
    if not supported.any():
        return Moving()
    # One return's nearest neighbour is a poor match; the mean over the returns beside it is a good one.
    mean = together.astype(float) @ velocities / together.sum(1, keepdims=True)
    return Moving(new.stamp, points[supported], mean[supported])


def _was_free(points: np.ndarray, old: SeenScan) -> np.ndarray:
    """Which points [P, 2] (odom) lie inside the space that `old` saw free: bool [P]."""
    seen = to_base(old.origin, points)
    distance = np.hypot(seen[:, 0], seen[:, 1])
    count = len(old.free_ranges)
    beam = (np.arctan2(seen[:, 1], seen[:, 0]) - old.angle_min) / old.angle_increment
    beams = (np.floor(beam)[:, None].astype(int) + np.arange(1 - NEIGHBOURS, 1 + NEIGHBOURS)) % count
    return old.free_ranges[beams].min(1) > distance + CLEAR
