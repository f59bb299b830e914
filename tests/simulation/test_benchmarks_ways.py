"""Shortest ways: against the answer by hand, and against a search over the cells of the grid."""

import heapq

import numpy as np
import pytest

from objective_agent.simulation import benchmarks
from objective_agent.simulation.benchmarks import grid
from objective_agent.simulation.benchmarks.ways import Ways, corners

MOVES = [(down, right) for down in range(-3, 4) for right in range(-3, 4) if np.gcd(down, right) == 1]


def search(blocked: np.ndarray, start, goal) -> float:
    """Dijkstra over cells with moves of up to three cells: at most about 1 % too long, and it knows nothing of corners."""
    size = len(blocked)
    first, last = (tuple((np.asarray(point)[::-1] * size).astype(int)) for point in (start, goal))
    best, heap = {first: 0.0}, [(0.0, first)]
    while heap:
        length, (row, column) = heapq.heappop(heap)
        if (row, column) == last:
            return length / size
        if length > best[row, column]:
            continue
        for down, right in MOVES:
            line = [(row + round(down * part / 3), column + round(right * part / 3)) for part in (1, 2, 3)]
            if any(blocked[cell] for cell in line):
                continue
            cell, total = line[-1], length + np.hypot(down, right)
            if total < best.get(cell, np.inf):
                best[cell] = total
                heapq.heappush(heap, (total, cell))
    return np.inf


@pytest.mark.parametrize("task", ["two_room_random", "maze_random", "wall_random"])
def test_lengths_agree_with_a_search_over_the_grid(task):
    environment = benchmarks.make(task)
    for index in range(3):
        _, info = environment.reset(seed=11, options={"split": "test", "index": index})
        layout = environment.layout(info["layout"])
        length = layout.ways.length(info["state"], info["goal_state"])[0]
        assert length == pytest.approx(search(layout.blocked, info["state"], info["goal_state"]), rel=0.03, abs=0.02)
        path = layout.ways.path(info["state"], info["goal_state"])
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(length, rel=1e-6)
        np.testing.assert_allclose(path[[0, -1]], [info["state"], info["goal_state"]], atol=1e-6)


def test_a_way_round_a_wall_bends_at_its_two_corners():
    blocked = grid.bounded()
    blocked[: grid.CELLS // 2, 60:68] = True  # from the top to the middle
    ways = Ways(blocked)
    found = corners(blocked)
    assert len(found) == 2
    start, goal = np.array([0.2, 0.2]), np.array([0.8, 0.2])
    left, right = found[found[:, 0].argsort()]
    expected = np.linalg.norm(left - start) + np.linalg.norm(right - left) + np.linalg.norm(goal - right)
    assert ways.length(start, goal)[0] == pytest.approx(expected)
    np.testing.assert_allclose(ways.path(start, goal), [start, left, right, goal])
    assert ways.length(start, [0.3, 0.7])[0] == pytest.approx(np.hypot(0.1, 0.5))


def test_no_way_is_infinitely_long():
    blocked = grid.bounded()
    blocked[:, 60:68] = True
    assert np.isinf(Ways(blocked).length([0.2, 0.2], [0.8, 0.2])[0])
    assert len(Ways(blocked).path([0.2, 0.2], [0.8, 0.2])) == 2


def test_lengths_are_a_metric_and_never_shorter_than_a_straight_line():
    environment = benchmarks.make("maze")
    random = np.random.default_rng(0)
    points = np.stack([environment.draw_state(0, random) for _ in range(90)])
    one, two, three = np.split(points, 3)
    there, on, back = (environment.shortest_steps(*pair) for pair in ((one, two), (two, three), (two, one)))
    np.testing.assert_allclose(there, back, rtol=1e-6)
    assert (there >= np.linalg.norm(one - two, axis=1) / 0.125 - 1e-6).all()
    assert (environment.shortest_steps(one, three) <= (there + on) * 1.005 + 0.05).all()


@pytest.mark.parametrize("task", ["two_room_random", "maze_random", "wall_random"])
def test_every_free_place_is_connected(task):
    environment = benchmarks.make(task)
    random = np.random.default_rng(1)
    for number in range(25):
        layout = environment.train_layout(5, number)
        points = np.stack([environment.draw_state(layout, random) for _ in range(20)])
        assert np.isfinite(environment.shortest_steps(points[:10], points[10:], layout)).all()
