"""The limits on one command: the body's, and those that obstacles, moving things and occlusions set.

Speed and turn rate are scaled together, so the robot stays on the arc that was planned and only comes later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from objective_agent.safety import manoeuvre
from objective_agent.safety.arc import admissible_speed, free_length
from objective_agent.safety.parameters import GateParameters
from objective_agent.safety.state import GateState
from objective_agent.types import to_base

SCALES = np.linspace(1.0, 0.0, 11)[:-1]
LATE = 0.03  # the next step may come this much later than one period, s
STEPS_OUT_AHEAD = 1.2  # sideways reach of the occlusion limit beyond the footprint, m


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Everything a command is checked against, at one moment."""

    pose: np.ndarray
    """Predicted pose [3] now, odom."""
    start: np.ndarray
    """Predicted (x, y, yaw, v, w) when a command sent now takes effect."""
    reaction: float
    """Scan age + gate period + actuator delay, s."""
    points: np.ndarray
    moving: np.ndarray
    velocities: np.ndarray
    edges: np.ndarray


def surroundings(parameters: GateParameters, state: GateState, now: float) -> Surroundings:
    """The obstacles within reach as of `now`, in odom."""
    robot = parameters.robot
    pose, start = manoeuvre.committed(parameters, state.odometry.message, state.sent, now)
    reaction = max(now - state.scan.message.stamp, 0.0) + parameters.period + robot.actuator_delay
    speed = max(robot.max_speed, robot.max_reverse_speed, abs(float(start[3])))
    reach = robot.radius + parameters.margin + speed * (reaction + 0.1) + speed * speed / (2 * parameters.max_deceleration)
    points = np.concatenate([*(scan.points for scan in state.scans if now - scan.stamp <= parameters.memory), state.blind])
    points = points[np.hypot(*(points - pose[:2]).T) <= reach]
    moved = state.moving.points + max(now - state.moving.stamp, 0.0) * state.moving.velocities
    return Surroundings(pose, start, reaction, points, moved, state.moving.velocities, state.edges)


def clamp(
    parameters: GateParameters, asked: tuple[float, float], last: tuple[float, float], elapsed: float, max_speed: float | None
) -> tuple[tuple[float, float], str]:
    """`asked` within speed (same arc) and acceleration limits, and why it was changed.  Braking is never held back."""
    robot = parameters.robot
    forward, backward = robot.max_speed, robot.max_reverse_speed
    if max_speed is not None:
        tighter = max_speed if math.isfinite(max_speed) and max_speed >= 0 else 0.0
        forward, backward = min(forward, tighter), min(backward, tighter)
    v, w = asked
    bound = forward if v >= 0 else backward
    scale = min(1.0, bound / abs(v) if v else 1.0, robot.max_turn_rate / abs(w) if w else 1.0)
    fast = (scale * v, scale * w)
    slow = _accelerate(fast, last, (robot.max_acceleration * elapsed, robot.max_turn_acceleration * elapsed))
    why = ["speed limit"] if scale < 1.0 else []
    return slow, ", ".join(why + (["acceleration limit"] if slow != fast else []))


def _accelerate(asked: tuple[float, float], last: tuple[float, float], most: tuple[float, float]) -> tuple[float, float]:
    """From `last` towards `asked`: what accelerates does so by at most `most` and together, so that an arc stays one; what
    brakes is free, and a reversal begins from zero."""
    last = tuple(0.0 if a * b < 0 else b for a, b in zip(asked, last, strict=True))
    allowed = [min(max(a, min(b, 0.0) - m), max(b, 0.0) + m) for a, b, m in zip(asked, last, most, strict=True)]
    braking = [abs(a) <= abs(b) for a, b in zip(asked, last, strict=True)]
    shares = [(c - b) / (a - b) for a, b, c, free in zip(asked, last, allowed, braking, strict=True) if not free and a != b]
    share = min(shares, default=1.0)
    v, w = (a if free or share >= 1.0 else b + share * (a - b) for a, b, free in zip(asked, last, braking, strict=True))
    return v, w


def clear_command(
    parameters: GateParameters, around: Surroundings, command: tuple[float, float]
) -> tuple[tuple[float, float], str]:
    """The largest scaling of `command` whose whole manoeuvre is clear, and what limits it; (0, 0) when none is."""
    v, w = command
    if v == 0.0 and w == 0.0:
        return command, ""
    bound, why = _speed_bound(parameters, around, v, w)
    share = min(1.0, bound / abs(v)) if v else 1.0
    commands = np.concatenate([[[0.0, 0.0]], share * SCALES[:, None] * [[v, w]], [[0.0, _turn_only(parameters, w)]]])
    good = manoeuvre.allowed(
        parameters,
        around.start,
        commands,
        around.points,
        around.moving,
        around.velocities,
        parameters.robot.actuator_delay,
        parameters.period + LATE,
    )
    best = int(np.argmax(good[1:-1])) + 1
    if share > 1e-3 and good[best]:
        if best == 1 and share == 1.0:
            return command, ""
        return (float(commands[best, 0]), float(commands[best, 1])), why if best == 1 else "obstacle in the braking manoeuvre"
    if v != 0.0 and w != 0.0 and good[-1]:
        return (0.0, float(commands[-1, 1])), f"only turning is clear: {why or 'obstacle in the braking manoeuvre'}"
    return (0.0, 0.0), why or "obstacle in the braking manoeuvre"


def _turn_only(parameters: GateParameters, w: float) -> float:
    return math.copysign(min(abs(w), parameters.escape_turn_rate), w)


def _speed_bound(parameters: GateParameters, around: Surroundings, v: float, w: float) -> tuple[float, str]:
    """The closed-form speed limit (m/s) along the arc of (v, w), and what sets it."""
    if v == 0.0:
        return math.inf, ""
    keep = parameters.robot.radius + parameters.margin
    brake, reaction = parameters.max_deceleration, around.reaction
    bounds = [(abs(v), "")]
    points = to_base(around.pose, around.points)
    if len(points):
        free = float(free_length(points, v, w, keep).min())
        bounds.append((float(admissible_speed(free, reaction, brake)), f"obstacle {free:.2f} m ahead"))
        if float(np.hypot(*points.T).min()) < keep:
            bounds.append((parameters.escape_speed, "inside the margin: escaping"))
    if len(around.moving):
        moving = to_base(around.pose, around.moving)
        distance = np.maximum(np.hypot(*moving.T), 1e-6)
        towards = -((around.moving - around.pose[:2]) * around.velocities).sum(-1) / distance
        closing = np.clip(towards, 0.0, parameters.max_closing_speed)
        speeds = admissible_speed(free_length(moving, v, w, keep), reaction, brake, closing)
        bounds.append((float(speeds.min()), f"something closes in at {closing[np.argmin(speeds)]:.1f} m/s"))
    bounds.append((_occlusion_bound(parameters, around, v), "something could step out"))
    return min(bounds, key=lambda bound: bound[0])


def _occlusion_bound(parameters: GateParameters, around: Surroundings, v: float) -> float:
    """Speed limit from the corners ahead: as if a person left the nearest one now, straight at the robot."""
    edges = to_base(around.pose, around.edges) * (1.0 if v > 0 else -1.0)
    robot = parameters.robot
    edges = edges[(edges[:, 0] > robot.radius) & (np.abs(edges[:, 1]) < robot.radius + STEPS_OUT_AHEAD)]
    if not len(edges):
        return math.inf
    free = float(np.hypot(*edges.T).min()) - robot.radius - parameters.margin
    speed = admissible_speed(np.asarray(free), around.reaction, parameters.max_deceleration, parameters.occlusion_speed)
    return max(float(speed), parameters.occlusion_min_speed)
