"""Furnished apartments from a seed: floor plan (`layout.py`), furniture (`furnish.py`), sites and people, as one MJCF world.

Training and testing draw from disjoint ranges of seeds, so a result is always on apartments that nothing was trained on.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import numpy as np

from objective_agent.simulation.furnish import FloorMap, Part, Piece, furnish
from objective_agent.simulation.layout import Layout, draw_layout
from objective_agent.simulation.world import World
from objective_agent.types import InputError

TRAIN_SEEDS = range(1_000_000)
TEST_SEEDS = range(1_000_000, 1_100_000)
CALIBRATION_SEEDS = range(1_100_000, 1_200_000)
"""Apartments in which a trained model's margins are adjusted: neither training nor evaluation uses them."""

MOST_ROOMS = 6
WALL_HEIGHT = 2.5
DOOR_HEIGHT = 2.05
SITE_CLEARANCE = 0.32

HUES = {"cabinet": 0.08, "sofa": 0.6, "box": 0.13, "turned": 0.95, "pillar": 0.3, "stool": 0.75, "table": 0.07}


def is_test_seed(seed: int) -> bool:
    """Whether a seed's apartment is reserved for testing."""
    return seed in TEST_SEEDS


def require_training_seeds(seeds: Iterable[int]) -> None:
    """InputError when a seed is not for training: call it wherever apartments are used to collect data or train."""
    for seed in seeds:
        if seed not in TRAIN_SEEDS:
            raise InputError(f"seed {seed}: is not for training; use seeds {TRAIN_SEEDS.start} to {TRAIN_SEEDS.stop - 1}")


def generate_apartment(seed: int, rooms: int | None = None, people: int = 0) -> World:
    """The apartment of `seed`, with `rooms` rooms (1 to 6; None: drawn) and `people` walking through it.

    The same call gives the same world.  Raises InputError for a seed that is in none of the three ranges, or an impossible
    number of rooms or people.
    """
    if not any(seed in seeds for seeds in (TRAIN_SEEDS, TEST_SEEDS, CALIBRATION_SEEDS)):
        last = CALIBRATION_SEEDS.stop - 1
        raise InputError(f"seed {seed}: must be 0 to {last}; test apartments begin at {TEST_SEEDS.start}")
    if rooms is not None and rooms not in range(1, MOST_ROOMS + 1):
        raise InputError(f"rooms = {rooms}: must be 1 to {MOST_ROOMS}")
    if people not in range(21):
        raise InputError(f"people = {people}: must be 0 to 20")
    rng = np.random.default_rng([seed, 20240])
    count = rooms or int(rng.integers(1, MOST_ROOMS + 1))
    for _ in range(20):
        layout = draw_layout(rng, count)
        pieces, floor = furnish(rng, layout)
        sites = draw_sites(rng, floor)
        if sites is not None:
            starts, goals = sites
            paths = draw_paths(np.random.default_rng([seed, 20241]), floor, people, starts)
            return World.from_xml(to_mjcf(rng, layout, pieces, starts, goals, paths), f"apartment-{seed}")
    raise InputError(f"seed {seed}: no apartment with room for a robot came of it; use another seed")


def draw_sites(rng: np.random.Generator, floor: FloorMap):
    """Three starts anywhere and a goal in each room (at least three): lists of (x, y), or None when there is no place."""
    region = floor.reachable(floor.clearance)
    if region is None:
        return None
    roomy = region & (floor.clearance > SITE_CLEARANCE)
    inside = [np.flatnonzero(roomy & floor.inside(room)) for room in floor.layout.rooms]
    if any(len(cells) == 0 for cells in inside):
        return None

    def draw(cells):
        cell = rng.choice(cells)
        return float(floor.x.flat[cell]), float(floor.y.flat[cell])

    starts = [draw(np.flatnonzero(roomy)) for _ in range(3)]
    goals = [draw(inside[i % len(inside)]) for i in range(max(3, len(inside)))]
    return starts, goals


def draw_paths(rng: np.random.Generator, floor: FloorMap, people: int, starts) -> list[list[tuple[float, float]]]:
    """A path of two to four waypoints per person, on straight lines that touch nothing, beginning away from every start."""
    wide = floor.clearance > 0.3
    cells = np.flatnonzero(wide & floor.reachable(floor.clearance))
    paths: list[list[tuple[float, float]]] = []
    for _ in range(400):
        if len(paths) == people or not len(cells):
            break
        path: list[tuple[float, float]] = []
        for _ in range(30):
            cell = rng.choice(cells)
            point = float(floor.x.flat[cell]), float(floor.y.flat[cell])
            if not path:
                taken = [*starts, *(other[0] for other in paths)]
                if min(np.hypot(point[0] - x, point[1] - y) for x, y in taken) > 0.8:
                    path.append(point)
            elif 1.0 < np.hypot(point[0] - path[-1][0], point[1] - path[-1][1]) < 5 and straight(floor, wide, path[-1], point):
                path.append(point)
            if len(path) == 4:
                break
        if len(path) >= 2:
            paths.append(path)
    if len(paths) < people:
        raise InputError(f"people = {people}: only {len(paths)} fit into this apartment; ask for fewer")
    return paths


def straight(floor: FloorMap, wide: np.ndarray, a, b) -> bool:
    return all(wide[floor.cell(a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1]))] for s in np.linspace(0, 1, 120))


# --- the world's text -------------------------------------------------------------------------------------------------------


def to_mjcf(rng: np.random.Generator, layout: Layout, pieces: list[Piece], starts, goals, paths) -> str:
    wall, ground = colour(rng, rng.uniform(0, 1), 0.12, 0.88), colour(rng, rng.uniform(0.05, 0.15), 0.3, 0.65)
    lines = ['<mujoco model="apartment">', '  <compiler angle="radian"/>']
    if paths:
        lines.append("  <custom>")
        for i, path in enumerate(paths, 1):
            lines.append(f'    <text name="person{i}_path" data="{" ".join(f"{x:.3f},{y:.3f}" for x, y in path)}"/>')
            lines.append(f'    <numeric name="person{i}_speed" data="{rng.uniform(0.4, 0.9):.2f}"/>')
        lines.append("  </custom>")
    lines += ["  <worldbody>", f'    <geom name="floor" type="plane" size="0 0 1" rgba="{ground}"/>']
    for i, (x, y, hx, hy) in enumerate(layout.walls):
        lines.append(geom(f"wall{i}", Part("box", x, y, WALL_HEIGHT / 2, hx, hy, WALL_HEIGHT / 2), wall))
    for i, door in enumerate(layout.doors):
        half = (WALL_HEIGHT - DOOR_HEIGHT) / 2
        hx, hy = (0.05, door.width / 2) if door.vertical else (door.width / 2, 0.05)
        lines.append(geom(f"lintel{i}", Part("box", door.x, door.y, DOOR_HEIGHT + half, hx, hy, half), wall))
    for i, piece in enumerate(pieces):
        paint = colour(rng, HUES[piece.kind] + rng.normal(0, 0.03), rng.uniform(0.4, 0.9), rng.uniform(0.45, 0.9))
        for j, part in enumerate(piece.parts):
            lines.append(geom(f"{piece.kind}{i}" + (f"_{j}" if j else ""), part, paint))
    for i, path in enumerate(paths, 1):
        lines.append(f'    <body name="person{i}" mocap="true" pos="{path[0][0]:.3f} {path[0][1]:.3f} 0.85">')
        paint = colour(rng, rng.uniform(0, 1), 0.7, 0.8)
        lines.append(f'      <geom name="person{i}" type="capsule" size="0.22 0.63" rgba="{paint}"/>')
        lines.append("    </body>")
    for kind, places in (("start", starts), ("goal", goals)):
        for i, (x, y) in enumerate(places, 1):
            yaw = rng.uniform(-3.1, 3.1)
            lines.append(f'    <site name="{kind}{i}" pos="{x:.3f} {y:.3f} 0" euler="0 0 {yaw:.3f}" rgba="0 0 0 0"/>')
    return "\n".join([*lines, "  </worldbody>", "</mujoco>", ""])


def colour(rng: np.random.Generator, hue: float, saturation: float, value: float) -> str:
    rgb = np.clip(np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value)) + rng.normal(0, 0.02, 3), 0, 1)
    return " ".join(f"{channel:.3f}" for channel in rgb) + " 1"


def geom(name: str, part: Part, rgba: str) -> str:
    size = f"{part.hx:.3f} {part.hz:.3f}" if part.kind == "cylinder" else f"{part.hx:.3f} {part.hy:.3f} {part.hz:.3f}"
    turn = f' euler="0 0 {part.yaw:.4f}"' if part.yaw else ""
    place = f"{part.x:.3f} {part.y:.3f} {part.z:.3f}"
    return f'    <geom name="{name}" type="{part.kind}" pos="{place}"{turn} size="{size}" rgba="{rgba}"/>'
