"""The encoder without learning: a laser scan on a canonical grid, and the velocity.

Perception estimates the current state of the world (LeCun 2022, section 3.1).  This baseline does it with geometry alone: each
return is moved to base_link and written into the one of 180 directions in which it lies, the nearest return winning, so that a
chair's leg seen by one beam of a dense lidar is still there.  Any lidar (number of beams, first angle, direction, mounting,
field of view) therefore gives the same representation.

Feature i < 180 belongs to the direction -pi + i 2 pi / 180 in base_link and is range / max_range, clipped to [0, 1]; -1 means
unknown (no beam there, NaN, or no scan at all).  The last two features are v / max_speed and w / max_turn_rate.  Special values
follow REP-117: +inf is free up to the sensor's range_max, -inf too close (an obstacle at range_min), NaN unknown.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from objective_agent.config import RobotParameters, Strict
from objective_agent.types import InputError, Observation, Representation, Scan, to_odom

BEAMS = 180
UNKNOWN = -1.0


class ScanEncoder:
    """Observation -> one token of 182 float32 features (NumPy)."""

    class Config(Strict):
        max_range: float = Field(8.0, gt=0, le=1000, description="range that becomes 1, m; farther returns are clipped to it")

    tokens = 1
    features = BEAMS + 2

    def __init__(self, config: Config, robot: RobotParameters):
        self._max_range = config.max_range
        self._velocity_scale = np.array([robot.max_speed, robot.max_turn_rate], np.float32)
        self.model = f"scan-{BEAMS}-{config.max_range:g}m-v1"

    def encode(self, observation: Observation) -> Representation:
        """Tokens [B, 1, 182]; a missing scan becomes unknown values.  InputError for shapes or numbers that make no sense."""
        batch = len(observation.pose)
        velocity = _numbers("velocity", observation.velocity, (batch, 2))
        if len(observation.scans) != batch:
            raise InputError(f"observation: {len(observation.scans)} scans for {batch} problems; give one (or None) each")
        tokens = np.full((batch, 1, self.features), UNKNOWN, np.float32)
        for b, scan in enumerate(observation.scans):
            if scan is not None:
                ranges = canonical_ranges(scan)
                tokens[b, 0, :BEAMS] = np.where(np.isnan(ranges), UNKNOWN, np.clip(ranges / self._max_range, 0.0, 1.0))
        tokens[:, 0, BEAMS:] = velocity / self._velocity_scale
        return Representation(stamp=observation.stamp, tokens=tokens, model=self.model)


def canonical_ranges(scan: Scan) -> np.ndarray:
    """Distances [180] (m, from base_link's origin) in the canonical directions; NaN where the scan says nothing."""
    ranges = _check(scan)
    hit = np.isfinite(ranges) & (ranges >= scan.range_min) & (ranges <= scan.range_max)
    free, close = np.isposinf(ranges), np.isneginf(ranges)
    known = hit | free | close
    ranges = np.where(hit, ranges, np.where(free, scan.range_max, scan.range_min))[known].astype(np.float32)
    angles = scan.angles[known]
    grid = _nearest(scan, ranges, angles)
    # A lidar coarser than the grid, or one whose beams fall on the borders of its cells, leaves cells empty between beams.
    step = abs(scan.angle_increment)
    spread = np.linspace(-0.49 * step, 0.49 * step, 2 + math.ceil(step * BEAMS / (2 * math.pi)), dtype=np.float32)
    filled = _nearest(scan, np.repeat(ranges, len(spread)), (angles[:, None] + spread).ravel())
    grid = np.where(np.isinf(grid), filled, grid)
    return np.where(np.isinf(grid), np.nan, grid).astype(np.float32)


def _nearest(scan: Scan, ranges: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """The smallest distance from base_link in each canonical direction [180]; +inf where there is no beam."""
    beams = np.stack([ranges * np.cos(angles), ranges * np.sin(angles)], -1)
    points = to_odom(np.asarray(scan.offset, np.float32), beams)
    cell = np.rint((np.arctan2(points[:, 1], points[:, 0]) + math.pi) * (BEAMS / (2 * math.pi))).astype(np.int64) % BEAMS
    grid = np.full(BEAMS, np.inf)
    np.minimum.at(grid, cell, np.hypot(points[:, 0], points[:, 1]))
    return grid


def _check(scan: Scan) -> np.ndarray:
    try:
        ranges = np.asarray(scan.ranges, np.float32)
    except (TypeError, ValueError):
        raise InputError("scan.ranges: not numbers; give a float array [beams]") from None
    if ranges.ndim != 1 or len(ranges) == 0:
        raise InputError(f"scan.ranges: shape {ranges.shape}; give a float array [beams] with at least one beam")
    geometry = (scan.angle_min, scan.angle_increment, scan.range_min, scan.range_max, *scan.offset)
    if not all(math.isfinite(value) for value in geometry) or scan.angle_increment == 0:
        raise InputError("scan: angles, range limits and offset must be finite and angle_increment not 0")
    if not 0 <= scan.range_min < scan.range_max:
        raise InputError(f"scan: range_min {scan.range_min} and range_max {scan.range_max}; need 0 <= range_min < range_max")
    return ranges


def _numbers(name: str, value, shape: tuple[int, ...]) -> np.ndarray:
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"observation.{name}: not numbers; give a float array of shape {shape}") from None
    if array.shape != shape:
        raise InputError(f"observation.{name}: shape {array.shape}; need {shape}")
    if not np.isfinite(array).all():
        raise InputError(f"observation.{name}: has NaN or infinite values; drop that reading")
    return array
