"""Conditions of the apartment task: the same protocol, generator and worlds; what differs is what makes them hard.

    apartment          lidar and camera, nothing moves
    apartment_camera   the controller never gets a scan; the safety gate keeps its own
    apartment_people   three people who walk, stop and turn, up to 1.0 m/s, and don't always make way
    apartment_slip     hidden per episode: wheel slip, asymmetry, payload and delay (`slip.py`)

People's ways are drawn near the robot's: an episode in which nobody is met says nothing.  Everything is deterministic in the
random generator given.  What a condition hides (`slip`) is in the episode for the simulation, and taken out of the copy that
the controller gets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from objective_agent.simulation.occupancy import Occupancy
from objective_agent.simulation.people import Person
from objective_agent.simulation.world import World
from objective_agent.types import InputError

PEOPLE, SPEEDS, RESTLESS = 3, (0.3, 1.0), 0.25
"""Walkers per world, their speeds (m/s), and how often (per second) one changes what it does."""

ROOM = 0.30
"""Distance from the walls that people keep with their middle, m."""

AWAY, NEAR, LEG = 1.2, 1.0, (1.0, 5.0)
"""People begin at least AWAY from the robot and mostly walk within NEAR of its line to the goal, in legs this long, m."""


@dataclass(frozen=True)
class Condition:
    """`scans`: the controller gets them; `people` walkers; `slip`: the drive's slip is drawn per episode."""

    name: str
    scans: bool = True
    people: int = 0
    slip: bool = False


CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("apartment"),
        Condition("apartment_camera", scans=False),
        Condition("apartment_people", people=PEOPLE),
        Condition("apartment_slip", slip=True),
    )
}


def condition(name: str) -> Condition:
    """The condition called `name`; InputError with the known ones."""
    if name not in CONDITIONS:
        raise InputError(
            f"task {name!r}: unknown; known: {', '.join(CONDITIONS)}; or give --world FILE for the sites of a world"
        )
    return CONDITIONS[name]


def with_walkers(world: World, grid: Occupancy, start, goal, random: np.random.Generator) -> World | None:
    """`world` with the people it has walking about the line from `start` to `goal`; None when they find no room."""
    clearance = grid.clearance()
    cells = np.argwhere(clearance > ROOM)
    if not len(cells):
        return None
    places = np.array(grid.origin) + (cells[:, ::-1] + 0.5) * grid.resolution
    start, goal = np.asarray(start[:2], float), np.asarray(goal[:2], float)
    line = goal - start
    along = np.clip((places - start) @ line / max(float(line @ line), 1e-9), 0, 1)
    near = places[np.hypot(*(places - start - along[:, None] * line).T) < NEAR]
    people = []
    for person in world.people:
        path = draw_path(clearance, grid, near if len(near) > 20 else places, places, start, random)
        if path is None:
            return None
        people.append(replace(person, path=path, speed=float(random.uniform(*SPEEDS)), restless=RESTLESS))
    return replace(world, people=tuple(people))


def draw_path(clearance, grid: Occupancy, near: np.ndarray, places: np.ndarray, start: np.ndarray, random) -> np.ndarray | None:
    """Two to four waypoints [k, 2] joined by straight free lines, the first away from `start`; None when none were found."""
    path: list[np.ndarray] = []
    for _ in range(300):
        among = near if random.random() < 0.8 else places
        point = among[random.integers(len(among))]
        if not path:
            if math.dist(point, start) > AWAY:
                path.append(point)
        elif LEG[0] < math.dist(point, path[-1]) < LEG[1] and free_line(clearance, grid, path[-1], point):
            path.append(point)
        if len(path) == 4:
            break
    return np.array(path) if len(path) >= 2 else None


def free_line(clearance: np.ndarray, grid: Occupancy, a, b) -> bool:
    """Whether a person can walk straight from `a` to `b`."""
    points = np.asarray(a) + np.linspace(0, 1, 2 + int(math.dist(a, b) / 0.05))[:, None] * (np.asarray(b) - np.asarray(a))
    column, row = ((points - grid.origin) / grid.resolution).astype(int).T
    return bool((clearance[row, column] > ROOM - 0.03).all())


def people_apart(people: tuple[Person, ...]) -> bool:
    """Whether no two people begin in the same place."""
    starts = np.array([person.path[0] for person in people]).reshape(-1, 2)
    gaps = np.hypot(*(starts[:, None] - starts[None]).transpose(2, 0, 1)) + 10 * np.eye(len(starts))
    return bool((gaps > 0.6).all())
