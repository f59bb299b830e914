"""How long a command takes to become motion, measured: what left the gate against what odometry then says.

    response    r(t; k)    the body's speeds follow the commands at k times the robot's acceleration limits, without delay
    lag         v(t) = g r_v(t - d),   w(t) = h r_w(t - d) + b r_v(t - d)

For each lag d and pace k the gains g, h, b are least squares over the last `WINDOW` seconds; the lag that leaves least is the
delay, to a parabola's precision (a slower body is so not taken for a later one).  The curvature there says how sure it is:

    deviation^2 = INFLATION * 2 noise^2 / curvature

A robot that stands, or drives as it did all the time, tells nothing about its delay: unknown is an answer, and the caller then
uses the parameter `robot.actuator_delay`.  Unknown it is also where the motion does not follow the commands (a blocked robot,
other people's commands), where the least lag lies at the edge of what is looked at, and `KEPT` seconds after it was last known.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.types import Command, InputError, Odometry

WINDOW, STEP, FINE = 6.0, 0.02, 0.01
"""What is looked back at, the instants in it that are compared, and how finely responses are known, s."""
EARLIEST, LATEST = -0.1, 1.1
"""Lags that are tried, s.  Negative ones only show that the least lies at 0."""
LONGEST = 1.0
"""No delay above this is believed, s."""
PACES = np.array([0.35, 0.42, 0.5, 0.6, 0.75, 1.0, 1.35, 1.8])
EVERY, KEPT, PAUSE = 1.0, 30.0, 0.5
"""Time between two estimates, from the last good one until it is forgotten, and without messages until all begins anew, s."""
MEDIAN = 5
"""So many estimates have a say in the delay: one that was misled has none."""
EXPLAINED, UNSURE, INFLATION = 0.9, 0.06, 100.0
"""Share of the motion that commands must explain, the largest deviation that counts as known (s), and how much errors that last
for several instants widen it."""
GAINS = (0.3, 1.5)


@dataclass(frozen=True)
class Delay:
    """Measured at `stamp`: `seconds` from a command's leaving the gate to the motion, give or take `deviation` (1 sigma)."""

    stamp: float
    seconds: float
    deviation: float


def believable(seconds: float | None) -> float | None:
    """`seconds` when it can be a delay, None otherwise: who gets one from elsewhere asks this."""
    return seconds if seconds is not None and math.isfinite(seconds) and 0.0 <= seconds <= LONGEST else None


class DelayEstimator:
    """`command_sent` and `measured` take what happens, in the order of their stamps; `seconds(now)` is the delay."""

    def __init__(self, robot: RobotParameters):
        limits = np.array([robot.max_acceleration, robot.max_turn_acceleration])
        self._rates = PACES[:, None] * limits
        self._scale = np.array([robot.max_speed, robot.max_turn_rate])
        self.reset()

    def reset(self) -> None:
        self.delay: Delay | None = None
        self._found: deque[Delay] = deque(maxlen=MEDIAN)
        self._begin()

    def _begin(self) -> None:
        self._target: np.ndarray | None = None
        self._sent: deque[tuple[float, np.ndarray]] = deque()  # stamp, response [paces, 2]
        self._moved: deque[tuple[float, float, float]] = deque()
        self._due = -math.inf

    def seconds(self, now: float) -> float | None:
        """The delay in s, None while it is not known."""
        if self.delay is None or not 0 <= now - self.delay.stamp <= KEPT:
            return None
        return believable(self.delay.seconds)

    def command_sent(self, command: Command) -> None:
        """A command as it left the gate.  InputError when it is not finite."""
        if not all(map(math.isfinite, (command.stamp, command.v, command.w))):
            raise InputError(f"command sent ({command.v}, {command.w}) at {command.stamp}: must be finite")
        target = np.array([command.v, command.w])
        if self._sent and not 0 <= command.stamp - self._sent[-1][0] <= PAUSE:
            self._begin()
        if self._sent:
            before, response = self._sent[-1]
            passed = command.stamp - before
            for time in np.linspace(0.0, passed, max(1, math.ceil(passed / FINE)) + 1)[1:]:
                most = self._rates * time
                self._sent.append((before + time, response + np.clip(self._target - response, -most, most)))
        else:
            self._sent.append((command.stamp, np.repeat(target[None], len(PACES), 0)))
        self._target = target
        while self._sent[0][0] < command.stamp - WINDOW - LATEST - PAUSE:
            self._sent.popleft()

    def measured(self, odometry: Odometry) -> None:
        """The robot's motion; every `EVERY` seconds it is asked anew how late it is."""
        stamp, (v, w) = odometry.stamp, map(float, odometry.velocity)
        if not all(map(math.isfinite, (stamp, v, w))):
            raise InputError(f"odometry ({v}, {w}) at {stamp}: must be finite")
        if self._moved and not 0 <= stamp - self._moved[-1][0] <= PAUSE:
            self._begin()
        self._moved.append((stamp, v, w))
        while self._moved[0][0] < stamp - WINDOW - PAUSE:
            self._moved.popleft()
        if stamp >= self._due:
            self._due = stamp + EVERY
            found = self._fit(stamp)
            if found is not None:
                self._found.append(found)
                self.delay = sorted(self._found, key=lambda delay: delay.seconds)[len(self._found) // 2]
                self.delay = replace(self.delay, stamp=stamp)

    def _fit(self, now: float) -> Delay | None:
        """None when what happened lately does not tell."""
        instants = now - STEP * np.arange(round(WINDOW / STEP))[::-1]
        if not self._sent or self._moved[0][0] > instants[0] or self._sent[0][0] > instants[0] - LATEST:
            return None
        moved = np.array(self._moved)
        motion = np.stack([np.interp(instants, moved[:, 0], moved[:, 1 + axis]) for axis in (0, 1)], 1) / self._scale
        left, lags = self._left(instants, motion)
        pace, best = np.unravel_index(np.argmin(left), left.shape)
        if not 0 < best < len(lags) - 1:
            return None
        before, least, after = left[pace, best - 1 : best + 2]
        bend = before - 2 * least + after
        if not (bend > 0 and least <= (1 - EXPLAINED) * (motion**2).sum()):
            return None
        seconds = lags[best] + 0.5 * STEP * (before - after) / bend
        noise = least / motion.size
        deviation = math.sqrt(INFLATION * 2 * noise * STEP**2 / bend)
        if deviation > UNSURE or not -STEP <= seconds <= LONGEST:
            return None
        return Delay(now, max(0.0, float(seconds)), deviation)

    def _left(self, instants: np.ndarray, motion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Squares left over [paces, lags] when the gains are the best ones (inf: no body has such gains), and the lags, s."""
        count = round((LATEST - EARLIEST) / STEP) + 1
        lags = EARLIEST + STEP * np.arange(count)
        grid = instants[0] - LATEST + STEP * np.arange(len(instants) + count - 1)
        stamps = np.array([stamp for stamp, _ in self._sent])
        sent = np.stack([response for _, response in self._sent]).reshape(len(stamps), -1) / np.tile(self._scale, len(PACES))
        followed = np.stack([np.interp(grid, stamps, column) for column in sent.T]).reshape(len(PACES), 2, -1)
        late = np.lib.stride_tricks.sliding_window_view(followed, len(instants), -1)[:, :, ::-1]  # [paces, 2, lags, instants]
        vv, ww = (late**2).sum(-1).transpose(1, 0, 2) + 1e-9
        vw = (late[:, 0] * late[:, 1]).sum(-1)
        products = np.moveaxis(late @ motion, 1, 0)  # [2 of the response, paces, lags, 2 of the motion]
        gain = products[0, ..., 0] / vv
        left = (motion[:, 0] ** 2).sum() - gain * products[0, ..., 0]
        whole = np.maximum(vv * ww - vw**2, 1e-9 * vv * ww)
        turn = (vv * products[1, ..., 1] - vw * products[0, ..., 1]) / whole
        veer = (ww * products[0, ..., 1] - vw * products[1, ..., 1]) / whole
        left = left + (motion[:, 1] ** 2).sum() - turn * products[1, ..., 1] - veer * products[0, ..., 1]
        possible = ((gain > GAINS[0]) & (gain < GAINS[1])) | (vv < 1e-2 * len(instants) * 0.01)
        possible &= ((turn > GAINS[0]) & (turn < GAINS[1])) | (ww < 1e-2 * len(instants) * 0.01)
        return np.where(possible, np.maximum(left, 0.0), np.inf), lags
