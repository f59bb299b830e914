"""Shortest ways on a grid of free and blocked cells: a visibility graph over the corners of the blocked region.

A shortest way among obstacles is a chain of straight lines that bends only at convex corners (Lozano-Pérez & Wesley, "An
algorithm for planning collision-free paths among polyhedral obstacles", 1979).  So its length is the smallest, over pairs of
corners that start and goal can see, of start -> corner, corner -> corner over the graph, corner -> goal.  Sight is sampled once
a cell, so a way may cut a corner by a fraction of a cell.
"""

from __future__ import annotations

import numpy as np


class Ways:
    """Lengths of shortest ways in the unit square; `blocked` bool [G, G] (row = y, column = x), its border blocked."""

    def __init__(self, blocked: np.ndarray):
        self.blocked = blocked
        self.cells = len(blocked)
        self.corners = corners(blocked)  # [m, 2]
        sight = self._sees(self.corners, self.corners)
        length = np.where(sight, _distances(self.corners, self.corners), np.inf)
        np.fill_diagonal(length, 0)
        for middle in range(len(length)):  # Floyd and Warshall
            np.minimum(length, length[:, middle, None] + length[None, middle], out=length)
        self.between = length  # [m, m]

    def length(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Length of the shortest way from each start [n, 2] to its goal [n, 2]; inf where there is none."""
        starts, goals = np.atleast_2d(starts).astype(float), np.atleast_2d(goals).astype(float)
        straight = np.linalg.norm(starts - goals, axis=1)
        result = np.where(self._clear(starts, goals), straight, np.inf)
        first, last = self._legs(starts), self._legs(goals)
        for number in np.flatnonzero(np.isinf(result)):
            result[number] = (first[number][:, None] + self.between + last[number]).min(initial=np.inf)
        return result

    def path(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The points of the shortest way [p, 2], from start to goal; only these two where none is found."""
        start, goal = np.asarray(start, float), np.asarray(goal, float)
        first, last = self._legs(start[None])[0], self._legs(goal[None])[0]
        total = first[:, None] + self.between + last
        if self._clear(start[None], goal[None])[0] or not np.isfinite(total).any():
            return np.stack([start, goal])
        here, end = np.unravel_index(total.argmin(), total.shape)
        chain = [here]
        while here != end:  # the farthest corner in sight that lies on the way
            direct = _distances(self.corners[here, None], self.corners)[0]
            on_way = np.isclose(direct + self.between[:, end], self.between[here, end]) & (direct > 0)
            on_way &= np.isclose(self.between[here], direct)
            here = int(np.where(on_way, direct, -1).argmax()) if on_way.any() else end
            chain.append(here)
        return np.concatenate([start[None], self.corners[chain], goal[None]])

    def _legs(self, points: np.ndarray) -> np.ndarray:
        """Distance from each point to each corner in sight [n, m], inf for the others."""
        return np.where(self._sees(points, self.corners), _distances(points, self.corners), np.inf)

    def _sees(self, points: np.ndarray, others: np.ndarray) -> np.ndarray:
        n, m = len(points), len(others)
        return self._clear(np.repeat(points, m, 0), np.tile(others, (n, 1))).reshape(n, m)

    def _clear(self, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Whether the straight line between each of two points [n, 2] stays free."""
        result = np.ones(len(starts), bool)
        steps = np.ceil(np.linalg.norm(goals - starts, axis=1) * self.cells).astype(int) + 1
        for part in np.array_split(np.argsort(steps), max(1, len(starts) // 512)):
            if len(part):  # lines of about the same length together
                share = np.linspace(0, 1, int(steps[part].max()) + 1)[:, None]
                x = starts[part, 0] + share * (goals[part, 0] - starts[part, 0])
                y = starts[part, 1] + share * (goals[part, 1] - starts[part, 1])
                result[part] = ~self.blocked[(y * self.cells).astype(int), (x * self.cells).astype(int)].any(0)
        return result


def corners(blocked: np.ndarray) -> np.ndarray:
    """Centres [m, 2] of the free cells that touch a blocked one only diagonally: the convex corners of the blocked region."""
    found = np.zeros_like(blocked)
    inner = (slice(1, -1), slice(1, -1))
    for down in (-1, 1):
        for right in (-1, 1):
            beside = np.roll(blocked, -right, 1)[inner] | np.roll(blocked, -down, 0)[inner]
            found[inner] |= np.roll(blocked, (-down, -right), (0, 1))[inner] & ~beside
    rows, columns = np.nonzero(found & ~blocked)
    return (np.stack([columns, rows], 1) + 0.5) / len(blocked)


def _distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - others[None], axis=-1)
