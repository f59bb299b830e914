"""A wall that appears: a panel that waits far below the floor until it is raised across the robot's way.

No world model expects it, so it is what surprise is tested with.  It is solid: lidar and camera see it, the robot would hit it.
It is never raised where a robot at its speed could not stop any more, nor into something that stands there already.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.simulation.compose import PANEL, PANEL_SIZE, Composed
from objective_agent.types import InputError

REACTION, BRAKING, SPARE = 0.4, 0.8, 0.15
"""Time until the brakes act (s), deceleration (m/s^2) and room left (m) that the least distance allows for."""

LOOK_HEIGHT, BEHIND = 0.25, 0.6
"""Where it looks whether there is room, and how much of it must be behind the panel, m: a wall before a wall is no news."""


class Panel:
    """The panel of a composed model.  All it knows is in the model's data, so resetting that lowers it."""

    size = PANEL_SIZE

    def __init__(self, composed: Composed, robot: RobotParameters):
        self._composed, self._robot = composed, robot
        self._mocap = int(composed.model.body(PANEL).mocapid[0])

    @property
    def place(self) -> np.ndarray | None:
        """[3] x, y of its middle and the direction that it faces while it is up, else None."""
        x, y, z = self._composed.data.mocap_pos[self._mocap]
        w, _, _, turn = self._composed.data.mocap_quat[self._mocap]
        return np.array([x, y, 2 * math.atan2(turn, w)]) if z > 0 else None

    def raise_ahead(self, pose, speed: float, distance: float) -> None:
        """Raises it straight ahead of a robot at `pose` (x, y, yaw) with `speed`, its face `distance` from the robot's middle.

        InputError, and nothing happens, when it is nearer than the robot may need to stop, or when something is in between.
        """
        least = self.least_distance(speed)
        if not distance >= least:
            raise InputError(f"wall {distance:g} m ahead: a robot at {speed:.2f} m/s needs {least:.2f} m")
        x, y, yaw = (float(value) for value in pose)
        ahead = np.array([math.cos(yaw), math.sin(yaw), 0.0])
        free = self._free(np.array([x, y, LOOK_HEIGHT]), ahead)
        if free < distance + BEHIND:
            raise InputError(f"wall {distance:g} m ahead: something stands {free:.2f} m ahead already")
        data, middle = self._composed.data, distance + self.size[0] / 2
        data.mocap_pos[self._mocap] = x + middle * ahead[0], y + middle * ahead[1], self.size[2] / 2
        data.mocap_quat[self._mocap] = math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)

    def lower(self) -> None:
        """Takes it away."""
        model, body = self._composed.model, self._composed.model.body(PANEL).id
        self._composed.data.mocap_pos[self._mocap] = model.body_pos[body]

    def least_distance(self, speed: float) -> float:
        """From the robot's middle: what it drives until it stands, its radius, and room to spare, m."""
        speed = max(speed, 0.0)
        return self._robot.radius + SPARE + REACTION * speed + speed**2 / (2 * BRAKING)

    def _free(self, origin: np.ndarray, ahead: np.ndarray) -> float:
        """Least distance to anything in the strip that the footprint would sweep straight ahead."""
        composed, hit = self._composed, np.zeros(1, np.int32)
        mujoco.mj_kinematics(composed.model, composed.data)
        side = self._robot.radius * np.array([-ahead[1], ahead[0], 0.0])
        found = [
            mujoco.mj_ray(composed.model, composed.data, origin + share * side, ahead, None, 1, composed.body, hit)
            for share in (-1.0, -0.5, 0.0, 0.5, 1.0)
        ]
        return min((distance for distance in found if distance >= 0), default=math.inf)
