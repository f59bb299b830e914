"""A small world for the gate alone: a walled room of discs, an exact kinematic robot, a noisy lidar.

It keeps the stated assumptions by construction (delay, acceleration, noise are known exactly), runs a hundred times faster than
the physics simulator, and measures the true gap between the footprint and every obstacle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.safety import GateInputs, GateParameters, GateState, Ladder, initial_state, step
from objective_agent.types import Command, Odometry, Scan, wrap_angle

PHYSICS = 0.01


@dataclass
class Disorder:
    """What the sensors do wrong."""

    range_noise: float = 0.01
    dropout: float = 0.01
    odometry_noise: float = 0.002


class DiscWorld:
    """Discs [D, 3] (x, y, radius) with velocities [D, 2] in a square room of half-width `half`."""

    def __init__(self, seed: int, robot: RobotParameters, discs: int = 18, half: float = 3.0, disorder: Disorder | None = None):
        self.random = np.random.default_rng(seed)
        self.robot, self.half, self.disorder = robot, half, disorder or Disorder()
        radii = np.where(self.random.random(discs) < 0.5, 0.03, self.random.uniform(0.1, 0.4, discs))
        self.discs = np.column_stack([self.random.uniform(-half, half, (discs, 2)), radii])
        self.velocities = np.zeros((discs, 2))
        self.pose = np.array([0.0, 0.0, self.random.uniform(-math.pi, math.pi)])
        gap = np.hypot(self.discs[:, 0], self.discs[:, 1]) - self.discs[:, 2] - robot.radius
        self.discs, self.velocities = self.discs[gap > 0.15], self.velocities[gap > 0.15]
        self.v = self.w = self.time = 0.0
        self.pending: list[tuple[float, float, float]] = []

    def gap(self) -> float:
        """True distance (m) between the footprint and the nearest obstacle; negative: a collision."""
        wall = self.half - np.abs(self.pose[:2]).max()
        away = self.discs[:, :2] - self.pose[:2]
        return float(min(wall, (np.hypot(away[:, 0], away[:, 1]) - self.discs[:, 2]).min(initial=math.inf)) - self.robot.radius)

    def scan(self, stamp: float) -> Scan:
        """180 beams, all round, 8 m."""
        angles = np.linspace(-math.pi, math.pi, 180, endpoint=False)
        world = angles + self.pose[2]
        ray = np.stack([np.cos(world), np.sin(world)], -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            walls = np.where(np.abs(ray) > 1e-9, (np.sign(ray) * self.half - self.pose[:2]) / ray, math.inf).min(1)
            to = self.discs[:, :2] - self.pose[:2]
            along = ray @ to.T
            across = (to**2).sum(1) - along**2
            root = self.discs[:, 2] ** 2 - across
            hit = np.where((root >= 0) & (along > 0), along - np.sqrt(np.maximum(root, 0.0)), math.inf)
        ranges = np.minimum(walls, hit.min(1, initial=math.inf))
        ranges += self.disorder.range_noise * self.random.standard_normal(180).clip(-3, 3)
        ranges = np.where(ranges > 8.0, math.inf, np.maximum(ranges, 0.05))
        ranges[self.random.random(180) < self.disorder.dropout] = math.nan
        return Scan(stamp, ranges.astype(np.float32), -math.pi, 2 * math.pi / 180, 0.05, 8.0)

    def odometry(self) -> Odometry:
        noise = self.disorder.odometry_noise * self.random.standard_normal(5).clip(-3, 3)
        return Odometry(self.time, self.pose + noise[:3], np.array([self.v, self.w]) + noise[3:])

    def command(self, v: float, w: float) -> None:
        self.pending.append((self.time + self.robot.actuator_delay, v, w))

    def advance(self, seconds: float) -> float:
        """Moves everything; the smallest gap on the way."""
        smallest = math.inf
        for _ in range(round(seconds / PHYSICS)):
            due = [command for command in self.pending if command[0] <= self.time + 1e-9]
            if due:
                self.target = due[-1][1:]
                self.pending = self.pending[len(due) :]
            v, w = getattr(self, "target", (0.0, 0.0))
            self.v += float(np.clip(v - self.v, -self.robot.max_acceleration * PHYSICS, self.robot.max_acceleration * PHYSICS))
            turn = self.robot.max_turn_acceleration * PHYSICS
            self.w += float(np.clip(w - self.w, -turn, turn))
            middle = self.pose[2] + 0.5 * self.w * PHYSICS
            self.pose += PHYSICS * np.array([self.v * math.cos(middle), self.v * math.sin(middle), self.w])
            self.discs[:, :2] += PHYSICS * self.velocities
            self.time += PHYSICS
            smallest = min(smallest, self.gap())
        return smallest


class Adversary:
    """Commands that try to hit something: charge at an obstacle, swing round at speed, shake, reverse, now and then NaN."""

    def __init__(self, seed: int, robot: RobotParameters):
        self.random, self.robot = np.random.default_rng(seed), robot
        self.until, self.mode, self.held = -1.0, 0, (0.0, 0.0)

    def __call__(self, world: DiscWorld) -> tuple[float, float]:
        if world.time >= self.until:
            self.until = world.time + self.random.uniform(0.1, 2.0)
            self.mode = int(self.random.integers(6))
            self.held = (self.random.uniform(-1, 1), self.random.uniform(-3, 3))
            self.victim = int(self.random.integers(max(len(world.discs), 1)))
        fast = 1.5 * self.robot.max_speed
        if self.mode <= 2 and len(world.discs):  # charge: at the nearest, at a chosen one, or just past it
            away = world.discs[:, :2] - world.pose[:2]
            target = int(np.argmin(np.hypot(*away.T) - world.discs[:, 2])) if self.mode == 0 else self.victim
            bearing = wrap_angle(math.atan2(away[target, 1], away[target, 0]) - world.pose[2])
            if self.mode == 2:
                bearing += math.copysign(0.3, self.held[1])
            return fast * (abs(bearing) < 1.0), 4.0 * bearing
        if self.mode == 3:
            return self.held[0] * 2 * fast, self.held[1]
        if self.mode == 4:
            return fast, math.copysign(3.0, math.sin(6 * world.time))
        return (math.nan, 1.0) if self.random.random() < 0.1 else (-fast, self.held[1])


class Seeker:
    """Drives to one random goal after the other, knowing the true world: the best of a fan of arcs that keep `CLEAR` of all."""

    CLEAR = 0.10
    TURNS = np.linspace(-1.5, 1.5, 13)

    def __init__(self, seed: int, robot: RobotParameters):
        self.random, self.robot, self.reached = np.random.default_rng(seed), robot, 0
        self.goal, self.chosen = None, -math.inf

    def _new_goal(self, world: DiscWorld) -> None:
        self.chosen = world.time
        for _ in range(100):
            self.goal = self.random.uniform(0.6 - world.half, world.half - 0.6, 2)
            away = np.hypot(*(world.discs[:, :2] - self.goal).T) - world.discs[:, 2]
            if away.min(initial=math.inf) > 0.5:
                return

    def __call__(self, world: DiscWorld) -> tuple[float, float]:
        if self.goal is None or np.hypot(*(self.goal - world.pose[:2])) < 0.3:
            self.reached += self.goal is not None
            self._new_goal(world)
        elif world.time - self.chosen > 12.0:  # a straight-minded planner may be stuck: that is not the gate's doing
            self._new_goal(world)
        v = np.repeat([self.robot.max_speed, 0.3], len(self.TURNS))
        w = np.tile(self.TURNS, 2)
        t = 0.05 * np.arange(1, 31)
        yaw = world.pose[2] + w[:, None] * t
        x = world.pose[0] + np.cumsum(0.05 * v[:, None] * np.cos(yaw - 0.025 * w[:, None]), 1)
        y = world.pose[1] + np.cumsum(0.05 * v[:, None] * np.sin(yaw - 0.025 * w[:, None]), 1)
        gap = world.half - np.maximum(np.abs(x), np.abs(y))
        if len(world.discs):
            discs = np.hypot(x[..., None] - world.discs[:, 0], y[..., None] - world.discs[:, 1]) - world.discs[:, 2]
            gap = np.minimum(gap, discs.min(-1))
        clear = (gap - self.robot.radius).min(1) > self.CLEAR
        if not clear.any():
            bearing = wrap_angle(math.atan2(*(self.goal - world.pose[:2])[::-1]) - world.pose[2])
            return 0.0, math.copysign(1.0, bearing) if abs(bearing) > 0.5 else 1.0
        cost = np.hypot(x[:, -1] - self.goal[0], y[:, -1] - self.goal[1]) + np.where(clear, 0.0, math.inf)
        best = int(np.argmin(cost))
        return float(v[best]), float(w[best])


@dataclass
class Drive:
    """What happened in one run."""

    smallest_gap: float
    distance: float
    held: float
    """Share of steps in which the gate kept the robot from moving."""
    limited: float
    """Share of steps in which it changed the command at all."""
    moving_share: float


def drive(world: DiscWorld, parameters: GateParameters, planner, seconds: float, gate: bool = True) -> Drive:
    """`planner` drives in `world` through the gate (or without it): lidar 10 Hz, the rest 20 Hz, some steps late."""
    state: GateState = initial_state()
    scan, odometry, smallest, held, limited, moved, travelled = None, None, math.inf, 0, 0, 0, 0.0
    world.time = 1.0
    period, ticks = parameters.period, round(seconds / parameters.period)
    for tick in range(ticks):
        if tick % 2 == 0:
            scan = world.scan(world.time)
        odometry = world.odometry()
        v, w = planner(world)
        inputs = GateInputs(world.time, Command(world.time, v, w), scan, odometry)
        if gate:
            state, output = step(parameters, state, inputs)
            counts = tick > 10  # the first steps wait for fresh messages
            held += output.held and counts
            limited += output.level != Ladder.OK and counts
            v, w = output.v, output.w
        world.command(v, w) if math.isfinite(v) else None
        smallest = min(smallest, world.advance(period + PHYSICS * int(world.random.integers(0, 4))))  # up to 30 ms late
        travelled += abs(world.v) * period
        moved += abs(world.v) > 0.02 or abs(world.w) > 0.05
    return Drive(smallest, travelled, held / ticks, limited / ticks, moved / ticks)
