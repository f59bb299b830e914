"""A copy of a simulation is the same moment once more, and a life of its own from then on."""

from __future__ import annotations

import time

import numpy as np
import pytest

from objective_agent.config import RobotParameters
from objective_agent.simulation import RobotSimulation
from objective_agent.simulation.slip import Slip
from objective_agent.simulation.tasks import make_task
from objective_agent.types import Image, Odometry, Scan

ROBOT = RobotParameters()
SLIP = Slip(speed_gain=0.8, turn_bias=0.2, acceleration=0.6, extra_delay=0.12)


@pytest.fixture(scope="module")
def episode():
    return make_task("apartment_people", 1, ROBOT).episode(0)


def under_way(episode, camera: bool = True) -> RobotSimulation:
    """In the middle of a drive: commands still on their way, people walking, all sensors between two readings."""
    simulation = RobotSimulation(episode.world, ROBOT, seed=4, slip=SLIP, camera=camera)
    simulation.reset(start=episode.start)
    simulation.command(0.3, 0.8)
    simulation.advance(0.7)
    simulation.command(0.5, -0.4)
    simulation.advance(0.033)
    return simulation


def go_on(simulation: RobotSimulation, seconds: float = 3.0) -> list:
    readings = []
    for step in range(round(seconds / 0.2)):
        simulation.command(0.4, 0.9 * (-1) ** step)
        readings += simulation.advance(0.2)
    return readings


def values(reading) -> list[np.ndarray]:
    if isinstance(reading, Scan):
        return [reading.ranges]
    return [reading.rgb, reading.depth] if isinstance(reading, Image) else [reading.pose, reading.velocity]


def same(first: list, second: list) -> bool:
    assert [(type(r), r.stamp) for r in first] == [(type(r), r.stamp) for r in second]
    return all(np.array_equal(a, b, equal_nan=True) for x, y in zip(first, second, strict=True)
               for a, b in zip(values(x), values(y), strict=True))  # fmt: skip


def test_copy_and_original_give_the_same_readings(episode):
    simulation = under_way(episode)
    copy = simulation.copy()
    assert copy.time == simulation.time and np.array_equal(copy.true_pose, simulation.true_pose)
    ours, theirs = go_on(simulation), go_on(copy)
    assert {type(reading) for reading in ours} == {Scan, Image, Odometry}
    assert same(ours, theirs)
    assert np.array_equal(simulation.people, copy.people) and np.array_equal(simulation.true_pose, copy.true_pose)
    assert (simulation.contacts, simulation.contacts_moving) == (copy.contacts, copy.contacts_moving)


def test_what_happens_in_a_copy_does_not_happen_in_the_original(episode):
    alone, watched = under_way(episode), under_way(episode)
    for _ in range(3):
        copy = watched.copy(camera=False)
        copy.sweep()
        for _ in range(10):
            copy.command(-0.1, 1.5)
            copy.advance(0.2)
    assert not np.allclose(copy.true_pose, watched.true_pose)
    assert same(go_on(alone), go_on(watched))


def test_a_copy_without_camera_sees_the_same_with_the_other_sensors(episode):
    simulation = under_way(episode)
    copy = simulation.copy(camera=False)
    rest = [reading for reading in go_on(simulation) if not isinstance(reading, Image)]
    assert same(rest, go_on(copy))


def test_a_wall_that_stands_in_the_copy_alone(episode):
    simulation = RobotSimulation(episode.world, ROBOT, seed=4, camera=False)
    simulation.reset(start=episode.start)
    copy = simulation.copy()
    nearest = float(np.nanmin(copy.sweep().ranges))
    for direction in range(64):  # somewhere there is room for it
        turned = simulation.copy()
        turned.reset(start=(*episode.start[:2], direction / 10))
        copy = turned.copy()
        try:
            copy.raise_wall(0.8)
        except ValueError:
            continue
        assert copy.wall is not None and turned.wall is None and simulation.wall is None
        return
    pytest.skip(f"no room for a wall here: {nearest:.2f} m")


def test_copying_is_cheap(episode):
    simulation = under_way(episode, camera=False)
    begun = time.process_time()
    for _ in range(100):
        simulation.copy()
    assert (time.process_time() - begun) / 100 < 0.01
