"""Task `apartment_goal_image`: be where this picture was taken.

In an unseen apartment (lidar, camera and odometry; nothing moves) the goal is the camera's picture from the goal pose, and
nothing else: no position, no heading, no map.  Start and goal are 1-3 m apart in what amounts to one room (the way is at most
1.25 times the straight line).  The robot begins turned to within 60 degrees of the goal's direction, the picture was taken
looking within 60 degrees of the same direction with at least 0.8 m of free floor ahead, so that some of what it shows can be in
view and some is not.

An episode ends when the controller says that it is there (the baselines: never), or after 30 simulated seconds.  Success: the
true position is then within 0.5 m of the goal.  Beside it stand whether the robot ever came that near (`passed`: a random walk
does so now and then) and whether it also looks to within 30 degrees of the picture's direction (`facing`).

Rows of the agent with one thing changed: `l2` has the distance in representation space alone, `value` the learned quasimetric
alone, `shuffled_goal` gets the picture of another apartment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.results.statistics import wilson
from objective_agent.simulation.conditions import CONDITIONS
from objective_agent.simulation.generator import TEST_SEEDS, generate_apartment
from objective_agent.simulation.occupancy import occupancy
from objective_agent.simulation.simulation import RobotSimulation
from objective_agent.simulation.tasks import (
    ATTEMPTS,
    GOAL_MARGIN,
    START_MARGIN,
    ClearanceMap,
    Episode,
)
from objective_agent.simulation.world import World
from objective_agent.types import Image, InputError, wrap_angle

NAME = "apartment_goal_image"
RADIUS, FACING, LIMIT = 0.5, math.radians(30), 30.0
"""Success radius (m), what counts as facing the picture's way (rad), and the time an episode may take (s)."""

APART, WAY = (1.0, 3.0), 1.25
"""Distance of start and goal, m, and how much longer than that the way may be."""

TURNED, FREE = math.radians(60), 0.8
"""Start and picture look this near to the goal's direction (rad), the picture over this much free floor (m)."""


class GoalImageTask:
    """Episodes whose goal is a picture, one generated test apartment each."""

    pairs, name = None, NAME

    def __init__(self, seed: int, robot: RobotParameters):
        self.seed, self.robot = seed, robot

    def episode(self, index: int) -> Episode:
        """The episode number `index` with its picture and another apartment's (`decoy`), the same on every call."""
        episode = self._draw(index)
        other = self._draw(index + 1_000_000)
        return replace(episode, image=self._picture(episode), decoy=self._picture(other))

    def _draw(self, index: int) -> Episode:
        random = np.random.default_rng([self.seed, index, 5])
        for _ in range(ATTEMPTS):
            world = generate_apartment(TEST_SEEDS[int(random.integers(len(TEST_SEEDS)))])
            found = draw_pair(world, self.robot, random)
            if found is not None:
                start, goal, heading, length, blocked = found
                seed = int(random.integers(2**31))
                condition = replace(CONDITIONS["apartment"], name=NAME)
                return Episode(index, world, start, goal, length, blocked, seed, 0, condition, heading=heading, radius=RADIUS)
        raise InputError(
            f"task {NAME}, seed {self.seed}, episode {index}: a robot of radius {self.robot.radius:g} m fits nowhere"
        )

    def _picture(self, episode: Episode) -> np.ndarray:
        """The camera's frame [h, w, 3] from the goal pose."""
        simulation = RobotSimulation(episode.world, self.robot, seed=episode.seed + 1)
        simulation.reset(start=(*episode.goal, episode.heading))
        while True:
            for reading in simulation.advance(0.05):
                if isinstance(reading, Image):
                    return reading.rgb


def draw_pair(world: World, robot: RobotParameters, random: np.random.Generator):
    """(start pose, goal, heading at the goal, length of the way, whether the straight line is blocked), or None."""
    places = ClearanceMap(occupancy(world), robot.radius)
    starts = np.argwhere(places.clearance >= robot.radius + START_MARGIN)
    goal_fits = places.clearance >= robot.radius + GOAL_MARGIN
    if not len(starts) or not goal_fits.any():
        return None
    for _ in range(ATTEMPTS):
        cell = tuple(int(value) for value in starts[random.integers(len(starts))])
        lengths = places.lengths_from(cell)
        goals = np.argwhere(goal_fits & np.isfinite(lengths))
        for row, column in random.permutation(goals)[:ATTEMPTS]:
            start, goal = places.grid.centre(*cell), places.grid.centre(int(row), int(column))
            straight, length = math.dist(start, goal), float(lengths[row, column])
            if not APART[0] <= straight <= APART[1] or length > WAY * straight:
                continue
            bearing = math.atan2(goal[1] - start[1], goal[0] - start[0])
            yaw, heading = (float(wrap_angle(bearing + random.uniform(-TURNED, TURNED))) for _ in range(2))
            view = (goal[0] + FREE * math.cos(heading), goal[1] + FREE * math.sin(heading))
            if free_floor(places, goal, view):
                return (*start, yaw), goal, heading, length, places.line_blocked(start, goal)
    return None


def free_floor(places: ClearanceMap, start, end) -> bool:
    """Whether nothing stands on the straight line from `start` to `end`."""
    steps = np.linspace(0, 1, 2 + int(math.dist(start, end) / (0.5 * places.grid.resolution)))
    cells = [places.grid.cell(*(np.asarray(start) + share * (np.asarray(end) - np.asarray(start)))) for share in steps]
    rows, columns = places.clearance.shape
    inside = [cell for cell in cells if 0 <= cell[0] < rows and 0 <= cell[1] < columns]
    return len(inside) == len(cells) and min(places.clearance[cell] for cell in cells) > 0.05


def notes(episode: Episode, track: Sequence[Sequence[float]]) -> dict:
    """What a record says beside success: `passed` the goal, `facing` the picture's way at the end, heading error in degrees."""
    path = np.asarray(track, float)
    nearest = float(np.hypot(*(path[:, :2] - np.asarray(episode.goal)).T).min())
    error = abs(float(wrap_angle(float(path[-1, 2]) - episode.heading)))
    return {
        "passed": nearest <= episode.radius,
        "nearest": round(nearest, 3),
        "heading_error_deg": round(math.degrees(error), 1),
        "facing": error <= FACING,
    }


def summarize(records: Sequence[dict], names: Sequence[str]) -> dict:
    """Per row: success, passed, success and facing, and said that it was there (share of episodes, Wilson's interval)."""

    def share(values: Sequence[bool]) -> dict:
        return {"share": sum(values) / max(1, len(values)), "interval": wilson(sum(values), len(values))}

    found = {}
    for name in names:
        rows = [record["rows"][name] for record in records]
        found[name] = {
            "passed": share([row["passed"] for row in rows]),
            "facing": share([row["success"] and row["facing"] for row in rows]),
            "said_there": share([row.get("said_there", False) for row in rows]),
            "said_there_rightly": share([row["success"] for row in rows if row.get("said_there", False)]),
            "final_distance": float(np.mean([row["distance"] for row in rows])),
            "start_distance": float(np.mean([math.dist(r["start"][:2], r["goal"]) for r in records])),
        }
    return found
