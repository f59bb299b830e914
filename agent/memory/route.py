"""Route memory "grid": where one can go, from what the lidar saw.

A 10 cm grid in odom that rolls along with the robot.  Every sweep adds evidence to the cells its beams ended in and takes some
from the cells they crossed, so people who walk by are forgotten.  With `free_sweeps` large enough they don't close a way in the
first place: a robot that turns back for another way whenever somebody stands in a doorway gets through none.  Cells never seen
count as free (optimism in the face of the unknown makes the robot explore towards its goal).  Obstacles are inflated by the
robot's radius, nearness costs extra, and a wavefront from the goal (Dijkstra, settled a ring of cells at a time) gives the
cheapest way:

    cost(path) = sum of length * (1 + near_cost * (1 - clearance / near) + unknown_cost [unknown])

Source of the idea: occupancy grids (Moravec & Elfes 1985) and Nav2's inflation layer.
"""

from __future__ import annotations

import logging
import math

import cv2
import numpy as np
from pydantic import Field

from objective_agent.config import NonNegative, Positive, RobotParameters, Strict
from objective_agent.types import InputError, Observation, Scan

HIT, MISS, HIT_MAX = 3, 1, 9
"""Evidence per sweep and its bound: one hit outlives two misses (thin legs), nine misses outlive any number of hits."""

ESTIMATE_PERIOD, ESTIMATED_HIT, ESTIMATED_MAX, ESTIMATED_FREE, BLIND, FADE = 0.1, 1, 5, 3, 0.45, 2.5
"""Sweeps that a robot without lidar reads out of its representation: not oftener than this (s), believed less, blind to what is
nearer than this (m), and what they said loses one by itself after this (s): an error must not wall the robot in for good."""

logger = logging.getLogger(__name__)


class GridRoute:
    """Grid of evidence [cells, cells] (int8, > 0 occupied), `origin` its corner's cell coordinates; rolls with the robot."""

    class Config(Strict):
        resolution: Positive = Field(0.1, description="side of a cell, m")
        size: Positive = Field(30.0, le=200, description="side of the grid, m; goals outside are clamped to its edge")
        margin: NonNegative = Field(0.02, description="room kept beside the robot's radius, m")
        near: Positive = Field(0.3, description="beyond the inflated radius, clearance worth paying for, m")
        near_cost: NonNegative = Field(6.0, description="extra cost per metre right beside an obstacle")
        unknown_cost: NonNegative = Field(0.3, description="extra cost per metre where nothing was seen yet")
        free_sweeps: int = Field(
            3, ge=1, le=120, description="sweeps through a cell that speak for free; a third as many hits close it again"
        )

    def __init__(self, config: Config, robot: RobotParameters):
        self.config = config
        self.robot = robot
        self._cells = max(8, round(config.size / config.resolution))
        self.reset()

    def reset(self) -> None:
        """Forgets everything seen."""
        self.evidence = np.zeros((self._cells, self._cells), np.int8)
        self.seen = np.zeros((self._cells, self._cells), bool)
        self.origin: np.ndarray | None = None
        self._last_scan = self._faded = -math.inf
        self._warned = False

    def update(self, observation: Observation) -> None:
        """Adds the observation's sweep (problem 0); one that is not newer than the last one taken is left out."""
        scan = observation.scans[0] if observation.scans else None
        if scan is None or observation.scan_poses is None:
            return
        if scan.stamp < self._last_scan:
            logger.warning("sweep at %.3f s after one at %.3f s: route memory starts over", scan.stamp, self._last_scan)
            self.reset()
        if scan.stamp == self._last_scan or (scan.estimated and scan.stamp < self._last_scan + ESTIMATE_PERIOD):
            return
        self._last_scan = scan.stamp
        pose = np.asarray(observation.scan_poses[0], np.float64)
        self._roll(pose[:2])
        crossed, hits = self._beams(scan, pose)
        crossed |= self._disc(pose[:2], 0.7 * self.robot.radius)
        crossed &= ~hits
        free = ESTIMATED_FREE if scan.estimated else self.config.free_sweeps
        self.evidence[crossed] = np.maximum(self.evidence[crossed] - MISS, -free)
        hit, most = (ESTIMATED_HIT, ESTIMATED_MAX) if scan.estimated else (HIT, HIT_MAX)
        self.evidence[hits] = np.maximum(self.evidence[hits], np.minimum(self.evidence[hits] + hit, most))
        if scan.estimated:
            self.evidence[hits & self._disc(pose[:2], 2 * self.robot.radius)] = HIT_MAX  # felt, or all but felt
        self.seen |= crossed | hits
        if scan.estimated and not 0 <= scan.stamp - self._faded < FADE:
            self._faded = scan.stamp
            self.evidence -= self.evidence > 0

    def route(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray | None:
        """Way points [n, 2] in odom from `start` to `goal` (both [2]), None when the robot is walled in.

        A start or goal too near an obstacle is left or reached by the shortest way out of the inflated zone; a goal in an
        obstacle is replaced by the nearest place beside it.  InputError when either is not finite.
        """
        start, goal = (np.asarray(point, np.float64).reshape(-1) for point in (start, goal))
        if start.shape != (2,) or goal.shape != (2,) or not np.isfinite([start, goal]).all():
            raise InputError(f"route from {start.tolist()} to {goal.tolist()}: both must be finite [x, y]")
        self._roll(start)
        goal, clamped = self._clamp(start, goal)
        occupied = self.evidence > 0
        occupied &= ~self._disc(start, 0.7 * self.robot.radius)
        clearance = cv2.distanceTransform((~occupied).astype(np.uint8), cv2.DIST_L2, 5) * self.config.resolution
        cost = self._cost(clearance)
        start_cell, goal_cell = self._cell(start), self._cell(goal)
        self._open(cost, clearance, start_cell, np.isfinite(cost))
        exact = not (occupied[goal_cell] or clamped)
        if not np.isfinite(cost[goal_cell]):
            _, label = cv2.connectedComponents(np.isfinite(cost).astype(np.uint8), connectivity=8)
            reachable = label == label[start_cell]
            if occupied[goal_cell]:
                goal_cell = nearest_open(reachable, goal_cell)
            else:
                self._open(cost, clearance, goal_cell, reachable)
        cells = shortest_path(cost, start_cell, goal_cell)
        if cells is None:
            return None
        points = self._centres(cells)
        points[0] = start
        if exact:
            points[-1] = goal
        return points.astype(np.float32) if len(points) > 1 else np.stack([start, points[-1]]).astype(np.float32)

    # --- the grid ---

    def _cell(self, point: np.ndarray) -> tuple[int, int]:
        column, row = np.floor(point / self.config.resolution).astype(int) - self.origin
        return int(row), int(column)

    def _centres(self, cells: np.ndarray) -> np.ndarray:
        return (cells[:, ::-1] + self.origin + 0.5) * self.config.resolution

    def _roll(self, position: np.ndarray) -> None:
        """Moves the grid when the robot has left its middle half; what rolls out at an edge is forgotten."""
        centred = np.floor(position / self.config.resolution).astype(int) - self._cells // 2
        if self.origin is None:
            self.origin = centred
        shift = centred - self.origin
        if np.abs(shift).max() <= self._cells // 4:
            return
        self.origin = centred
        for name in ("evidence", "seen"):
            old, new = getattr(self, name), np.zeros_like(getattr(self, name))
            column, row = np.clip(shift, -self._cells, self._cells)
            new[_span(-row, self._cells), _span(-column, self._cells)] = old[
                _span(row, self._cells), _span(column, self._cells)
            ]
            setattr(self, name, new)

    def _clamp(self, start: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, bool]:
        """`goal`, moved along the line to `start` until it lies on the grid; and whether it was moved."""
        low = (self.origin + 2) * self.config.resolution
        high = (self.origin + self._cells - 2) * self.config.resolution
        way = goal - start
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(way > 0, (high - start) / way, np.where(way < 0, (low - start) / way, np.inf)).min()
        if share >= 1:
            return goal, False
        if not self._warned:
            logger.warning(
                "goal (%.1f, %.1f) is outside the %.0f m route memory: heading for its edge", *goal, self.config.size
            )
            self._warned = True
        return start + share * way, True

    def _disc(self, position: np.ndarray, radius: float) -> np.ndarray:
        mask = np.zeros((self._cells, self._cells), np.uint8)
        row, column = self._cell(position)
        cv2.circle(mask, (column, row), round(radius / self.config.resolution), 1, -1)
        return mask.astype(bool)

    def _beams(self, scan: Scan, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Masks of the cells that the beams crossed and ended in."""
        resolution = self.config.resolution
        cos, sin = math.cos(pose[2]), math.sin(pose[2])
        ox, oy, oyaw = scan.offset
        lidar = pose[:2] + np.array([cos * ox - sin * oy, sin * ox + cos * oy])
        angles = scan.angles + pose[2] + oyaw
        direction = np.stack([np.cos(angles), np.sin(angles)], -1)
        ranges = np.asarray(scan.ranges, np.float64)
        with np.errstate(invalid="ignore"):
            hit = np.isfinite(ranges) & (ranges >= scan.range_min) & (ranges <= scan.range_max)
        # a beam is not trusted to have cleared the last cell and a half before what it hit
        free = np.where(np.isposinf(ranges), scan.range_max, np.where(hit, ranges - 1.5 * resolution, 0.0))
        steps = np.arange(0.0, scan.range_max, 0.5 * resolution)
        along = steps[None] < free[:, None]
        if scan.estimated:  # a camera does not see what is right beside the robot
            along[:, steps < BLIND] = False
        beam, step = np.nonzero(along)
        crossed = self._mask(lidar + direction[beam] * steps[step][:, None])
        hits = self._mask(lidar + direction[hit] * ranges[hit][:, None])
        return crossed, hits

    def _mask(self, points: np.ndarray) -> np.ndarray:
        mask = np.zeros((self._cells, self._cells), bool)
        cells = np.floor(points / self.config.resolution).astype(int) - self.origin
        cells = cells[((cells >= 0) & (cells < self._cells)).all(-1)]
        mask[cells[:, 1], cells[:, 0]] = True
        return mask

    def _cost(self, clearance: np.ndarray) -> np.ndarray:
        """Cost per metre of each cell (float32), inf where the robot's footprint does not fit."""
        radius = self.robot.radius + self.config.margin
        nearness = np.clip(1 - (clearance - radius) / self.config.near, 0, 1)
        cost = 1 + self.config.near_cost * nearness + self.config.unknown_cost * ~self.seen
        cost[clearance < radius] = np.inf
        cost[[0, -1], :] = np.inf  # a rim, so that the wavefront's neighbours always exist
        cost[:, [0, -1]] = np.inf
        return cost.astype(np.float32)

    def _open(self, cost: np.ndarray, clearance: np.ndarray, cell: tuple[int, int], free: np.ndarray) -> None:
        """Opens, at a high price, the inflated cells between `cell` and the nearest of the `free` ones."""
        if np.isfinite(cost[cell]):
            return
        way_out = nearest_open(free, cell)
        if way_out is None:
            return
        radius = math.dist(cell, way_out) + 1
        row, column = cell
        reach = math.ceil(radius)
        window = tuple(slice(max(1, at - reach), min(self._cells - 1, at + reach + 1)) for at in (row, column))
        rows, columns = np.mgrid[window]
        inside = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        part = cost[window]
        part[inside & ~np.isfinite(part) & (clearance[window] > 0)] = 5 * (1 + self.config.near_cost)
        cost[cell] = 5 * (1 + self.config.near_cost)


def _span(shift: int, cells: int) -> slice:
    return slice(max(0, shift), min(cells, cells + shift))


def nearest_open(allowed: np.ndarray, cell: tuple[int, int]) -> tuple[int, int] | None:
    """The allowed cell nearest to `cell`, None when there is none."""
    rows, columns = np.nonzero(allowed)
    if not len(rows):
        return None
    best = int(np.argmin((rows - cell[0]) ** 2 + (columns - cell[1]) ** 2))
    return int(rows[best]), int(columns[best])


def shortest_path(cost: np.ndarray, start: tuple[int, int], goal: tuple[int, int]) -> np.ndarray | None:
    """Cells [n, 2] (row, column) of the cheapest 8-connected path, None when there is none.

    `cost` [rows, columns] per cell side, inf = closed, with a closed rim.  A step costs its length times the mean of its two
    cells.  The wavefront settles all cells of one ring of cost at once, which is Dijkstra without a heap and vectorizes.
    """
    rows, columns = cost.shape
    _, label = cv2.connectedComponents(np.isfinite(cost).astype(np.uint8), connectivity=8)
    source, target = start[0] * columns + start[1], goal[0] * columns + goal[1]
    label = label.ravel()
    if label[source] == 0 or label[source] != label[target]:
        return None
    price = np.ascontiguousarray(cost, np.float32).ravel()
    reach = _wavefront(price, source, target, columns)
    offsets = _offsets(columns)
    path = [source]
    while path[-1] != target:
        around = path[-1] + offsets
        path.append(int(around[np.argmin(reach[around] + HALF_LENGTH * (price[around] + price[path[-1]]))]))
        if len(path) > price.size:
            return None
    return np.stack(np.unravel_index(np.array(path), (rows, columns)), -1)


def path_costs(cost: np.ndarray, goal: tuple[int, int]) -> np.ndarray:
    """Cost [rows, columns] of the cheapest path from every cell to `goal`, inf where there is none; `cost` as above."""
    columns = cost.shape[1]
    price = np.ascontiguousarray(cost, np.float32).ravel()
    return _wavefront(price, None, goal[0] * columns + goal[1], columns).reshape(cost.shape)


HALF_LENGTH = 0.5 * np.array([1, 1, 1, 1, *[math.sqrt(2)] * 4], np.float32)


def _offsets(columns: int) -> np.ndarray:
    """Index distance of a cell's eight neighbours in a flattened grid, in the order of HALF_LENGTH."""
    return np.array([-columns, columns, -1, 1, -columns - 1, -columns + 1, columns - 1, columns + 1])


def _wavefront(price: np.ndarray, source: int | None, target: int, columns: int) -> np.ndarray:
    """Cost to reach `target` from each cell [rows * columns], inf where not reached; stops once `source` is settled."""
    offsets = _offsets(columns)
    reach = np.full(price.size, np.inf, np.float32)
    reach[target] = 0
    waiting = np.zeros(price.size, bool)
    pending, ring = np.array([target]), 2.0
    level = 0.0
    while pending.size:
        value = reach[pending]
        level = max(level, float(value.min())) + ring
        if source is not None and reach[source] < level - ring:
            break
        now = pending[value <= level]
        around = now[:, None] + offsets
        through = reach[now][:, None] + HALF_LENGTH * (price[around] + price[now][:, None])
        better = through < reach[around]
        around, through = around[better], through[better]
        np.minimum.at(reach, around, through)
        waiting[pending] = value > level
        waiting[around] = True
        pending = np.flatnonzero(waiting)
    return reach


def lookahead(route: np.ndarray, position: np.ndarray, distance: float) -> tuple[np.ndarray, bool]:
    """The point [2] of `route` [n, 2] `distance` metres beyond its point nearest to `position`, and whether it ends there."""
    route = np.asarray(route, np.float64)
    position = np.asarray(position, np.float64)[:2]
    if len(route) == 1:
        return route[0].astype(np.float32), True
    step = np.diff(route, axis=0)
    length = np.hypot(step[:, 0], step[:, 1])
    share = ((position - route[:-1]) * step).sum(-1) / np.maximum(length**2, 1e-12)
    foot = route[:-1] + np.clip(share, 0, 1)[:, None] * step
    nearest = int(np.argmin(((foot - position) ** 2).sum(-1)))
    travelled = np.concatenate([[0.0], np.cumsum(length)])
    wanted = travelled[nearest] + np.clip(share[nearest], 0, 1) * length[nearest] + distance
    if wanted >= travelled[-1]:
        return route[-1].astype(np.float32), True
    point = [np.interp(wanted, travelled, route[:, axis]) for axis in (0, 1)]
    return np.array(point, np.float32), False
