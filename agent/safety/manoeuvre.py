"""What the robot will really do: the commands on their way, the new one for one period, then braking to a stand.

The formula of `arc` looks along the commanded arc alone.  A robot at speed that swings to another arc first goes on along the
old one, and while it brakes both speed and turn rate fall, each at its own limit.  Here the manoeuvre is integrated and its
distance to every known point measured, for many scalings of a command at once.
"""

from __future__ import annotations

import math

import numpy as np

from objective_agent.safety.parameters import GateParameters
from objective_agent.types import Odometry

STEP = 0.025


def committed(
    parameters: GateParameters, odometry: Odometry, sent: tuple[tuple[float, float, float], ...], now: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pose [3] at `now`, and (x, y, yaw, v, w) [5] when a command sent now takes effect: nothing can change that part."""
    robot = parameters.robot
    x, y, yaw = (float(value) for value in odometry.pose)
    v, w = (float(value) for value in odometry.velocity)
    time, end = odometry.stamp, max(now, odometry.stamp) + robot.actuator_delay
    pose_now = None
    target = _target(sent, time - robot.actuator_delay, (v, w))
    while time < end - 1e-9:
        if pose_now is None and time >= now - 1e-9:
            pose_now = np.array([x, y, yaw])
        limit = end if time >= now - 1e-9 else min(end, now)
        dt = min(STEP, limit - time)
        target = _target(sent, time + 0.5 * dt - robot.actuator_delay, target)
        v += _clip(target[0] - v, robot.max_acceleration * dt)
        w += _clip(target[1] - w, robot.max_turn_acceleration * dt)
        x += v * dt * math.cos(yaw + 0.5 * w * dt)
        y += v * dt * math.sin(yaw + 0.5 * w * dt)
        yaw += w * dt
        time += dt
    if pose_now is None:
        pose_now = np.array([x, y, yaw])
    return pose_now, np.array([x, y, yaw, v, w])


def _target(sent, time: float, fallback: tuple[float, float]) -> tuple[float, float]:
    for stamp, v, w in reversed(sent):
        if stamp <= time:
            return v, w
    return fallback


def _clip(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))


def rollout(parameters: GateParameters, start: np.ndarray, commands: np.ndarray, hold: float) -> tuple[np.ndarray, ...]:
    """Each command [C, 2] kept for `hold` seconds from `start` (5 values), then zero: x, y, v [C, S] and times [S].

    Speeds follow the acceleration limits, so they are piecewise linear; braking uses `max_deceleration`.
    """
    robot = parameters.robot
    brake, turn = parameters.max_deceleration, robot.max_turn_acceleration
    v0, w0 = start[3], start[4]
    fastest = max(abs(v0), float(np.abs(commands[:, 0]).max()))
    spin = max(abs(w0), float(np.abs(commands[:, 1]).max()))
    steps = math.ceil((hold + max(fastest / brake, spin / turn)) / STEP) + 1
    times = STEP * np.arange(steps + 1)
    v = _speeds(times, v0, commands[:, :1], hold, robot.max_acceleration, brake)
    w = _speeds(times, w0, commands[:, 1:], hold, turn, turn)
    middle_v, middle_w = 0.5 * (v[:, 1:] + v[:, :-1]), 0.5 * (w[:, 1:] + w[:, :-1])
    yaw = start[2] + STEP * np.cumsum(middle_w, 1)
    heading = yaw - 0.5 * STEP * middle_w
    x = start[0] + STEP * np.cumsum(middle_v * np.cos(heading), 1)
    y = start[1] + STEP * np.cumsum(middle_v * np.sin(heading), 1)
    first = np.ones((len(commands), 1))
    return np.hstack([first * start[0], x]), np.hstack([first * start[1], y]), v, times


def _speeds(times, start, target, hold, limit, brake):
    """Piecewise linear [C, S]: from `start` towards `target` [C, 1] until `hold`, then to zero."""
    ramp = start + np.clip(target - start, -limit * np.minimum(times, hold), limit * np.minimum(times, hold))
    slower = np.maximum(times - hold, 0.0) * brake
    return np.sign(ramp) * np.maximum(np.abs(ramp) - slower, 0.0)


def allowed(
    parameters: GateParameters,
    start: np.ndarray,
    commands: np.ndarray,
    points: np.ndarray,
    moving: np.ndarray,
    velocities: np.ndarray,
    lead: float,
    hold: float,
) -> np.ndarray:
    """Which commands [C, 2] keep the whole manoeuvre out of the margin of every point: bool [C].

    `points` [P, 2] stand still; `moving` [M, 2] are positions now, with `velocities` [M, 2]; the manoeuvre begins in `lead`
    seconds.  Where even braking enters a margin, a command is allowed if it comes no nearer than braking does: so a robot
    that stands too close may turn or leave.  The first command must be zero: it is the braking that others are compared with.
    """
    robot = parameters.robot
    keep = robot.radius + parameters.margin
    x, y, v, times = rollout(parameters, start, commands, hold)
    good = np.ones(len(commands), bool)
    if len(points):
        near = _distances(x, y, points[:, 0], points[:, 1])
        good &= (near >= np.minimum(keep, near[:1]) - 1e-6).all(1)
    if len(moving):
        ahead = lead + times[:, None]
        near = _distances(x, y, moving[:, 0] + ahead * velocities[:, 0], moving[:, 1] + ahead * velocities[:, 1], np.abs(v))
        good &= (near >= np.minimum(keep, near[:1]) - 1e-6).all(1)
    return good


def _distances(x, y, px, py, speed=None) -> np.ndarray:
    """Nearest approach [C, P]; with `speed` [C, S], only while the robot moves (a standing robot hits nobody)."""
    squared = (x[:, :, None] - px) ** 2 + (y[:, :, None] - py) ** 2
    if speed is not None:
        still = speed < 0.02
        still[:, 0] = False
        squared = np.where(still[:, :, None], np.inf, squared)
    return np.sqrt(squared.min(1))
