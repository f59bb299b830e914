"""Floor plans for generated apartments: a rectangle cut into rooms again and again, each cut a wall with one doorway.

Cutting gives a tree of rooms, so every room can be reached.  A later wall never ends in an earlier doorway.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HALF_WALL = 0.05
SMALLEST = 2.0  # no room side is shorter, m
DOORWAY = (0.8, 1.2)


@dataclass(frozen=True)
class Room:
    """The rectangle between the middles of a room's walls, m."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def area(self) -> float:
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True)
class Door:
    """A doorway: its middle, its width, and whether it is in a wall that runs along y."""

    x: float
    y: float
    width: float
    vertical: bool


@dataclass(frozen=True)
class Layout:
    """`walls` are (cx, cy, hx, hy) boxes."""

    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    walls: tuple[tuple[float, float, float, float], ...]
    width: float
    height: float


def draw_layout(rng: np.random.Generator, rooms: int) -> Layout:
    """A floor plan with exactly `rooms` rooms."""
    while True:
        area, aspect = rooms * rng.uniform(9, 15), rng.uniform(1.0, 1.6)
        width = float((area * aspect) ** 0.5)
        layout = cut(rng, rooms, width, float(area / width))
        if layout is not None:
            return layout


def cut(rng: np.random.Generator, count: int, width: float, height: float) -> Layout | None:
    rooms, doors = [Room(0, 0, width, height)], []
    t = HALF_WALL
    walls = [(width / 2, 0, width / 2 + t, t), (width / 2, height, width / 2 + t, t)]
    walls += [(0, height / 2, t, height / 2), (width, height / 2, t, height / 2)]
    for _ in range(20 * count):
        if len(rooms) == count:
            return Layout(tuple(rooms), tuple(doors), tuple(walls), width, height)
        room = max(rooms, key=lambda room: room.area * rng.uniform(0.6, 1))
        divided = divide(rng, room, doors)
        if divided is None:
            continue
        parts, door, segments = divided
        rooms.remove(room)
        rooms += parts
        doors.append(door)
        walls += segments
    return None


def divide(rng: np.random.Generator, room: Room, doors: list[Door]):
    """One cut through `room`: (two rooms, the doorway, the wall's boxes), or None when this draw doesn't fit."""
    vertical = room.x1 - room.x0 > room.y1 - room.y0
    along0, along1, across0, across1 = (
        (room.x0, room.x1, room.y0, room.y1) if vertical else (room.y0, room.y1, room.x0, room.x1)
    )
    at = along0 + (along1 - along0) * rng.uniform(0.36, 0.64)
    width = rng.uniform(*DOORWAY)
    free = across1 - across0 - width - 2 * (HALF_WALL + 0.15)
    if min(at - along0, along1 - at) < SMALLEST or free < 0:
        return None
    for door in doors:
        door_along, door_across = (door.x, door.y) if vertical else (door.y, door.x)
        at_an_end = min(abs(door_across - across0), abs(door_across - across1)) < 0.01
        if door.vertical != vertical and at_an_end and abs(door_along - at) < door.width / 2 + HALF_WALL + 0.1:
            return None
    start = across0 + HALF_WALL + 0.15 + rng.uniform(0, free)
    middle = start + width / 2
    spans = [(across0, start), (start + width, across1)]
    if vertical:
        parts = [Room(room.x0, room.y0, at, room.y1), Room(at, room.y0, room.x1, room.y1)]
        segments = [(at, (a + b) / 2, HALF_WALL, (b - a) / 2) for a, b in spans]
        return parts, Door(at, middle, width, True), segments
    parts = [Room(room.x0, room.y0, room.x1, at), Room(room.x0, at, room.x1, room.y1)]
    segments = [((a + b) / 2, at, (b - a) / 2, HALF_WALL) for a, b in spans]
    return parts, Door(middle, at, width, False), segments
