"""What one lidar sweep says about obstacles, free space and the unknown (REP-117), placed in odom.

Unknown beams: a gap through which the robot's footprint would not fit, measured where it matters (no farther than the robot
can come while it brakes), is bridged from its neighbours; a wider one is closed at the robot's surface, so that the robot can
turn to look but not drive there.  Directions outside the field of view are unknown too.
"""

from __future__ import annotations

import math

import numpy as np

from objective_agent.safety.parameters import GateParameters
from objective_agent.types import Odometry, Scan, to_odom

HIDDEN_DEPTH = 0.5  # a jump in range that leaves room for a person behind the nearer surface, m
HIDDEN_WIDTH = 0.35  # a nearer surface at least this wide can hide a person, m


def problem(scan: Scan) -> str:
    """Why the scan can't be used; empty if it can."""
    numbers = (scan.stamp, scan.angle_min, scan.angle_increment, scan.range_min, scan.range_max, *scan.offset)
    if not all(math.isfinite(value) for value in numbers):
        return "has a non-finite field"
    if max(map(abs, scan.offset)) > 10 or scan.range_max > 1e4:
        return "has an offset over 10 m or a range_max over 10 km"
    if np.ndim(scan.ranges) != 1 or len(scan.ranges) < 3 or scan.angle_increment == 0 or scan.range_min < 0:
        return "has fewer than 3 beams, no angle increment or a negative range_min"
    if scan.range_max <= scan.range_min or abs(scan.angle_increment) * (len(scan.ranges) - 1) > 2 * math.pi + 0.1:
        return "covers more than a full turn, or range_max <= range_min"
    return ""


def pose_at(history: tuple[Odometry, ...], stamp: float) -> np.ndarray:
    """The odometry pose [3] at `stamp`: interpolated, or extrapolated with the measured velocity."""
    after = next((k for k, odometry in enumerate(history) if odometry.stamp >= stamp), None)
    if after is None or after == 0:
        odometry = history[-1] if after is None else history[0]
        dt = stamp - odometry.stamp
        x, y, yaw = (float(value) for value in odometry.pose)
        v, w = (float(value) for value in odometry.velocity)
        middle = yaw + 0.5 * w * dt
        return np.array([x + v * dt * math.cos(middle), y + v * dt * math.sin(middle), yaw + w * dt])
    a, b = history[after - 1], history[after]
    share = (stamp - a.stamp) / (b.stamp - a.stamp)
    first, second = np.asarray(a.pose, float), np.asarray(b.pose, float)
    change = second - first
    change[2] = math.remainder(change[2], 2 * math.pi)
    return first + share * change


def classify(parameters: GateParameters, scan: Scan) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Beam angles [n], ranges [n] (inf: free; NaN: unknown), which are hits [n] and which are unknown [n]; full turn.

    Directions that the lidar does not cover are appended as unknown beams.
    """
    ranges = np.array(scan.ranges, float)
    zero = {"unknown": math.nan, "free": math.inf, "close": -math.inf}[parameters.zero_range]
    with np.errstate(invalid="ignore"):
        ranges[ranges == 0.0] = zero
        ranges[(ranges > scan.range_max) & np.isfinite(ranges)] = math.nan
        ranges[ranges < 0] = max(scan.range_min, 1e-3)
    step = abs(scan.angle_increment)
    angles = scan.angle_min + scan.angle_increment * np.arange(len(ranges))
    missing = round(2 * math.pi / step) - len(ranges)
    if missing > 0:
        angles = np.concatenate([angles, angles[-1] + scan.angle_increment * np.arange(1, missing + 1)])
        ranges = np.concatenate([ranges, np.full(missing, math.nan)])
    return angles, ranges, np.isfinite(ranges), np.isnan(ranges)


def bridge(parameters: GateParameters, ranges: np.ndarray, unknown: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Ranges with narrow gaps filled from their neighbours, and the beams [n] of wide gaps that stay unknown."""
    if not unknown.any():
        return ranges, unknown
    if unknown.all():
        return ranges, unknown
    robot = parameters.robot
    speed = max(robot.max_speed, robot.max_reverse_speed)
    reaction = parameters.max_scan_age + parameters.period + robot.actuator_delay
    matters = robot.radius + parameters.margin + speed * reaction + speed * speed / (2 * parameters.max_deceleration)
    count = len(ranges)
    known = np.flatnonzero(~unknown)
    gaps = np.diff(np.append(known, known[0] + count)) - 1
    filled, closed = ranges.copy(), np.zeros(count, bool)
    for index in np.flatnonzero(gaps):
        left, right, gap = known[index], known[(index + 1) % len(known)], gaps[index]
        beams = (left + 1 + np.arange(gap)) % count
        nearest = min(ranges[left], ranges[right], matters)
        if (gap + 1) * step * nearest < 2 * robot.radius:
            # The nearer neighbour would be safest, but lets doorposts grow into doorways; a wall runs straight between.
            share = (1 + np.arange(gap)) / (gap + 1)
            if np.isfinite(ranges[left]) and np.isfinite(ranges[right]):
                filled[beams] = ranges[left] + share * (ranges[right] - ranges[left])
            else:
                filled[beams] = np.where(share < 0.5, ranges[left], ranges[right])
        else:
            closed[beams] = True
    return filled, closed


def place(angles: np.ndarray, ranges: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Points [P, 2] at `ranges` along `angles`, seen from the pose `origin` [3], in that pose's frame."""
    return to_odom(origin, np.stack([ranges * np.cos(angles), ranges * np.sin(angles)], -1))


def blind_points(parameters: GateParameters, angles: np.ndarray, scan: Scan, pose: np.ndarray) -> np.ndarray:
    """Points [P, 2] in odom just outside the margin where the beams `angles` (unknown) leave it."""
    ox, oy, oyaw = scan.offset
    radius = parameters.robot.radius + parameters.margin + 0.01
    c, s = np.cos(angles + oyaw), np.sin(angles + oyaw)
    along = ox * c + oy * s
    inside = along**2 + radius**2 - ox**2 - oy**2
    ranges = np.sqrt(np.maximum(inside, 0.0)) - along
    points = np.stack([ox + ranges * c, oy + ranges * s], -1)
    return to_odom(pose, points)


def occlusion_edges(angles: np.ndarray, ranges: np.ndarray, range_max: float) -> np.ndarray:
    """Indices of beams at whose end a surface, wide enough to hide a person, ends in front of something farther away."""
    depth = np.where(np.isfinite(ranges), ranges, range_max)
    count = len(depth)
    jump = np.roll(depth, -1) - depth  # from beam i to beam i + 1
    breaks = np.abs(jump) > HIDDEN_DEPTH
    if breaks.sum() < 2:
        return np.zeros(0, int)
    segment = np.cumsum(np.roll(breaks, 1)) % breaks.sum()  # a full turn: the last segment continues in the first
    width = np.bincount(segment, weights=depth) * abs(angles[1] - angles[0])
    rising = np.flatnonzero(jump > HIDDEN_DEPTH)
    falling = (np.flatnonzero(jump < -HIDDEN_DEPTH) + 1) % count
    edges = np.concatenate([rising, falling])
    return edges[width[segment[edges]] >= HIDDEN_WIDTH]
