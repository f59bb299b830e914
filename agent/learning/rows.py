"""Readings of one episode -> model steps: the rows of a data set.

The same `Synchronizer` that serves a running robot is fed in stamp order and asked for an observation every `dt`; so what a
model is trained on is what it will get.  Beside the observation stand the action (the time mean of what left the gate during
the step) and the labels: clearance from the sweeps and odometry of the step before and, in simulation, the distance to people.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from objective_agent.config import PerceptionParameters
from objective_agent.learning import people as persons
from objective_agent.learning.bags import Segment
from objective_agent.learning.messages import People, Truth
from objective_agent.perception.image import SIZE, canonical_image
from objective_agent.perception.motion import COMMAND_HOLD, SLOTS, Track, mean_command
from objective_agent.perception.scan import BEAMS, canonical_ranges
from objective_agent.perception.synchronizer import Synchronizer
from objective_agent.types import Command, Image, Odometry, Scan, to_base, wrap_angle

COLUMNS: dict[str, tuple[type, tuple[int, ...]]] = {
    "stamp": (np.float64, ()),
    "episode": (np.int32, ()),
    "step": (np.int32, ()),
    "world": (np.int32, ()),
    "scan": (np.float32, (BEAMS,)),
    "scan_pose": (np.float32, (3,)),
    "has_scan": (np.bool_, ()),
    "image": (np.uint8, (SIZE, SIZE, 3)),
    "has_image": (np.bool_, ()),
    "pose": (np.float32, (3,)),
    "velocity": (np.float32, (2,)),
    "action": (np.float32, (2,)),
    "motion": (np.float32, (SLOTS, 4)),
    "clearance": (np.float32, ()),
    "people": (np.float32, ()),
    "people_places": (np.float32, (persons.MOST, 3)),
    "people_seen": (np.bool_, (persons.MOST,)),
}
"""Column -> (type, shape of one row)."""

CLEARANCE = (-0.1, 1.0)
SNAP = 1e-3
LABEL_AGE = 0.3
"""Older truth is not used for a label, s."""


def segment_rows(segment: Segment, parameters: PerceptionParameters, radius: float, dt: float, counts: Counter) -> list[dict]:
    """Pieces of an unbroken run of steps each: column -> array, less `episode`, `step` and `world`.

    A piece ends where odometry or commands are missing; `counts` notes how often that was.
    """
    odometry, commands = segment.of(Odometry), segment.of(Command)
    frames = segment.of(Image) or segment.of(Scan) or odometry
    sent = Track()
    sent.stamps, sent.values = [c.stamp for c in commands], [(c.v, c.w) for c in commands]
    begin = max(odometry[0].stamp, min(frame.stamp for frame in frames))
    begin = next((frame.stamp for frame in frames if frame.stamp >= begin - 1e-9), begin)
    end = min(odometry[-1].stamp, commands[-1].stamp + COMMAND_HOLD)
    times = begin + dt * np.arange(max(0, int(np.floor((end - begin) / dt + 1e-6))))
    times = _snapped(times, np.array([frame.stamp for frame in frames]))
    labels = Labels(segment, radius, dt)
    pieces: list[list[dict]] = [[]]
    synchronizer = Synchronizer(parameters)
    feed = _in_order(segment)
    reading = next(feed, None)
    for stamp in times.tolist():
        while reading is not None and reading.stamp <= stamp + 1e-6:
            if isinstance(reading, Command):
                synchronizer.command_sent(reading)
            else:
                synchronizer.add(reading)
            reading = next(feed, None)
        observation = synchronizer.observe(stamp)
        if observation is None:
            counts["odom: a gap, episode cut"] += bool(pieces[-1])
            if pieces[-1]:
                pieces.append([])
            continue
        row = observation_row(observation)
        row["action"] = mean_command(sent, stamp, stamp + dt)
        row["clearance"] = labels.clearance(stamp)
        row |= labels.people(stamp, observation.pose[0], row["scan"])
        pieces[-1].append(row)
    for name, count in synchronizer.rejected.items():
        counts[name] += count
    return [_columns(piece) for piece in pieces if piece]


def _snapped(times: np.ndarray, stamps: np.ndarray) -> np.ndarray:
    """Times within SNAP of a frame's stamp moved onto it: a frame must not be missed for the last bit of a sum."""
    index = np.clip(np.searchsorted(stamps, times), 1, max(len(stamps) - 1, 1))
    near = np.stack([stamps[np.minimum(index, len(stamps) - 1)], stamps[index - 1]])
    best = near[np.abs(near - times).argmin(0), np.arange(len(times))]
    return np.where(np.abs(best - times) < SNAP, best, times)


def _columns(piece: list[dict]) -> dict[str, np.ndarray]:
    return {name: np.stack([row[name] for row in piece]).astype(COLUMNS[name][0]) for name in piece[0]}


def _in_order(segment: Segment):
    """Sensor readings and commands by stamp; at one stamp commands come first: the gate answered older readings."""
    kinds = (Command, Odometry, Scan, Image)
    readings = [reading for kind in kinds for reading in segment.of(kind)]
    return iter(sorted(readings, key=lambda reading: reading.stamp))


def observation_row(observation) -> dict[str, np.ndarray]:
    """The columns that a model's input is made of, from an observation of one problem."""
    scan = observation.scans[0]
    image = None if observation.images is None else observation.images[0]
    return {
        "stamp": np.asarray(observation.stamp),
        "scan": np.full(BEAMS, np.nan, np.float32) if scan is None else canonical_ranges(scan),
        "scan_pose": observation.pose[0] if observation.scan_poses is None else observation.scan_poses[0],
        "has_scan": np.asarray(scan is not None),
        "image": np.zeros((SIZE, SIZE, 3), np.uint8) if image is None else canonical_image(image),
        "has_image": np.asarray(image is not None),
        "pose": observation.pose[0],
        "velocity": observation.velocity[0],
        "motion": observation.motion[0],
    }


class Labels:
    """What happened between two steps, from the readings of the whole episode."""

    def __init__(self, segment: Segment, radius: float, dt: float):
        self.radius, self.dt = radius, dt
        odometry = segment.of(Odometry)
        self._stamps = np.array([reading.stamp for reading in odometry])
        self._poses = np.array([reading.pose for reading in odometry], np.float64)
        self._scans = segment.of(Scan)
        self._scan_stamps = np.array([scan.stamp for scan in self._scans])
        self._truth, self._people = segment.of(Truth), segment.of(People)
        self._truth_stamps = np.array([truth.stamp for truth in self._truth])
        self._people_stamps = np.array([people.stamp for people in self._people])

    def clearance(self, stamp: float) -> float:
        """Least distance of a scan point from the body during (stamp - dt, stamp], clipped; NaN without a sweep.

        Each sweep is looked at from its own place and from those that odometry passed until the next sweep.
        """
        first, last = np.searchsorted(self._scan_stamps, [stamp - self.dt + 1e-6, stamp + 1e-6])
        nearest = np.inf
        for index in range(first, last):
            scan = self._scans[index]
            points = scan.points()
            close = scan.range_min if np.isneginf(scan.ranges).any() else np.inf
            until = self._scan_stamps[index + 1] if index + 1 < last else stamp
            nearest = min(nearest, close, self._passing(points, scan.stamp, until))
        return float(np.clip(nearest - self.radius, *CLEARANCE)) if last > first else np.nan

    def _passing(self, points: np.ndarray, seen: float, until: float) -> float:
        """Distance of the nearest of `points` (in base_link at time `seen`) on the way until then."""
        if not len(points):
            return np.inf
        a, b = np.searchsorted(self._stamps, [seen + 1e-6, until + 1e-6])
        here = self._pose_at(seen)
        way = np.concatenate([here[None], self._poses[a:b]])
        near = points[np.hypot(*points.T) < CLEARANCE[1] + self.radius + 0.3]
        if not len(near):
            return float(np.hypot(*points.T).min())
        places = to_base(here, way[None, :, :2])[0]
        return float(np.hypot(*(near[:, None] - places[None]).transpose(2, 0, 1)).min())

    def _pose_at(self, stamp: float) -> np.ndarray:
        """Odometry between two readings; the nearest one outside."""
        index = int(np.clip(np.searchsorted(self._stamps, stamp), 1, max(len(self._stamps) - 1, 1)))
        if len(self._stamps) == 1:
            return self._poses[0]
        before, after = self._poses[index - 1], self._poses[index]
        share = np.clip((stamp - self._stamps[index - 1]) / (self._stamps[index] - self._stamps[index - 1]), 0, 1)
        pose = before + share * (after - before)
        pose[2] = before[2] + share * wrap_angle(float(after[2] - before[2]))
        return pose

    def people(self, stamp: float, pose: np.ndarray, ranges: np.ndarray) -> dict[str, np.ndarray]:
        """Columns about people at `stamp`: gap to the nearest (NaN: nobody was recorded), where each one is, who is seen."""
        places = np.full((persons.MOST, 3), np.nan)
        if len(self._people):
            index = int(np.searchsorted(self._people_stamps, stamp))
            pair = [i for i in (index - 1, index) if 0 <= i < len(self._people)]
            if min(abs(self._people_stamps[i] - stamp) for i in pair) <= LABEL_AGE:
                places = persons.places(self._places(pair, stamp), self._true_pose(stamp, pose), self.radius)
        there = ~np.isnan(places[:, 2])
        gap = min(places[there, 2].min(), persons.FARTHEST) if there.any() else np.nan
        return {
            "people": np.asarray(gap),
            "people_places": places,
            "people_seen": persons.visible(places, ranges, self.radius),
        }

    def _places(self, pair: list[int], stamp: float) -> np.ndarray:
        """People [n, 3] at `stamp`, between two messages when both know the same number of people."""
        first, last = self._people[pair[0]], self._people[pair[-1]]
        if len(first.places) != len(last.places) or last.stamp <= first.stamp:
            return last.places
        share = np.clip((stamp - first.stamp) / (last.stamp - first.stamp), 0, 1)
        return first.places + share * (last.places - first.places)

    def _true_pose(self, stamp: float, pose: np.ndarray) -> np.ndarray:
        """Where the robot was in the world; odometry's word where the truth was not recorded."""
        if not len(self._truth):
            return np.asarray(pose, float)
        index = int(np.clip(np.searchsorted(self._truth_stamps, stamp), 1, max(len(self._truth) - 1, 1)))
        if len(self._truth) == 1:
            return np.asarray(self._truth[0].pose, float)
        before, after = self._truth[index - 1], self._truth[index]
        share = np.clip((stamp - before.stamp) / (after.stamp - before.stamp), 0, 1)
        between = np.asarray(before.pose, float) + share * (np.asarray(after.pose, float) - np.asarray(before.pose, float))
        between[2] = before.pose[2] + share * wrap_angle(float(after.pose[2] - before.pose[2]))
        return between


__all__ = ["COLUMNS", "Labels", "observation_row", "segment_rows"]
