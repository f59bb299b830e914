import math
from dataclasses import replace

import numpy as np
import pytest

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.memory.route import GridRoute, lookahead, shortest_path
from objective_agent.plugins import create
from objective_agent.types import InputError, Observation, Scan

BEAMS = 360


def boxes_sweep(stamp, pose, boxes, range_max=8.0):
    """An ideal sweep from `pose` among axis-aligned boxes (x0, y0, x1, y1): slab test per beam."""
    angles = 2 * math.pi / BEAMS * np.arange(BEAMS) + pose[2]
    direction = np.stack([np.cos(angles), np.sin(angles)], -1)
    direction = np.where(np.abs(direction) < 1e-9, 1e-9, direction)
    ranges = np.full(BEAMS, np.inf)
    for x0, y0, x1, y1 in boxes:
        low = (np.array([x0, y0]) - pose[:2]) / direction
        high = (np.array([x1, y1]) - pose[:2]) / direction
        enter, leave = np.minimum(low, high).max(-1), np.maximum(low, high).min(-1)
        hit = (enter <= leave) & (enter > 0)
        ranges = np.where(hit, np.minimum(ranges, enter), ranges)
    ranges = np.where(ranges > range_max, np.inf, ranges).astype(np.float32)
    return Scan(stamp, ranges, 0.0, 2 * math.pi / BEAMS, 0.05, range_max)


def look(memory, stamp, position, boxes):
    pose = np.array([*position, 0.3], np.float32)
    scan = boxes_sweep(stamp, pose, boxes)
    memory.update(Observation(stamp, pose[None], np.zeros((1, 2), np.float32), (scan,), pose[None]))


def grid(**settings) -> GridRoute:
    return create("route_memory", PluginSpec(plugin="grid", **settings), RobotParameters())


def clearance(route, boxes):
    """Smallest distance between the route's corners and the boxes."""
    low, high = np.array(boxes)[:, :2], np.array(boxes)[:, 2:]
    outside = np.maximum(np.maximum(low - route[:, None], route[:, None] - high), 0)
    return np.hypot(outside[..., 0], outside[..., 1]).min()


def length(route):
    return np.hypot(*np.diff(route, axis=0).T).sum()


ROOM = [(-3, -3, 3, -2.9), (-3, 2.9, 3, 3), (-3, -3, -2.9, 3), (2.9, -3, 3, 3)]
WALL = [(1.0, -3.0, 1.1, 1.5)]


def test_the_unknown_is_free():
    route = grid().route(np.zeros(2), np.array([3.0, 1.0]))
    assert route[0] == pytest.approx([0, 0]) and route[-1] == pytest.approx([3, 1])
    assert length(route) < 1.1 * math.hypot(3, 1)


def test_the_route_leads_round_a_wall_with_room_for_the_robot():
    memory = grid()
    look(memory, 1.0, (0, 0), ROOM + WALL)
    route = memory.route(np.zeros(2), np.array([2.0, 0.0]))
    assert route[:, 1].max() > 1.5
    assert clearance(route, WALL + ROOM) >= 0.18
    assert length(route) < 5.3


def test_a_route_keeps_away_from_walls_where_there_is_room():
    memory = grid()
    walls = [(-1, 0.25, 4, 0.3), (-1, -1.5, 4, -1.4)]
    for k in range(4):
        look(memory, 1.0 + k, (k * 1.0, -0.4), walls)
    route = memory.route(np.array([0.0, 0.0]), np.array([3.0, 0.0]))
    assert np.median(route[:, 1]) < -0.15


@pytest.mark.parametrize("gap, passes", [(0.8, True), (0.3, False)])
def test_doorways_the_robot_fits_through_are_used_and_others_not(gap, passes):
    memory = grid()
    half = gap / 2
    boxes = [*ROOM, (1.0, -3, 1.1, -half), (1.0, half, 1.1, 3)]
    for k in range(3):
        look(memory, 1.0 + k, (0.1 * k, 0), boxes)
    route = memory.route(np.zeros(2), np.array([2.0, 0.5]))
    assert (route is not None) == passes


def test_walled_in_means_no_route():
    memory = grid()
    box = [(-1, -1, 1, -0.9), (-1, 0.9, 1, 1), (-1, -1, -0.9, 1), (0.9, -1, 1, 1)]
    look(memory, 1.0, (0, 0), box)
    assert memory.route(np.zeros(2), np.array([3.0, 0.0])) is None
    assert memory.route(np.zeros(2), np.array([0.5, 0.5])) is not None


def test_a_person_who_walked_on_is_forgotten():
    memory = grid()
    corridor = [(-1, 0.5, 5, 0.6), (-1, -0.6, 5, -0.5), (4.9, -0.6, 5, 0.6), (-1, -0.6, -0.9, 0.6)]
    person = [(1.4, -0.3, 1.8, 0.3)]
    for k in range(10):
        look(memory, 1.0 + 0.1 * k, (0, 0), corridor + person)
    assert memory.route(np.zeros(2), np.array([3.0, 0.0])) is None
    for k in range(12):
        look(memory, 2.0 + 0.1 * k, (0, 0), corridor)
    assert memory.route(np.zeros(2), np.array([3.0, 0.0])) is not None


@pytest.mark.parametrize(("free_sweeps", "seconds", "open_"), [(3, 1.0, False), (40, 1.0, True), (40, 2.0, False)])
def test_who_passes_closes_no_way_that_was_free_for_long_and_who_stays_does(free_sweeps, seconds, open_):
    memory = grid(free_sweeps=free_sweeps)
    corridor = [(-1, 0.5, 5, 0.6), (-1, -0.6, 5, -0.5), (4.9, -0.6, 5, 0.6), (-1, -0.6, -0.9, 0.6)]
    for k in range(60):
        look(memory, 1.0 + 0.1 * k, (0, 0), corridor)
    for k in range(round(10 * seconds)):
        look(memory, 7.0 + 0.1 * k, (0, 0), [*corridor, (1.4, -0.3, 1.8, 0.3)])
    assert (memory.route(np.zeros(2), np.array([3.0, 0.0])) is not None) == open_


def test_estimated_sweeps_collect_no_more_than_they_did():
    def seen_free(scan, sweeps=30):
        memory = grid(free_sweeps=40)
        for k in range(sweeps):
            pose = np.zeros((1, 3), np.float32)
            observation = Observation(0.2 * k, pose, np.zeros((1, 2), np.float32), (scan(0.2 * k),), pose)
            memory.update(observation)
        return int(memory.evidence.min())

    def sweep(stamp, estimated):
        return replace(boxes_sweep(stamp, (0.0, 0.0, 0.0), ROOM), estimated=estimated)

    assert seen_free(lambda stamp: sweep(stamp, True)) == -3
    assert seen_free(lambda stamp: sweep(stamp, False)) == -30


def test_a_start_and_a_goal_beside_a_wall_are_left_and_reached_on_their_own_side():
    memory = grid()
    look(memory, 1.0, (0, 0), ROOM + WALL)
    route = memory.route(np.array([0.9, -1.0]), np.array([0.85, 0.9]))
    assert route is not None and (route[:, 0] < 1.0).all()
    assert route[0] == pytest.approx([0.9, -1.0]) and route[-1] == pytest.approx([0.85, 0.9])


def test_a_goal_inside_an_obstacle_is_replaced_by_the_place_beside_it():
    memory = grid()
    boxes = [*ROOM, (1.0, -0.5, 2.0, 0.5)]
    for k, at in enumerate([(0, 0), (1.5, 1.5), (2.5, 0), (1.5, -1.5)]):
        look(memory, 1.0 + k, at, boxes)
    goal = np.array([1.05, 0.0])
    route = memory.route(np.zeros(2), goal)
    assert np.hypot(*(route[-1] - goal)) < 0.45
    assert clearance(route, boxes) >= 0.15


def test_a_goal_off_the_grid_is_clamped_and_said_once(caplog):
    memory = grid(size=10.0)
    far = np.array([40.0, 0.0])
    route = memory.route(np.zeros(2), far)
    assert 3.0 < route[-1, 0] < 5.0
    memory.route(np.zeros(2), far)
    assert caplog.text.count("outside the 10 m") == 1


def test_the_grid_rolls_with_the_robot_and_keeps_what_is_still_on_it():
    memory = grid(size=12.0)
    look(memory, 1.0, (0, 0), ROOM + WALL)
    for k in range(1, 5):
        memory.route(np.array([1.0 * k, 0.0]), np.array([1.0 * k, 0.5]))
    row, column = memory._cell(np.array([1.02, 0.0]))
    assert memory.evidence[row, column] > 0
    memory.route(np.array([100.0, 0.0]), np.array([101.0, 0.0]))
    assert not memory.evidence.any()


def test_not_finite_is_refused():
    with pytest.raises(InputError, match="finite"):
        grid().route(np.zeros(2), np.array([np.nan, 0]))


def dijkstra(cost, start, goal):
    """Textbook reference with a heap."""
    import heapq

    best, queue = {goal: 0.0}, [(0.0, goal)]
    while queue:
        value, cell = heapq.heappop(queue)
        if cell == start:
            return value
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                other = (cell[0] + row, cell[1] + column)
                if (row or column) and np.isfinite(cost[other]):
                    through = value + 0.5 * math.hypot(row, column) * (cost[cell] + cost[other])
                    if through < best.get(other, math.inf) - 1e-12:
                        best[other] = through
                        heapq.heappush(queue, (through, other))
    return None


@pytest.mark.parametrize("seed", range(8))
def test_the_wavefront_finds_what_dijkstra_finds(seed):
    random = np.random.default_rng(seed)
    cost = (1 + 6 * random.random((30, 40))).astype(np.float32)
    cost[random.random(cost.shape) < 0.35] = np.inf
    cost[[0, -1]] = np.inf
    cost[:, [0, -1]] = np.inf
    cost[3, 3] = cost[26, 36] = 1.0
    path, reference = shortest_path(cost, (3, 3), (26, 36)), dijkstra(cost, (3, 3), (26, 36))
    assert (path is None) == (reference is None)
    if path is not None:
        steps = np.hypot(*np.diff(path, axis=0).T)
        assert steps.max() < 1.5
        price = cost[path[:, 0], path[:, 1]]
        assert (0.5 * steps * (price[1:] + price[:-1])).sum() == pytest.approx(reference, rel=1e-4)


@pytest.mark.parametrize("size", [12.0, 24.0])
def test_a_search_takes_few_rounds_and_looks_at_a_cell_few_times(size, monkeypatch):
    """What makes it quick, whatever the machine: rings of cells at once, and hardly any cell again (Dijkstra: each once)."""
    memory, half = grid(size=size), size / 3
    boxes = [(x, -9 if k % 2 else -3, x + 0.1, 3 if k % 2 else 9) for k, x in enumerate(np.arange(-half + 1, half, 2.0))]
    for k, x in enumerate(np.arange(-half + 0.5, half, 1.0)):
        look(memory, 1.0 + k, (x, 0), boxes)
    rounds, find = [], np.flatnonzero
    monkeypatch.setattr(np, "flatnonzero", lambda mask: rounds.append(find(mask)) or rounds[-1])
    route = memory.route(np.array([0.2 - half, 0.0]), np.array([half - 0.2, 0.0]))
    assert route is not None and np.abs(route[:, 1]).max() > 2.5, "a way round the boxes"
    cells = round(size / memory.config.resolution)
    assert 0 < len(rounds) < 3 * cells
    assert sum(map(len, rounds)) < 8 * cells**2


def test_lookahead_follows_the_path_and_ends_at_its_end():
    route = np.array([[0, 0], [1, 0], [1, 2]], np.float32)
    point, final = lookahead(route, np.array([0.5, 0.1]), 1.0)
    assert point == pytest.approx([1.0, 0.5]) and not final
    point, final = lookahead(route, np.array([1.2, 1.5]), 1.0)
    assert point == pytest.approx([1.0, 2.0]) and final
    point, final = lookahead(route[:1], np.array([1.2, 1.5]), 1.0)
    assert point == pytest.approx([0, 0]) and final
