"""With costs that know where walls are, distances on the graph of the map agree with the ways of a visibility graph."""

import numpy as np

from objective_agent.cost.frame_graph import AROUND, quasimetric
from objective_agent.cost.frame_quasimetric import FrameQuasimetricShape
from objective_agent.learning.frames.gate import spearman
from objective_agent.simulation import benchmarks

SHAPE = FrameQuasimetricShape(kind="graph", features=2, places=64, groups=1, size=64, channels=4)
BLOCKED = 40.0


def costs_of(env, layout: int) -> np.ndarray:
    """[64, 9]: 1 per hop, 40 where the wall's colour is drawn between the middles of two places."""
    picture = env.render_empty([layout])[0].astype(int)
    wall = np.pad(np.abs(picture - picture[4, 4]).sum(-1) > 60, 5, constant_values=True)  # the first place is floor
    found = np.ones((8, 8, 9), np.float32)
    for row in range(8):
        for column in range(8):
            for number, (down, right) in enumerate(AROUND):
                along = np.linspace(0, 8, 9)[:, None] * (down, right) + (8 * row + 9, 8 * column + 9)
                if wall[tuple(along.round().astype(int).T)].any():
                    found[row, column, number] = BLOCKED
    return found.reshape(64, 9)


def test_ways_through_mazes_are_counted():
    env = benchmarks.make("maze_random").unwrapped
    weights = {name: np.zeros(size, np.float32) for name, size in SHAPE.shapes().items()}
    metric = quasimetric(SHAPE, weights | {"where.weight": np.eye(2, dtype=np.float32)})  # the token is the place
    pairs = [env.reset(seed=5, options={"split": "test", "index": index})[1] for index in range(120)]
    starts, goals = (np.stack([info[name] for info in pairs]).astype(np.float32) for name in ("state", "goal_state"))
    shortest, detour = np.array([info["shortest"] for info in pairs]), np.array([info["detour"] for info in pairs])
    cost = np.stack([costs_of(env, int(info["layout"])) for info in pairs])
    context = cost, metric.ways(cost)
    here, there = (metric.embed(states[:, None, None], context) for states in (starts, goals))
    counted = metric.distance(here, there)[:, 0]
    straight = np.linalg.norm(starts - goals, axis=1)
    assert spearman(counted[detour], shortest[detour]) > 0.97 > spearman(straight[detour], shortest[detour]) + 0.1
    assert np.median(np.abs(counted / shortest - 1)) < 0.1
