"""Where the robot's body would hit something: a boolean grid of a world's static obstacles.

For making tasks and for drawing, never for control: no robot knows its world like this.  A cell is an obstacle when the signed
distance from the vertical stretch that the body fills (ground clearance to robot height) above its centre to some geom is at
most half a cell, so nothing slips between two cells.  Distances are computed per geom for all cells near it at once; shapes
without a closed form (meshes, ellipsoids) are probed with MuJoCo's own collision code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.simulation.compose import PREFIX, Composed, compose
from objective_agent.simulation.parameters import SimulationParameters

LEVELS = 8  # heights sampled along the body
BLOCK = 500_000  # points looked at together, so that a huge world needs no huge memory
Geom = mujoco.mjtGeom


@dataclass(frozen=True)
class Occupancy:
    """`grid` [h, w] bool, True = an obstacle; `origin` (x, y) of its corner; `resolution` m per cell; row 0: lowest y."""

    grid: np.ndarray
    origin: tuple[float, float]
    resolution: float

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """(row, column) of the cell at a point, clipped into the grid."""
        column = math.floor((x - self.origin[0]) / self.resolution)
        row = math.floor((y - self.origin[1]) / self.resolution)
        return min(max(row, 0), self.grid.shape[0] - 1), min(max(column, 0), self.grid.shape[1] - 1)

    def centre(self, row: int, column: int) -> tuple[float, float]:
        """The point in the middle of a cell."""
        return self.origin[0] + (column + 0.5) * self.resolution, self.origin[1] + (row + 0.5) * self.resolution

    def clearance(self) -> np.ndarray:
        """[h, w] metres from each cell's centre to the nearest obstacle cell's, 0 inside; inf when there is no obstacle."""
        import cv2

        if not self.grid.any():
            return np.full(self.grid.shape, np.inf, np.float32)
        return cv2.distanceTransform((~self.grid).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * self.resolution

    def regions(self, radius: float) -> np.ndarray:
        """[h, w] int: 0 where a body of `radius` can't be, else the number of the region it can reach from there."""
        import cv2

        return cv2.connectedComponents((self.clearance() > radius).astype(np.uint8), connectivity=4)[1]


def occupancy(world, resolution: float = 0.05, simulation: SimulationParameters | None = None) -> Occupancy:
    """The grid of `world` (a `World`), a little larger than its bounds; people and movable bodies are not in it."""
    simulation = simulation or SimulationParameters()
    composed = compose(world.xml, world.name, RobotParameters(), simulation)
    mujoco.mj_kinematics(composed.model, composed.data)
    return rasterize(composed, world.bounds, resolution, simulation)


def static_geoms(composed: Composed) -> np.ndarray:
    """Ids of the geoms that stand still and can be hit: of bodies that can't move, with collision bits, floors left out."""
    model = composed.model
    still = (model.body_weldid[model.geom_bodyid] == 0) & (model.body_mocapid[model.body_rootid[model.geom_bodyid]] < 0)
    solid = (model.geom_contype | model.geom_conaffinity) != 0
    own = np.array([model.geom(i).name.startswith(PREFIX) for i in range(model.ngeom)])
    return np.flatnonzero(still & solid & ~own & ~composed.floors)


def rasterize(composed: Composed, bounds, resolution: float, simulation: SimulationParameters) -> Occupancy:
    model, data = composed.model, composed.data
    xmin, ymin, xmax, ymax = bounds
    margin = 0.5
    origin = (math.floor((xmin - margin) / resolution) * resolution, math.floor((ymin - margin) / resolution) * resolution)
    width = math.ceil((xmax + margin - origin[0]) / resolution)
    height = math.ceil((ymax + margin - origin[1]) / resolution)
    grid = np.zeros((height, width), bool)
    levels = np.linspace(simulation.ground_clearance, simulation.robot_height, LEVELS)
    reach = resolution / 2
    for geom in static_geoms(composed):
        centre, half = extent(model, data, int(geom))
        if centre[2] - half[2] > simulation.robot_height or centre[2] + half[2] < simulation.ground_clearance:
            continue
        x0, y0, x1, y1 = np.concatenate([centre[:2] - half[:2], centre[:2] + half[:2]])
        columns = slice(*clipped((x0 - reach - origin[0]) / resolution, (x1 + reach - origin[0]) / resolution, width))
        rows = slice(*clipped((y0 - reach - origin[1]) / resolution, (y1 + reach - origin[1]) / resolution, height))
        x = origin[0] + (np.arange(columns.start, columns.stop) + 0.5) * resolution
        if not len(x):
            continue
        plane = model.geom_type[geom] == Geom.mjGEOM_PLANE
        heights = levels[[0, -1]] if plane else levels  # distance to a plane is linear: its least is at an end
        block = max(1, BLOCK // (len(heights) * len(x)))
        for first in range(rows.start, rows.stop, block):
            y = origin[1] + (np.arange(first, min(first + block, rows.stop)) + 0.5) * resolution
            z, yy, xx = np.meshgrid(heights, y, x, indexing="ij")
            points = np.stack([xx, yy, z], -1).reshape(-1, 3)
            near = signed_distance(model, data, int(geom), points) <= reach
            grid[first : first + len(y), columns] |= near.reshape(len(heights), len(y), len(x)).any(0)
    return Occupancy(grid, origin, resolution)


def clipped(low: float, high: float, size: int) -> tuple[int, int]:
    """Cells from `low` to `high` (maybe infinite) that exist."""
    return int(np.clip(np.floor(max(low, -1.0)), 0, size)), int(np.clip(np.ceil(min(high, size + 1.0)), 0, size))


def extent(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half sizes [3] of a geom's axis-aligned box in the world; a plane's is infinite."""
    if model.geom_type[geom] == Geom.mjGEOM_PLANE:
        return data.geom_xpos[geom], np.full(3, np.inf)
    rotation = data.geom_xmat[geom].reshape(3, 3)
    aabb = model.geom_aabb[geom]
    return data.geom_xpos[geom] + rotation @ aabb[:3], np.abs(rotation) @ aabb[3:]


def signed_distance(model: mujoco.MjModel, data: mujoco.MjData, geom: int, points: np.ndarray) -> np.ndarray:
    """Distance [n] from points [n, 3] to a geom's surface, negative inside."""
    kind, size = model.geom_type[geom], model.geom_size[geom]
    local = (points - data.geom_xpos[geom]) @ data.geom_xmat[geom].reshape(3, 3)
    if kind == Geom.mjGEOM_PLANE:
        return local[:, 2]
    if kind == Geom.mjGEOM_SPHERE:
        return np.linalg.norm(local, axis=1) - size[0]
    if kind == Geom.mjGEOM_CAPSULE:
        local[:, 2] -= np.clip(local[:, 2], -size[1], size[1])
        return np.linalg.norm(local, axis=1) - size[0]
    if kind == Geom.mjGEOM_BOX:
        return outside_and_in(np.abs(local) - size)
    if kind == Geom.mjGEOM_CYLINDER:
        return outside_and_in(np.stack([np.hypot(local[:, 0], local[:, 1]) - size[0], np.abs(local[:, 2]) - size[1]], -1))
    return probe(model, data, geom, points)


def outside_and_in(excess: np.ndarray) -> np.ndarray:
    """Signed distance to a product of intervals, from how far beyond each of them a point is: excess [n, k] -> [n]."""
    return np.linalg.norm(np.maximum(excess, 0), axis=1) + np.minimum(excess.max(1), 0)


def probe(model: mujoco.MjModel, data: mujoco.MjData, geom: int, points: np.ndarray) -> np.ndarray:
    """Signed distance by MuJoCo itself, for shapes without a closed form: the robot's body, shrunk to a grain of sand."""
    own = model.geom(f"{PREFIX}body").id
    kind, size, place = int(model.geom_type[own]), model.geom_size[own].copy(), data.geom_xpos[own].copy()
    grain = 1e-3
    model.geom_type[own], model.geom_size[own] = int(Geom.mjGEOM_SPHERE), [grain, 0, 0]
    distance = np.empty(len(points))
    for i, point in enumerate(points):
        data.geom_xpos[own] = point
        distance[i] = mujoco.mj_geomDistance(model, data, geom, own, 1.0, None)
    model.geom_type[own], model.geom_size[own], data.geom_xpos[own] = kind, size, place
    return distance + grain
