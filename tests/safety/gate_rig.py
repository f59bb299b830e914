"""Feeds the gate's core the way a healthy robot would: fresh scan, odometry and command at every step."""

import math
from dataclasses import replace

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.safety import GateInputs, default_parameters, initial_state, step
from objective_agent.types import Command, Odometry, Scan

ROBOT = RobotParameters()
PARAMETERS = default_parameters(ROBOT)
BEAMS = 180


def scan_of(ranges, stamp=1.0):
    with np.errstate(over="ignore"):
        ranges = np.asarray(ranges, np.float32)
    return Scan(stamp, ranges, -math.pi, 2 * math.pi / BEAMS, 0.05, 8.0)


def open_ranges():
    return np.full(BEAMS, np.inf)


def with_disc(x, y, radius, ranges=None):
    """Ranges of a disc seen from the origin."""
    ranges = open_ranges() if ranges is None else ranges
    angles = -math.pi + 2 * math.pi / BEAMS * np.arange(BEAMS)
    along = x * np.cos(angles) + y * np.sin(angles)
    root = radius**2 - (x * x + y * y - along**2)
    hit = (root >= 0) & (along > 0)
    return np.where(hit, np.minimum(ranges, along - np.sqrt(np.maximum(root, 0))), ranges)


def with_wall(distance, ranges=None):
    """Ranges of a wall across the way, `distance` ahead."""
    ranges = open_ranges() if ranges is None else ranges
    angles = -math.pi + 2 * math.pi / BEAMS * np.arange(BEAMS)
    with np.errstate(divide="ignore"):
        wall = np.where(np.cos(angles) > 1e-6, distance / np.cos(angles), np.inf)
    wall[wall > 8.0] = np.inf
    return np.minimum(ranges, wall)


class Rig:
    """A robot that stands (or drives on the spot of `pose`) while the gate works at 20 Hz."""

    def __init__(self, parameters=PARAMETERS, ranges=None, velocity=(0.0, 0.0), steps=4):
        self.parameters, self.state, self.now = parameters, initial_state(), 100.0
        self.ranges = open_ranges() if ranges is None else ranges
        self.pose, self.velocity = np.zeros(3), np.array(velocity)
        for _ in range(steps):
            self.output = self(0.0, 0.0)

    def inputs(self, v, w, **changes):
        self.now += self.parameters.period
        inputs = GateInputs(
            self.now,
            Command(self.now, v, w),
            scan_of(self.ranges, self.now),
            Odometry(self.now, self.pose, self.velocity),
        )
        return replace(inputs, **changes)

    def __call__(self, v, w, **changes):
        self.state, self.output = step(self.parameters, self.state, self.inputs(v, w, **changes))
        return self.output

    def drive(self, v, w, steps=20, **changes):
        for _ in range(steps):
            self(v, w, **changes)
        return self.output
