"""The lidar: one ray per beam against the world's geoms, then noise, dropouts and the special values of REP-117."""

from __future__ import annotations

import copy
import math

import mujoco
import numpy as np

from objective_agent.simulation.compose import Composed
from objective_agent.simulation.parameters import LidarParameters
from objective_agent.types import Scan


class LidarSensor:
    """Casts all beams of a sweep at once (`mj_multiRay`); the robot's own body is left out."""

    def __init__(self, parameters: LidarParameters, composed: Composed):
        self.parameters = parameters
        self._composed = composed
        beams = parameters.beams
        self.angle_min, self.angle_increment = -math.pi, 2 * math.pi / beams
        self._angles = self.angle_min + self.angle_increment * np.arange(beams)
        self._directions = np.zeros((beams, 3))
        self._distance = np.empty(beams)
        self._geom = np.empty(beams, np.int32)

    def over(self, composed: Composed) -> LidarSensor:
        """The same sensor in a copy of its simulation."""
        other = copy.copy(self)  # buffers are shared: each reading fills them anew
        other._composed = composed
        return other

    def read(self, stamp: float, pose: tuple[float, float, float], rng: np.random.Generator) -> Scan:
        """The sweep seen from `pose`; geometry must be up to date (`mj_kinematics`)."""
        p, composed = self.parameters, self._composed
        self._directions[:, 0] = np.cos(self._angles + pose[2])
        self._directions[:, 1] = np.sin(self._angles + pose[2])
        origin = np.array([pose[0], pose[1], p.height])
        mujoco.mj_multiRay(
            composed.model,
            composed.data,
            origin,
            self._directions.reshape(-1),
            None,
            True,
            composed.body,
            self._geom,
            self._distance,
            None,
            p.beams,
            p.range_max + 6 * p.noise,
        )
        ranges = self._distance + p.noise * rng.standard_normal(p.beams)
        ranges[ranges < p.range_min] = -np.inf
        ranges[(self._distance < 0) | (ranges > p.range_max)] = np.inf
        ranges[rng.random(p.beams) < p.dropout] = np.nan
        return Scan(stamp, ranges.astype(np.float32), self.angle_min, self.angle_increment, p.range_min, p.range_max)
