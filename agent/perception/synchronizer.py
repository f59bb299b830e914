"""The synchronizer: sensor readings with their own stamps and rates -> one observation per model step.

The architecture's modules think in steps; sensors don't.  For a time t an observation is

    odometry   the newest reading with stamp <= t, carried on to t along the arc of its own twist
    scan       the newest sweep with stamp <= t that is not older than `max_scan_age`, and the odometry at the sweep's own stamp
    image      the newest frame with stamp <= t that is not older than `max_scan_age`
    motion     what odometry measured and what left the gate, means over the last 8 slots of 0.1 s (`motion.py`)
    past scans the sweeps of an observation made 0.2 and 0.4 s earlier, on the canonical grid

The result depends on the readings alone, never on the wall clock, so the same code serves recorded data and a running robot.
A reading that can't be used is counted in `rejected` and changes nothing else.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections import Counter

import numpy as np

from objective_agent.config import PerceptionParameters
from objective_agent.perception.motion import Track, motion_history
from objective_agent.perception.scan import BEAMS, canonical_ranges
from objective_agent.types import Command, Image, InputError, Observation, Odometry, Scan, wrap_angle

CAPACITY = {Odometry: 256, Scan: 32, Image: 32}
"""Readings kept per sensor: bounded, and several seconds of any usual rate."""

PAST = (0.2, 0.4)
"""How long before an observation its past scans were seen, s."""

RESTART_AFTER = 3
"""So many readings in a row from before the newest one mean that the newest one, or the clock, was wrong."""

TOPIC = {Odometry: "odom", Scan: "scan", Image: "camera/image_raw"}

logger = logging.getLogger(__name__)


class Synchronizer:
    """Buffers readings (`add`) and makes observations of them (`observe`), batch 1."""

    def __init__(self, parameters: PerceptionParameters):
        self.parameters = parameters
        self.reset()

    def reset(self) -> None:
        """Forgets every reading and count."""
        self.rejected: Counter[str] = Counter()
        """Why readings were refused: "topic: reason" -> how many."""
        self.reason = "no readings yet"
        """Why the last `observe` returned None; empty when it returned an observation."""
        self._buffers: dict[type, list] = {kind: [] for kind in CAPACITY}
        self._late: dict[type, list] = {kind: [] for kind in CAPACITY}
        self._measured, self._sent = Track(), Track()
        self._canonical: dict[float, np.ndarray] = {}

    def command_sent(self, command: Command) -> bool:
        """Takes a command as it left the gate; False (and a count in `rejected`) when it can't be used."""
        if not all(map(math.isfinite, (command.stamp, command.v, command.w))) or command.stamp <= 0:
            self.rejected["cmd_vel: not finite, or without a stamp"] += 1
            return False
        self._sent.add(command.stamp, command.v, command.w)
        return True

    def add(self, reading: Scan | Image | Odometry) -> bool:
        """Takes a reading; False (and a count in `rejected`) when it can't be used, InputError when it is no reading."""
        kind = type(reading)
        if kind not in self._buffers:
            raise InputError(f"the synchronizer takes Scan, Image and Odometry readings, got {kind.__name__}")
        problem = _problem(reading)
        if problem:
            return self._reject(kind, problem)
        buffer, late = self._buffers[kind], self._late[kind]
        if buffer and reading.stamp <= buffer[-1].stamp:
            return self._add_late(reading)
        late.clear()
        buffer.append(reading)
        del buffer[: -CAPACITY[kind]]
        if kind is Odometry:
            self._measured.add(reading.stamp, *map(float, reading.velocity))
        return True

    def observe(self, stamp: float) -> Observation | None:
        """The observation at `stamp` (s), or None with one line in `reason`: odometry that is missing or too old."""
        if not math.isfinite(stamp) or stamp <= 0:
            self.reason = f"an observation needs a finite stamp > 0, got {stamp}"
            return None
        odometry = self._newest(Odometry, stamp)
        if odometry is None:
            seen = self._buffers[Odometry]
            after = f"; the oldest kept is {seen[0].stamp - stamp:.3f} s later" if seen else ""
            self.reason = f"odom: no reading at or before {stamp:.3f} s{after}"
            return None
        age = stamp - odometry.stamp
        if age > self.parameters.max_odom_age:
            self.reason = f"odom: newest reading is {age:.3f} s old, allowed {self.parameters.max_odom_age:g} s (max_odom_age)"
            return None
        scan = self._fresh(Scan, stamp)
        scan_pose = None if scan is None else self._pose_at(scan.stamp)
        if scan_pose is None:
            scan = None
        image = self._fresh(Image, stamp)
        past_scans, past_poses = self._past(stamp, carry_on(odometry, stamp))
        self.reason = ""
        return Observation(
            stamp=stamp,
            pose=carry_on(odometry, stamp)[None],
            velocity=np.asarray(odometry.velocity, np.float32)[None],
            scans=(scan,),
            scan_poses=None if scan_pose is None else scan_pose[None],
            images=None if image is None else image.rgb[None],
            depths=None if image is None or image.depth is None else image.depth[None],
            motion=motion_history(stamp, self._measured, self._sent)[None],
            past_scans=past_scans[None],
            past_poses=past_poses[None],
        )

    def _past(self, stamp: float, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Earlier sweeps [2, 180] and the poses [2, 3] they were seen from; NaN and the present pose where there is none."""
        scans, poses = np.full((len(PAST), BEAMS), np.nan, np.float32), np.repeat(pose[None], len(PAST), 0)
        for row, ago in enumerate(PAST):
            scan = self._fresh(Scan, stamp - ago)
            seen_from = None if scan is None else self._pose_at(scan.stamp)
            if seen_from is not None:
                scans[row], poses[row] = self._ranges(scan), seen_from
        return scans, poses

    def _ranges(self, scan: Scan) -> np.ndarray:
        """The sweep's canonical ranges, computed once."""
        if scan.stamp not in self._canonical:
            oldest = self._buffers[Scan][0].stamp
            self._canonical = {key: kept for key, kept in self._canonical.items() if key >= oldest}
            self._canonical[scan.stamp] = canonical_ranges(scan)
        return self._canonical[scan.stamp]

    def _reject(self, kind: type, problem: str) -> bool:
        self.rejected[f"{TOPIC[kind]}: {problem}"] += 1
        return False

    def _add_late(self, reading: Scan | Image | Odometry) -> bool:
        """One late reading is refused; a run of them shows that the clock went back or one stamp was in the future."""
        kind = type(reading)
        buffer, late = self._buffers[kind], self._late[kind]
        if reading.stamp == buffer[-1].stamp:
            return self._reject(kind, "stamp repeated")
        if late and reading.stamp <= late[-1].stamp:
            late.clear()
        late.append(reading)
        self._reject(kind, "stamp runs backwards")
        if len(late) < RESTART_AFTER:
            return False
        logger.warning("%s: stamps went back to %.3f s and stay there; later readings dropped", TOPIC[kind], late[0].stamp)
        buffer[:] = [kept for kept in buffer if kept.stamp < late[0].stamp] + late
        self._canonical.clear()
        if kind is Odometry:
            self._measured = Track()
            for kept in buffer:
                self._measured.add(kept.stamp, *map(float, kept.velocity))
        late.clear()
        return True

    def _newest(self, kind: type, stamp: float):
        buffer = self._buffers[kind]
        index = bisect_right(buffer, stamp, key=lambda reading: reading.stamp)
        return buffer[index - 1] if index else None

    def _fresh(self, kind: type, stamp: float):
        reading = self._newest(kind, stamp)
        return reading if reading is not None and stamp - reading.stamp <= self.parameters.max_scan_age else None

    def _pose_at(self, stamp: float) -> np.ndarray | None:
        """Odometry [3] at `stamp`: between two readings interpolated, outside them carried on; None when too far from any."""
        buffer = self._buffers[Odometry]
        index = bisect_right(buffer, stamp, key=lambda reading: reading.stamp)
        before = buffer[index - 1] if index else None
        after = buffer[index] if index < len(buffer) else None
        if before is not None and after is not None:
            share = (stamp - before.stamp) / (after.stamp - before.stamp)
            turn = wrap_angle(float(after.pose[2]) - float(before.pose[2]))
            pose = np.asarray(before.pose, np.float64) + share * (np.asarray(after.pose, np.float64) - before.pose)
            pose[2] = wrap_angle(float(before.pose[2]) + share * turn)
            return pose.astype(np.float32)
        nearest = before if before is not None else after
        if nearest is None or abs(stamp - nearest.stamp) > self.parameters.max_odom_age:
            return None
        return carry_on(nearest, stamp)


def carry_on(odometry: Odometry, stamp: float) -> np.ndarray:
    """The pose [3] (float32) at `stamp` when the twist stays what it was: the exact arc of a unicycle."""
    x, y, yaw = (float(value) for value in odometry.pose)
    v, w = (float(value) for value in odometry.velocity)
    time = stamp - odometry.stamp
    half = 0.5 * w * time
    chord = v * time * (math.sin(half) / half if abs(half) > 1e-6 else 1.0)
    heading = yaw + half
    return np.array([x + chord * math.cos(heading), y + chord * math.sin(heading), wrap_angle(yaw + 2 * half)], np.float32)


def _problem(reading: Scan | Image | Odometry) -> str:
    """What makes a reading unusable, in a few words; empty for a good one."""
    if not math.isfinite(reading.stamp) or reading.stamp <= 0:
        return "stamp is zero, negative or not finite"
    if isinstance(reading, Odometry):
        return _odometry_problem(reading)
    return _scan_problem(reading) if isinstance(reading, Scan) else _image_problem(reading)


def _odometry_problem(odometry: Odometry) -> str:
    if np.shape(odometry.pose) != (3,) or np.shape(odometry.velocity) != (2,):
        return "pose must have shape [3] and velocity [2]"
    finite = np.isfinite(odometry.pose).all() and np.isfinite(odometry.velocity).all()
    return "" if finite else "pose or velocity is not finite"


def _scan_problem(scan: Scan) -> str:
    if np.ndim(scan.ranges) != 1 or len(scan.ranges) < 2:
        return "ranges must have shape [beams], at least 2"
    if not all(map(math.isfinite, (scan.angle_min, scan.angle_increment, scan.range_min, scan.range_max, *scan.offset))):
        return "angles, range limits or mounting pose are not finite"
    if scan.angle_increment == 0 or not 0 <= scan.range_min < scan.range_max:
        return "angle_increment is 0 or range_min >= range_max"
    return ""


def _image_problem(image: Image) -> str:
    if np.ndim(image.rgb) != 3 or image.rgb.shape[2] != 3 or image.rgb.dtype != np.uint8 or 0 in image.rgb.shape:
        return "rgb must be [height, width, 3] uint8"
    if image.depth is not None and np.shape(image.depth) != image.rgb.shape[:2]:
        return "depth must have the image's height and width"
    return ""
