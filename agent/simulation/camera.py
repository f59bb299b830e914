"""The camera: one ray per pixel, no OpenGL.

Colour is the hit geom's, shaded by the surface normal and a procedural texture, so that images have the corners, edges and
grain that an encoder needs to see motion.  Depth is the distance along the optical axis, as ROS depth images have it.
"""

from __future__ import annotations

import copy
import math

import mujoco
import numpy as np

from objective_agent.simulation.compose import Composed
from objective_agent.simulation.parameters import CameraParameters
from objective_agent.types import Image

SUN = np.array([0.45, 0.25, 0.86], np.float32)  # about a unit vector; not along an axis, so that all walls differ in shade
AMBIENT = 0.55
SKY_LOW, SKY_HIGH = np.array([205, 220, 235], np.float32), np.array([120, 160, 220], np.float32)
TILE, GRAIN = 0.5, 16.0  # metres per floor tile; grains per metre


class CameraSensor:
    """Casts all pixels at once (`mj_multiRay`); the robot's own body is left out."""

    def __init__(self, parameters: CameraParameters, composed: Composed):
        self.parameters = p = parameters
        self._composed = composed
        model = composed.model
        self._colours = geom_colours(model)
        tan = math.tan(p.horizontal_fov / 2)
        across = (1 - (2 * np.arange(p.width) + 1) / p.width) * tan  # left is +y, column 0 is leftmost
        down = (1 - (2 * np.arange(p.height) + 1) / p.height) * tan * p.height / p.width
        rays = np.stack(np.broadcast_arrays(1.0, across[None, :], down[:, None]), -1).reshape(-1, 3)
        self._along_axis = (1 / np.linalg.norm(rays, axis=1)).astype(np.float32)
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        cos, sin = math.cos(p.pitch), math.sin(p.pitch)
        self._rays = rays @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        count = len(rays)
        self._distance = np.empty(count)
        self._geom = np.empty(count, np.int32)
        self._normal = np.zeros((count, 3))

    def over(self, composed: Composed) -> CameraSensor:
        """The same sensor in a copy of its simulation."""
        other = copy.copy(self)  # buffers are shared: each reading fills them anew
        other._composed = composed
        return other

    def read(self, stamp: float, pose: tuple[float, float, float], rng: np.random.Generator) -> Image:
        """The frame seen from `pose`; geometry must be up to date (`mj_kinematics`)."""
        p, composed = self.parameters, self._composed
        cos, sin = math.cos(pose[2]), math.sin(pose[2])
        origin = np.array([pose[0] + p.mount_x * cos, pose[1] + p.mount_x * sin, p.mount_z])
        rays = self._rays @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        mujoco.mj_multiRay(
            composed.model,
            composed.data,
            origin,
            rays.reshape(-1),
            None,
            True,
            composed.body,
            self._geom,
            self._distance,
            self._normal.reshape(-1),
            len(rays),
            1e3,
        )
        hit = self._distance >= 0
        depth = np.where(hit, self._distance, np.inf).astype(np.float32) * self._along_axis
        depth[depth > p.max_depth] = np.inf
        rgb = self._colour(origin, rays, hit, rng)
        shape = (p.height, p.width)
        return Image(stamp, rgb.reshape(*shape, 3), depth.reshape(shape), p.horizontal_fov)

    def skip(self, rng: np.random.Generator) -> None:
        """Uses up the noise of a frame that nobody looks at, so that the frames after it are what they would have been."""
        if self.parameters.noise:
            rng.standard_normal((len(self._rays), 3), np.float32)

    def _colour(self, origin: np.ndarray, rays: np.ndarray, hit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[pixels, 3] uint8"""
        geom = np.where(hit, self._geom, 0)
        points = (origin + rays * np.where(hit, self._distance, 0)[:, None] - self._composed.data.geom_xpos[geom]).astype(
            np.float32
        )
        normal = self._normal.astype(np.float32)
        light = AMBIENT + (1 - AMBIENT) * (0.5 + 0.5 * (normal @ SUN))
        floor = self._composed.floors[geom]
        tiles = np.floor(points[:, :2] / TILE).astype(np.int32).sum(1) & 1
        light *= 1 - 0.14 * (tiles * floor) + 0.16 * (grain(points) - 0.5)
        colour = self._colours[geom] * light[:, None]
        up = np.clip(rays[:, 2:3], 0, 1).astype(np.float32)
        colour = np.where(hit[:, None], colour, SKY_LOW + up * (SKY_HIGH - SKY_LOW))
        if self.parameters.noise:
            colour += self.parameters.noise * rng.standard_normal(colour.shape, np.float32)
        return np.clip(colour, 0, 255).astype(np.uint8)


def geom_colours(model: mujoco.MjModel) -> np.ndarray:
    """[geoms, 3] float32 in 0..255: the geom's own colour, or its material's where the geom kept MuJoCo's default."""
    rgba = model.geom_rgba.copy()
    default = (rgba == np.float32(0.5))[:, :3].all(1) & (model.geom_matid >= 0)
    rgba[default] = model.mat_rgba[model.geom_matid[default]]
    return rgba[:, :3] * np.float32(255)


def grain(points: np.ndarray) -> np.ndarray:
    """A repeatable random value in 0..1 for each little cube of space; points [n, 3]."""
    x, y, z = np.floor(points * GRAIN + 0.001).astype(np.int32).astype(np.uint32).T
    value = x * np.uint32(73856093) ^ y * np.uint32(19349663) ^ z * np.uint32(83492791)
    value = (value ^ (value >> np.uint32(13))) * np.uint32(1274126177)
    return ((value >> np.uint32(16)) & np.uint32(255)).astype(np.float32) / 255
