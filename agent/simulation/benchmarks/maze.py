"""Mazes of 4 x 4 cells: spanning trees of the grid of cells, so that between any two places there is one way and most need
turns.

`maze`: one fixed maze, tests on start and goal.  `maze_random`: a maze per layout, tests on mazes never seen.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from objective_agent.simulation.benchmarks import grid
from objective_agent.simulation.benchmarks.base import Pair
from objective_agent.simulation.benchmarks.grid import CENTRES, Layout
from objective_agent.simulation.benchmarks.grid_world import GridBenchmark

CELLS_A_SIDE = 4
HALF_WALL = 0.018
TRIES = 200
NEIGHBOURS = ((1, 0), (-1, 0), (0, 1), (0, -1))


class MazeRandom(GridBenchmark):
    """A maze drawn per layout, evenly from the 100,352 there are.

    A depth-first walk from a corner, the usual way to draw mazes, yields only 322 different ones of this size.
    """

    task = "maze_random"
    fixed = False
    bounce = 0.25
    pairs: ClassVar[str] = "start and goal drawn evenly until, by the toss of a coin, they make a detour or don't"

    def draw_layout(self, random: np.random.Generator) -> Layout:
        openings = spanning_tree(CELLS_A_SIDE, random)
        return Layout(draw_maze(CELLS_A_SIDE, openings), openings=openings)

    def draw_pair(self, layout: int, random: np.random.Generator) -> Pair:
        """Half of the pairs are detours, as far as the maze has any."""
        detour = random.random() < 0.5
        for _ in range(TRIES):
            pair = super().draw_pair(layout, random)
            if pair.detour == detour:
                break
        return pair

    def draw_push(self, layout, random, blocked):
        """From a cell at one of its four sides: a wall (`blocked`) or an opening."""
        cell = random.integers(CELLS_A_SIDE, size=2)  # column, row
        way = np.array(NEIGHBOURS[random.integers(4)])
        other = cell + way
        inside = bool(((other >= 0) & (other < CELLS_A_SIDE)).all())
        if not inside or (frozenset((tuple(cell), tuple(other))) in layout.facts["openings"]) == blocked:
            return None
        side = 1 / CELLS_A_SIDE
        axis = int(np.argmax(np.abs(way)))
        line = max(cell[axis], other[axis]) * side  # the wall or opening between the two cells
        start = (cell + 0.5) * side
        start[axis] = line - way[axis] * random.uniform(0.08, 0.16)
        start[1 - axis] += random.uniform(-0.05, 0.05)
        toward = float(way[axis])
        return start, way.astype(float), lambda state: bool((state[axis] - line) * toward > 0)


class Maze(MazeRandom):
    """The fixed maze."""

    task = "maze"
    fixed = True
    bounce = 1.0


def spanning_tree(side: int, random: np.random.Generator) -> frozenset[frozenset[tuple[int, int]]]:
    """The openings between cells (column, row), each a set of the two: a tree over all cells, all trees equally likely.

    From each cell that isn't in the tree yet a random walk goes to the tree, its loops erased (Wilson, "Generating random
    spanning trees more quickly than the cover time", 1996).
    """
    cells = [(column, row) for column in range(side) for row in range(side)]
    inside, openings = {cells[random.integers(len(cells))]}, set()
    for first in cells:
        onward: dict[tuple[int, int], tuple[int, int]] = {}  # the last way out of a cell: keeping only it erases the loops
        here = first
        while here not in inside:
            ahead = [(here[0] + right, here[1] + down) for right, down in NEIGHBOURS]
            ahead = [cell for cell in ahead if min(cell) >= 0 and max(cell) < side]
            onward[here] = ahead[random.integers(len(ahead))]
            here = onward[here]
        here = first
        while here not in inside:
            inside.add(here)
            openings.add(frozenset((here, onward[here])))
            here = onward[here]
    return frozenset(openings)


def draw_maze(side: int, openings) -> np.ndarray:
    """What is wall, bool [G, G]: the outer walls, and one between any two neighbouring cells without an opening."""
    occupied = grid.bounded()
    for one in range(1, side):
        across = np.abs(CENTRES - one / side) < HALF_WALL
        for two in range(side):
            along = np.abs(CENTRES - (two + 0.5) / side) <= 0.5 / side + HALF_WALL
            if frozenset(((one - 1, two), (one, two))) not in openings:
                occupied[np.ix_(along, across)] = True
            if frozenset(((two, one - 1), (two, one))) not in openings:
                occupied[np.ix_(across, along)] = True
    return occupied
