"""A thick wall with one narrow door, after the Wall and WallRandom tasks of DINO-WM (Zhou et al., arXiv 2411.04983).

There: a dot on 65 x 65 pixels, a wall of 6 pixels with a door of 8, start and goal drawn in opposite rooms, five moves of the
dot per step of the model, success within 4.5 pixels (.07 of the width), replanning without a budget; the published Wall has one
layout, its WallRandom many.  Here: the same proportions for a robot that has a radius (the door is as wide for its centre), a
tolerance of .06 and a budget of 4 times the shortest way.
"""

from __future__ import annotations

import numpy as np

from objective_agent.simulation.benchmarks import grid
from objective_agent.simulation.benchmarks.grid import Layout
from objective_agent.simulation.benchmarks.two_room import TwoRooms

PIXELS = 65  # of the original's width
HALF_WALL = 3 / PIXELS
HALF_DOOR = 4 / PIXELS + grid.RADIUS
WALL_RANGE = (20 / PIXELS, 45 / PIXELS)
DOOR_RANGE = (10 / PIXELS, 55 / PIXELS)


class Wall(TwoRooms):
    """One layout: the wall in the middle, the door near the top, out of the way of robots that slide along the wall."""

    task = "wall"
    budget_steps = None
    half_wall = HALF_WALL
    half_door = HALF_DOOR

    def draw_layout(self, random: np.random.Generator) -> Layout:
        return self.rooms(32 / PIXELS, 10 / PIXELS)


class WallRandom(Wall):
    """Wall and door drawn per layout, from the original's ranges; tests on layouts never seen."""

    task = "wall_random"
    fixed = False
    bounce = 0.25

    def draw_layout(self, random: np.random.Generator) -> Layout:
        return self.rooms(random.uniform(*WALL_RANGE), random.uniform(*DOOR_RANGE))
