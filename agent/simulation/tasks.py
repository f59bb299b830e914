"""Tasks: which episodes an evaluation consists of.  Start/goal pairs are deterministic in (seed, episode index), nothing else.

`apartment`: generated test apartments (seeds no training uses).  The robot fits at start and goal with room to spare, the way
is 1.5-5 m long, and in every second episode at least the straight line is blocked for its footprint: by furniture, or by a wall
with a doorway elsewhere.  `apartment_camera`, `apartment_people`, `apartment_slip`: the same under other conditions
(`conditions.py`).  `world`: the start and goal sites of a world file, all pairs, in an order drawn with the seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.memory.route import path_costs
from objective_agent.simulation.conditions import CONDITIONS, Condition, condition, people_apart, with_walkers
from objective_agent.simulation.generator import TEST_SEEDS, generate_apartment
from objective_agent.simulation.occupancy import Occupancy, occupancy
from objective_agent.simulation.slip import NONE, Slip, draw_slip
from objective_agent.simulation.world import World
from objective_agent.types import InputError

SUCCESS_RADIUS = 0.30
"""True distance from the goal at which an episode is a success, m."""

TIME_LIMIT = 60.0
"""Simulated seconds an episode may take."""

PATH_LENGTH = (1.5, 5.0)
START_MARGIN, GOAL_MARGIN, PATH_MARGIN, LINE_MARGIN = 0.12, 0.15, 0.05, 0.02
"""Room beside the footprint: at the start, at the goal, on the way that must exist, on a straight line that counts as free."""

ATTEMPTS = 30


@dataclass(frozen=True)
class Episode:
    """One start/goal pair: `start` (x, y, yaw), `goal` (x, y) in `world`; `path_length` m; `blocked`: no straight way.

    `seed` makes the sensors' noise and the agent's search; `already_solved` counts the pairs drawn before this one and left
    out because the robot would have stood at its goal.  `slip` is hidden: the simulation's to know, no controller's.
    """

    index: int
    world: World
    start: tuple[float, float, float]
    goal: tuple[float, float]
    path_length: float
    blocked: bool
    seed: int
    already_solved: int = 0
    condition: Condition = CONDITIONS["apartment"]
    slip: Slip = NONE
    radius: float = SUCCESS_RADIUS
    heading: float | None = None
    """Of a goal image: where it looks."""
    image: np.ndarray | None = None
    """The goal as a picture [h, w, 3]; the controller is then told nothing else."""
    decoy: np.ndarray | None = None
    """A picture of somewhere else."""


class ApartmentTask:
    """Episodes in generated test apartments, one apartment each, under a condition."""

    pairs = None

    def __init__(
        self, seed: int, robot: RobotParameters, condition: Condition = CONDITIONS["apartment"], numbers: range = TEST_SEEDS
    ):
        """`numbers`: seeds of the apartments that episodes are drawn from."""
        self.seed, self.robot, self.condition, self.name, self.numbers = seed, robot, condition, condition.name, numbers

    def episode(self, index: int) -> Episode:
        """The episode number `index`, the same on every call."""
        random = np.random.default_rng([self.seed, index])
        skipped = 0
        for _ in range(ATTEMPTS):
            number = self.numbers[int(random.integers(len(self.numbers)))]
            world = generate_apartment(number)
            found, solved = draw_pair(world, self.robot, random, blocked=bool(index % 2))
            skipped += solved
            if found is None:
                continue
            start, goal, length, blocked = found
            seed = int(random.integers(2**31))
            episode = Episode(index, world, start, goal, length, blocked, seed, skipped, self.condition)
            made = under(episode, number, self.robot, np.random.default_rng([self.seed, index, 1]))
            if made is not None:
                return made
        raise InputError(
            f"task {self.name}, seed {self.seed}, episode {index}: a robot of radius {self.robot.radius:g} m fits nowhere"
        )


class WorldTask:
    """Episodes between the sites of a world: every pair of a start and a goal, then round again with other noise."""

    name = "world"

    def __init__(self, seed: int, robot: RobotParameters, world: World):
        if not len(world.goals):
            raise InputError(f'world {world.name}: has no goal; add <site name="goal" pos="x y 0"/>')
        self.seed, self.robot, self.world = seed, robot, world
        pairs = [(start, goal) for start in world.starts for goal in world.goals]
        far = [math.dist(start[:2], goal[:2]) > SUCCESS_RADIUS for start, goal in pairs]
        self.pairs = [pair for pair, keep in zip(pairs, far, strict=True) if keep]
        self.already_solved = len(pairs) - len(self.pairs)
        if not self.pairs:
            raise InputError(
                f"world {world.name}: every goal lies within {SUCCESS_RADIUS} m of every start; move the sites apart"
            )
        self._map = ClearanceMap(occupancy(world), robot.radius)

    def episode(self, index: int) -> Episode:
        """The episode number `index`, the same on every call."""
        cycle, place = divmod(index, len(self.pairs))
        order = np.random.default_rng([self.seed, 1, cycle]).permutation(len(self.pairs))
        start, goal = self.pairs[order[place]]
        seed = int(np.random.default_rng([self.seed, 2, index]).integers(2**31))
        start, goal = tuple(map(float, start)), tuple(map(float, goal[:2]))
        length = self._map.path_length(start, goal)
        solved = self.already_solved if index == 0 else 0
        return Episode(index, self.world, start, goal, length, self._map.line_blocked(start, goal), seed, solved)


class ClearanceMap:
    """What task making asks of an occupancy grid, for a body of `radius`."""

    def __init__(self, grid: Occupancy, radius: float):
        self.grid, self.radius = grid, radius
        self.clearance = grid.clearance()
        self._cost = np.where(self.clearance >= radius + PATH_MARGIN, 1.0, np.inf).astype(np.float32)
        self._cost[[0, -1]] = np.inf
        self._cost[:, [0, -1]] = np.inf
        self.lengths_from = lru_cache(maxsize=8)(self._lengths_from)

    def _lengths_from(self, cell: tuple[int, int]) -> np.ndarray:
        """[h, w] metres of the shortest way from `cell` along an 8-connected grid, inf where there is none."""
        cost = self._cost.copy()
        if not (0 < cell[0] < cost.shape[0] - 1 and 0 < cell[1] < cost.shape[1] - 1):
            return np.full(cost.shape, np.inf)
        cost[cell] = 1.0
        return path_costs(cost, cell) * self.grid.resolution

    def path_length(self, start, goal) -> float:
        """Metres from `start` to `goal`, or to the nearest place beside one too close to a wall; inf without a way."""
        lengths = self.lengths_from(self.grid.cell(*start[:2]))
        row, column = self.grid.cell(*goal[:2])
        reach = 4
        rows, columns = slice(max(0, row - reach), row + reach + 1), slice(max(0, column - reach), column + reach + 1)
        near = lengths[rows, columns]
        i, j = np.mgrid[rows, columns]
        total = near + np.hypot(i[: near.shape[0]] - row, j[:, : near.shape[1]] - column) * self.grid.resolution
        return float(total.min())

    def line_blocked(self, start, goal) -> bool:
        """Whether the footprint would touch something on the straight line."""
        steps = np.linspace(0, 1, 2 + int(math.dist(start[:2], goal[:2]) / (0.5 * self.grid.resolution)))
        line = np.asarray(start[:2]) + steps[:, None] * (np.asarray(goal[:2]) - np.asarray(start[:2]))
        cells = [self.grid.cell(x, y) for x, y in line]
        return bool(min(self.clearance[cell] for cell in cells) < self.radius + LINE_MARGIN)


def draw_pair(world: World, robot: RobotParameters, random: np.random.Generator, blocked: bool):
    """((start, goal, path length, line blocked) or None, already solved pairs drawn); `blocked` demands a blocked line."""
    places = ClearanceMap(occupancy(world), robot.radius)
    starts = np.argwhere(places.clearance >= robot.radius + START_MARGIN)
    goal_fits = places.clearance >= robot.radius + GOAL_MARGIN
    solved = 0
    if not len(starts) or not goal_fits.any():
        return None, solved
    for _ in range(ATTEMPTS):
        cell = tuple(int(value) for value in starts[random.integers(len(starts))])
        yaw = float(random.uniform(-math.pi, math.pi))
        lengths = places.lengths_from(cell)
        goals = np.argwhere(goal_fits & np.isfinite(lengths))
        for row, column in random.permutation(goals)[:ATTEMPTS]:
            start, goal = places.grid.centre(*cell), places.grid.centre(int(row), int(column))
            if math.dist(start, goal) <= SUCCESS_RADIUS:
                solved += 1
                continue
            length = float(lengths[row, column])
            if not PATH_LENGTH[0] <= length <= PATH_LENGTH[1]:
                continue
            is_blocked = places.line_blocked(start, goal)
            if is_blocked or not blocked:
                return ((*start, yaw), goal, length, is_blocked), solved
    return None, solved


def make_task(name: str, seed: int, robot: RobotParameters, world: World | None = None) -> ApartmentTask | WorldTask:
    """The task called `name` (a condition's, or `apartment_goal_image`), or the task of `world` when one is given."""
    if world is not None:
        return WorldTask(seed, robot, world)
    if name == "apartment_goal_image":
        from objective_agent.simulation.goal_images import GoalImageTask

        return GoalImageTask(seed, robot)
    return ApartmentTask(seed, robot, condition(name))


def under(episode: Episode, number: int, robot: RobotParameters, random: np.random.Generator) -> Episode | None:
    """`episode` (in apartment `number`) with what its condition brings; None when its people find no room."""
    slip = draw_slip(random, robot.actuator_delay) if episode.condition.slip else NONE
    if not episode.condition.people:
        return replace(episode, slip=slip)
    try:
        world = generate_apartment(number, people=episode.condition.people)
    except InputError:
        return None
    world = with_walkers(world, occupancy(world), episode.start, episode.goal, random)
    if world is None or not people_apart(world.people):
        return None
    return replace(episode, world=world, slip=slip)
