"""What the gate remembers of its sensors: odometry for a moment, and the last sweeps placed in odom.

Points of several sweeps are kept because a thin table leg is hit by few beams: one that was seen once must not be lost when
the next sweep looks past it.  They fade after `memory` seconds, so that a person who has passed does not block the way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from objective_agent.safety import sweep
from objective_agent.safety.moving import moving_points
from objective_agent.safety.parameters import GateParameters
from objective_agent.safety.state import GateState, SeenScan
from objective_agent.types import Odometry, Scan, to_odom


def remember_odometry(parameters: GateParameters, history: tuple[Odometry, ...], odometry: Odometry) -> tuple[Odometry, ...]:
    """The history with one more, cut to what scans can still refer to."""
    oldest = odometry.stamp - parameters.max_scan_age - 0.1
    return (*(old for old in history if oldest <= old.stamp < odometry.stamp), odometry)


def remember_scan(parameters: GateParameters, state: GateState, scan: Scan, steady: float) -> GateState:
    """The state with a new sweep placed in odom, and what follows from it: blind sectors, occlusions, things that move."""
    pose = sweep.pose_at(state.odometry_history, scan.stamp)
    offset = np.asarray(scan.offset, float)
    origin = np.array([*to_odom(pose, offset[None, :2])[0], pose[2] + offset[2]])
    angles, raw, _, unknown = sweep.classify(parameters, scan)
    ranges, closed = sweep.bridge(parameters, raw, unknown, abs(scan.angle_increment))
    if unknown.all():
        closed = unknown
    hit = np.isfinite(ranges)
    points = sweep.place(angles[hit], ranges[hit], origin)
    free = np.where(np.isinf(raw), scan.range_max, np.where(unknown, 0.0, raw))
    seen = SeenScan(scan.stamp, steady, points, origin, float(angles[0]), scan.angle_increment, free)
    known = np.where(closed, 0.0, np.where(np.isfinite(ranges), ranges, scan.range_max))
    edges = sweep.occlusion_edges(angles, known, scan.range_max)
    edges = edges[known[edges] > 0]
    earlier = tuple(old for old in state.scans if scan.stamp - old.stamp <= parameters.memory and old.stamp < scan.stamp)
    return replace(
        state,
        scans=(*earlier, seen),
        blind=sweep.blind_points(parameters, angles[closed], scan, pose),
        edges=sweep.place(angles[edges], known[edges], origin),
        moving=moving_points(parameters, seen, earlier),
    )
