"""Wheel odometry that drifts: each stretch of true motion, seen through scale errors, a bias and noise, is summed up."""

from __future__ import annotations

import math

import numpy as np

from objective_agent.simulation.parameters import OdometryParameters
from objective_agent.types import Odometry, wrap_angle


class OdometrySensor:
    """Starts at the true pose given to `reset`, then only integrates what it measures."""

    def __init__(self, parameters: OdometryParameters):
        self.parameters = parameters

    def reset(self, pose: tuple[float, float, float], rng: np.random.Generator) -> None:
        p = self.parameters
        self._rng = rng
        self._true = self._pose = tuple(map(float, pose))
        self._distance_scale = 1 + p.distance_scale_error * rng.standard_normal()
        self._turn_scale = 1 + p.turn_scale_error * rng.standard_normal()
        self._turn_bias = p.turn_bias * rng.standard_normal()

    def read(self, stamp: float, pose: tuple[float, float, float], velocity: tuple[float, float]) -> Odometry:
        """The reading when the true pose is `pose` and the true velocity (v, w) `velocity`."""
        p = self.parameters
        x0, y0, yaw0 = self._true
        turn = wrap_angle(pose[2] - yaw0)
        # Motion over the stretch in the frame of its middle heading, where a wheel pair measures it; sideways slip is unseen.
        middle = yaw0 + turn / 2
        distance = (pose[0] - x0) * math.cos(middle) + (pose[1] - y0) * math.sin(middle)
        self._true = pose
        noise = self._rng.standard_normal(4)
        way = abs(distance)
        measured = distance * self._distance_scale + p.distance_noise * math.sqrt(way) * noise[0]
        turned = turn * self._turn_scale + self._turn_bias * distance + p.turn_noise * math.sqrt(way + abs(turn)) * noise[1]
        x, y, yaw = self._pose
        heading = yaw + turned / 2
        self._pose = (x + measured * math.cos(heading), y + measured * math.sin(heading), wrap_angle(yaw + turned))
        v = velocity[0] * self._distance_scale + p.velocity_noise * noise[2]
        w = velocity[1] * self._turn_scale + p.velocity_noise * noise[3]
        return Odometry(stamp, np.array(self._pose, np.float32), np.array([v, w], np.float32))
