"""The motion history: what the robot did beside what it was told, in slots of equal time.

Slip, payload and delay show in nothing but the difference between command and motion over time.  Sensors and gate have rates
of their own, so both are averaged over slots: a value holds until the next one, a command for `COMMAND_HOLD` at most (the base
then stops by itself), a measured velocity for `MEASURED_HOLD`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np

SLOTS, SLOT = 8, 0.1
COMMAND_HOLD, MEASURED_HOLD = 0.5, 0.2
RESTART = 1.0
"""A stamp that is older than the newest by more means that the clock was set back, s."""

CAPACITY = 512
"""Values kept; the history needs those of the last 1.3 s."""


class Track:
    """Values (v, w) with their stamps in ascending order; one that runs back far replaces all that came after it."""

    def __init__(self):
        self.stamps: list[float] = []
        self.values: list[tuple[float, float]] = []

    def add(self, stamp: float, v: float, w: float) -> None:
        place = bisect_right(self.stamps, stamp)
        if place < len(self.stamps) and self.stamps[-1] - stamp > RESTART:
            del self.stamps[place:], self.values[place:]
        self.stamps.insert(place, stamp)
        self.values.insert(place, (v, w))
        if len(self.stamps) > 2 * CAPACITY:
            del self.stamps[:-CAPACITY], self.values[:-CAPACITY]

    def since(self, stamp: float, until: float) -> tuple[np.ndarray, np.ndarray]:
        """(stamps [n], values [n, 2]) of what lies in [stamp, until)."""
        first, last = bisect_left(self.stamps, stamp), bisect_left(self.stamps, until)
        values = np.array(self.values[first:last], float).reshape(-1, 2)
        return np.array(self.stamps[first:last]), values


def held_mean(stamps: np.ndarray, values: np.ndarray, edges: np.ndarray, hold: float) -> tuple[np.ndarray, np.ndarray]:
    """Integral over each slot between `edges` [s + 1] divided by the slot's length [s, 2], and the share of it known [s].

    `values` [n, 2] hold from their `stamps` [n] (ascending) to the next one, for `hold` seconds at most; nothing counts as 0.
    """
    if not len(stamps):
        return np.zeros((len(edges) - 1, 2)), np.zeros(len(edges) - 1)
    ends = np.minimum(np.append(stamps[1:], np.inf), stamps + hold)
    overlap = np.minimum(edges[1:, None], ends) - np.maximum(edges[:-1, None], stamps)
    share = np.clip(overlap, 0.0, None) / np.diff(edges)[:, None]
    return share @ values, share.sum(1)


def mean_command(sent: Track, begin: float, end: float) -> np.ndarray:
    """The time mean [2] of the commands over [begin, end): the action of a model step."""
    stamps, values = sent.since(begin - COMMAND_HOLD, end)
    return held_mean(stamps, values, np.array([begin, end]), COMMAND_HOLD)[0][0]


def motion_history(stamp: float, measured: Track, sent: Track) -> np.ndarray:
    """[8, 4] float32: (v, w) by odometry, (v, w) as sent; oldest slot first; 0 where nothing is known."""
    edges = stamp + SLOT * np.arange(-SLOTS, 1)
    stamps, values = measured.since(edges[0] - MEASURED_HOLD, stamp)
    mean, known = held_mean(stamps, values, edges, MEASURED_HOLD)
    body = mean / np.maximum(known, 1e-6)[:, None]
    stamps, values = sent.since(edges[0] - COMMAND_HOLD, stamp)
    commanded, _ = held_mean(stamps, values, edges, COMMAND_HOLD)
    return np.concatenate([body, commanded], 1).astype(np.float32)
