"""Two rooms with a door between them: the goal is always in the other room, so a straight line never leads there but by luck.

`two_room`: one wall and door.  `two_room_random`: wall and door anywhere, tests on layouts never seen; after the two-room task
of eb_jepa (github.com/facebookresearch/eb_jepa), which goes back to Sobal et al., "Learning from Reward-Free Offline Data: A
Case for Planning with Latent Dynamics Models" (2025).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from objective_agent.simulation.benchmarks import grid
from objective_agent.simulation.benchmarks.grid import Layout
from objective_agent.simulation.benchmarks.grid_world import GridBenchmark


class TwoRooms(GridBenchmark):
    """A wall across the square with one door; start and goal in opposite rooms."""

    half_wall: ClassVar[float] = 0.02
    half_door: ClassVar[float] = 0.085
    pairs: ClassVar[str] = "start and goal in opposite rooms, drawn evenly"

    def rooms(self, x: float, door: float) -> Layout:
        occupied = grid.bounded()
        grid.add_wall(occupied, x, door, self.half_wall, self.half_door)
        return Layout(occupied, x=x, door=door)

    def wanted(self, layout: Layout, start: np.ndarray, goal: np.ndarray) -> bool:
        """Both beside the wall and its door, on different sides."""
        beside = np.array((start[0], goal[0])) - layout.facts["x"]
        return bool((np.abs(beside) > self.half_wall + grid.RADIUS).all() and beside[0] * beside[1] < 0)

    def is_detour(self, layout: int, start: np.ndarray, goal: np.ndarray, length: float) -> bool:
        """The goal is in the other room."""
        x = self.layout(layout).facts["x"]
        return bool((start[0] - x) * (goal[0] - x) < 0)

    def draw_push(self, layout, random, blocked):
        x, door = layout.facts["x"], layout.facts["door"]
        side = float(random.choice((-1.0, 1.0)))
        y = random.uniform(0.08, 0.92) if blocked else door + random.uniform(-0.04, 0.04)
        start = np.array((x + side * random.uniform(0.12, 0.25), y))
        return start, np.array((-side, 0.0)), lambda state: bool((state[0] - x) * side < 0)


class TwoRoom(TwoRooms):
    """One layout: the wall in the middle, the door in the upper half."""

    task = "two_room"

    def draw_layout(self, random: np.random.Generator) -> Layout:
        return self.rooms(0.5, 0.3)


class TwoRoomRandom(TwoRooms):
    """Wall and door drawn per layout."""

    task = "two_room_random"
    fixed = False
    bounce = 0.25

    def draw_layout(self, random: np.random.Generator) -> Layout:
        return self.rooms(random.uniform(0.35, 0.65), random.uniform(0.18, 0.82))
