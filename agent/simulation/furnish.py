"""Furniture for generated apartments, put only where a way through every room and doorway stays open.

Each piece has a footprint of boxes and discs.  A map of the clearance to all footprints so far is kept; a piece that would cut
a room or a doorway off, or crowd a room, is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from objective_agent.simulation.layout import HALF_WALL, Door, Layout, Room

RESOLUTION = 0.05
PASSAGE = 0.26  # half the width of every way that is kept open, m: robot radius 0.18 and room to steer
OPEN_SHARE = 0.35  # of each room's area stays within reach
LEG = 0.03
KINDS = {"cabinet": 0.26, "sofa": 0.14, "box": 0.12, "turned": 0.14, "pillar": 0.08, "stool": 0.1, "table": 0.16}


@dataclass(frozen=True)
class Part:
    """A primitive: `kind` box or cylinder, centre [3], half sizes (box: x, y, z; cylinder: radius, -, half height), yaw."""

    kind: str
    x: float
    y: float
    z: float
    hx: float
    hy: float
    hz: float
    yaw: float = 0.0

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Signed distance from points to the footprint."""
        dx, dy = x - self.x, y - self.y
        if self.kind == "cylinder":
            return np.hypot(dx, dy) - self.hx
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        ex, ey = np.abs(cos * dx + sin * dy) - self.hx, np.abs(cos * dy - sin * dx) - self.hy
        return np.hypot(np.maximum(ex, 0), np.maximum(ey, 0)) + np.minimum(np.maximum(ex, ey), 0)


@dataclass(frozen=True)
class Piece:
    """A piece of furniture: its kind (which gives its colour) and its parts."""

    kind: str
    parts: tuple[Part, ...]


class FloorMap:
    """The clearance [h, w] of a floor plan's cells to walls and furniture, and what of it the robot can reach."""

    def __init__(self, layout: Layout):
        self.layout = layout
        columns, rows = math.ceil(layout.width / RESOLUTION), math.ceil(layout.height / RESOLUTION)
        self.x, self.y = np.meshgrid((np.arange(columns) + 0.5) * RESOLUTION, (np.arange(rows) + 0.5) * RESOLUTION)
        self.clearance = np.full(self.x.shape, np.inf)
        for cx, cy, hx, hy in layout.walls:
            self.clearance = np.minimum(self.clearance, Part("box", cx, cy, 1, hx, hy, 1).distance(self.x, self.y))

    def cell(self, x: float, y: float) -> tuple[int, int]:
        rows, columns = self.x.shape
        return min(max(int(y / RESOLUTION), 0), rows - 1), min(max(int(x / RESOLUTION), 0), columns - 1)

    def inside(self, room: Room) -> np.ndarray:
        return (self.x > room.x0) & (self.x < room.x1) & (self.y > room.y0) & (self.y < room.y1)

    def reachable(self, clearance: np.ndarray) -> np.ndarray | None:
        """The one region that joins all rooms and doorways, or None when there is none or it is too small somewhere."""
        labels = cv2.connectedComponents((clearance > PASSAGE).astype(np.uint8), connectivity=4)[1]
        if self.layout.doors:
            numbers = {int(labels[self.cell(door.x, door.y)]) for door in self.layout.doors}
            if len(numbers) > 1 or 0 in numbers:
                return None
            number = numbers.pop()
        else:
            number = 1 + int(np.argmax(np.bincount(labels.ravel())[1:])) if labels.any() else 0
        region = labels == number
        enough = all(region[self.inside(room)].sum() * RESOLUTION**2 >= OPEN_SHARE * room.area for room in self.layout.rooms)
        return region if number and enough else None

    def add(self, piece: Piece) -> bool:
        """Takes the piece in if the apartment stays passable."""
        clearance = self.clearance
        for part in piece.parts:
            if part.z - part.hz < 0.5:
                clearance = np.minimum(clearance, part.distance(self.x, self.y))
        if self.reachable(clearance) is None:
            return False
        self.clearance = clearance
        return True


def draw_piece(rng: np.random.Generator, room: Room) -> Piece:
    """A random piece of furniture somewhere in `room`; it may not fit."""
    kind = rng.choice(
        ["cabinet", "sofa", "box", "turned", "pillar", "stool", "table"], p=[0.26, 0.14, 0.12, 0.14, 0.08, 0.1, 0.16]
    )
    low, high = np.array([room.x0, room.y0]) + HALF_WALL, np.array([room.x1, room.y1]) - HALF_WALL
    if kind in ("cabinet", "sofa"):
        half = np.array([rng.uniform(0.3, 0.9), rng.uniform(0.18, 0.3) if kind == "cabinet" else rng.uniform(0.35, 0.45)])
        height = rng.uniform(0.7, 2.0) if kind == "cabinet" else rng.uniform(0.5, 0.8)
        side = int(rng.integers(4))
        half = half if side < 2 else half[::-1]
        x, y = rng.uniform(low + half, np.maximum(low + half + 0.01, high - half))
        x, y = [(x, low[1] + half[1]), (x, high[1] - half[1]), (low[0] + half[0], y), (high[0] - half[0], y)][side]
        return Piece(kind, (Part("box", x, y, height / 2, half[0], half[1], height / 2),))
    x, y = rng.uniform(low + 0.3, high - 0.3)
    yaw = rng.uniform(0, math.pi) if kind in ("turned", "table") and rng.random() < 0.8 else 0.0
    if kind in ("box", "turned"):
        hx, hy, hz = rng.uniform(0.15, 0.5), rng.uniform(0.15, 0.5), rng.uniform(0.2, 0.6)
        return Piece(kind, (Part("box", x, y, hz, hx, hy, hz, yaw),))
    if kind in ("pillar", "stool"):
        radius, hz = (rng.uniform(0.1, 0.25), 1.25) if kind == "pillar" else (rng.uniform(0.14, 0.22), rng.uniform(0.2, 0.3))
        return Piece(kind, (Part("cylinder", x, y, hz, radius, radius, hz),))
    return draw_table(rng, x, y, yaw)


def draw_table(rng: np.random.Generator, x: float, y: float, yaw: float) -> Piece:
    """A top, out of the robot's reach, on four thin legs."""
    hx, hy, cos, sin = rng.uniform(0.4, 0.8), rng.uniform(0.35, 0.5), math.cos(yaw), math.sin(yaw)
    top = Part("box", x, y, 0.73, hx, hy, 0.02, yaw)
    corners = [(sx * (hx - 0.05), sy * (hy - 0.05)) for sx in (-1, 1) for sy in (-1, 1)]
    legs = [Part("cylinder", x + cos * a - sin * b, y + sin * a + cos * b, 0.355, LEG, LEG, 0.355) for a, b in corners]
    return Piece("table", (top, *legs))


def clear_of(piece: Piece, room: Room, doors: tuple[Door, ...]) -> bool:
    """Whether the piece lies inside its room and out of the way of every doorway."""
    for part in piece.parts:
        reach = max(part.hx, part.hy)
        if part.kind == "box" and part.yaw:
            reach = math.hypot(part.hx, part.hy)
        fits_x = part.x - (reach if part.yaw else part.hx) > room.x0 + HALF_WALL - 1e-6
        fits_x &= part.x + (reach if part.yaw else part.hx) < room.x1 - HALF_WALL + 1e-6
        fits_y = part.y - (reach if part.yaw else part.hy) > room.y0 + HALF_WALL - 1e-6
        fits_y &= part.y + (reach if part.yaw else part.hy) < room.y1 - HALF_WALL + 1e-6
        if not (fits_x and fits_y):
            return False
        if any(float(part.distance(np.float64(door.x), np.float64(door.y))) < door.width / 2 + 0.3 for door in doors):
            return False
    return True


def apart(piece: Piece, others: list[Piece]) -> bool:
    """Whether no part's middle lies in or close to another piece."""
    middles = np.array([(part.x, part.y) for part in piece.parts])
    return all((part.distance(*middles.T) > 0.15).all() for other in others for part in other.parts)


def furnish(rng: np.random.Generator, layout: Layout) -> tuple[list[Piece], FloorMap]:
    """Pieces for every room, and the floor map that has them in."""
    floor, pieces = FloorMap(layout), []
    for room in layout.rooms:
        for _ in range(round(room.area * rng.uniform(0.3, 0.7))):
            piece = draw_piece(rng, room)
            if apart(piece, pieces) and clear_of(piece, room, layout.doors) and floor.add(piece):
                pieces.append(piece)
    return pieces, floor
