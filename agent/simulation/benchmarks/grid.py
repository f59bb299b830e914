"""Layouts drawn on a 128 x 128 grid of the unit square: what is wall, where a robot fits, the picture, the shortest ways.

The picture is the same for everyone who stands in the same layout, but for the robot: so it is drawn once, and a frame is that
picture with a small patch blended over it.
"""

from __future__ import annotations

import math
import zlib
from functools import cached_property
from typing import Any

import cv2
import numpy as np

from objective_agent.simulation.benchmarks.ways import Ways

CELLS = 128
PIXELS = 64
RADIUS = 0.03
BORDER = 3  # cells of outer wall
WALL, FLOOR, ROBOT = (70, 90, 160), (235, 232, 225), (220, 40, 40)
PATCH = 9  # pixels; the robot's disc with its soft edge fits in
HELD_OUT = 8  # one layout in so many is a test layout

CENTRES = (np.arange(CELLS) + 0.5) / CELLS
_reach = math.ceil(RADIUS * CELLS + 0.5)
_span = np.arange(-_reach, _reach + 1)
_DISC = (_span[:, None] ** 2 + _span**2 <= (RADIUS * CELLS + 0.5) ** 2).astype(np.uint8)


class Layout:
    """A layout: `occupied` bool [G, G] (row = y, column = x), and `facts` about it (such as the door's place)."""

    def __init__(self, occupied: np.ndarray, **facts: Any):
        self.occupied, self.facts = occupied, facts
        self.blocked = cv2.dilate(occupied.astype(np.uint8), _DISC) > 0
        self.blocked_cells = self.blocked.tobytes()  # bytes: the fastest look-up for one robot

    @property
    def held_out(self) -> bool:
        """Whether the layout's own content puts it among the tests; so no layout is on both sides, whatever its number."""
        return zlib.crc32(np.packbits(self.occupied).tobytes()) % HELD_OUT == 0

    @cached_property
    def ways(self) -> Ways:
        return Ways(self.blocked)

    @cached_property
    def picture(self) -> np.ndarray:
        """The layout without a robot, uint8 [64, 64, 3]."""
        side = CELLS // PIXELS
        share = self.occupied.reshape(PIXELS, side, PIXELS, side).mean((1, 3), dtype=np.float32)[..., None]
        return (share * np.float32(WALL) + (1 - share) * np.float32(FLOOR)).astype(np.uint8)

    def free(self, points: np.ndarray) -> np.ndarray:
        """Whether a robot's centre can be at each point [..., 2]."""
        cells = np.clip((np.asarray(points) * CELLS).astype(int), 0, CELLS - 1)
        return ~self.blocked[cells[..., 1], cells[..., 0]]

    def draw_free(self, random: np.random.Generator) -> np.ndarray:
        """A free point [2], drawn evenly."""
        while True:
            point = random.uniform(0.05, 0.95, 2)
            if self.free(point):
                return point


def bounded() -> np.ndarray:
    """An empty square with its outer wall, bool [G, G]."""
    occupied = np.ones((CELLS, CELLS), bool)
    occupied[BORDER:-BORDER, BORDER:-BORDER] = False
    return occupied


def add_wall(occupied: np.ndarray, x: float, door: float, half_width: float, half_door: float) -> None:
    """Draws a wall from top to bottom at `x` with a door whose middle is at `door`, in place."""
    columns = np.abs(CENTRES - x) < half_width
    rows = np.abs(CENTRES - door) > half_door
    occupied[np.ix_(rows, columns)] = True


def draw_robots(images: np.ndarray, points: np.ndarray, colour=ROBOT) -> np.ndarray:
    """Draws a disc at each point [n, 2] into images uint8 [n, 64, 64, 3], in place; only a patch of each is touched."""
    centre = points * PIXELS - 0.5
    corner = np.clip(np.rint(centre).astype(int) - PATCH // 2, 0, PIXELS - PATCH)
    columns, rows = corner[:, 0, None] + np.arange(PATCH), corner[:, 1, None] + np.arange(PATCH)
    apart = np.hypot((rows - centre[:, 1, None])[:, :, None], (columns - centre[:, 0, None])[:, None, :])
    share = np.clip(RADIUS * PIXELS + 0.7 - apart, 0, 1).astype(np.float32)[..., None]
    patch = (np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :])
    images[patch] = (images[patch] * (1 - share) + share * np.float32(colour)).astype(np.uint8)
    return images
