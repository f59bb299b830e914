"""A wall that appears: solid and seen by every sensor, refused where it would do harm, and never told to the agent."""

from dataclasses import fields

import numpy as np
import pytest
from simulation_scenes import EXACT, last, room

from objective_agent.simulation import RobotSimulation
from objective_agent.simulation.occupancy import occupancy
from objective_agent.simulation.panel import Panel
from objective_agent.types import Image, InputError, Observation, Scan

AHEAD = slice(88, 93)
"""Beams of the lidar within 4 degrees of straight ahead."""


def simulation(**options) -> RobotSimulation:
    return RobotSimulation(room(), sensors=EXACT, **options)


def look(sim: RobotSimulation, kind: type):
    return last(sim.advance(0.25), kind)


def test_lidar_and_camera_see_it_come_and_go():
    sim = simulation()
    empty, picture = look(sim, Scan).ranges, look(sim, Image)
    assert sim.wall is None and empty[90] == pytest.approx(3.0, abs=0.01)
    sim.raise_wall(1.2)
    assert look(sim, Scan).ranges[AHEAD] == pytest.approx(1.2, abs=0.01)
    seen = look(sim, Image)
    middle = (picture.rgb.shape[0] // 2, picture.rgb.shape[1] // 2)
    assert seen.depth[middle] == pytest.approx(1.2 - sim.sensors.camera.mount_x, abs=0.02)
    assert np.abs(seen.rgb[middle].astype(int) - picture.rgb[middle]).max() > 30
    assert sim.wall == pytest.approx([1.2 + Panel.size[0] / 2, 0, 0], abs=1e-6)
    sim.lower_wall()
    assert sim.wall is None
    np.testing.assert_array_equal(look(sim, Scan).ranges, empty)


def test_it_is_solid_and_a_reset_takes_it_away():
    sim = simulation(camera=False)
    sim.raise_wall(1.2)
    for _ in range(60):
        sim.command(0.4, 0.0)
        sim.advance(0.1)
    assert sim.contacts >= 1 and sim.true_pose[0] == pytest.approx(1.2 - sim.robot.radius, abs=0.03)
    sim.reset()
    assert sim.wall is None and sim.contacts == 0


def test_it_stands_across_whatever_way_the_robot_faces():
    sim = simulation(camera=False)
    sim.reset(start=(1.0, -1.0, 2.0))
    sim.raise_wall(1.5)
    x, y, yaw = sim.wall
    assert yaw == pytest.approx(2.0) and np.hypot(x - 1, y + 1) == pytest.approx(1.5 + Panel.size[0] / 2)
    ranges = look(sim, Scan).ranges
    assert ranges[AHEAD] == pytest.approx(1.5, abs=0.01) and ranges[0] < 3, "and nothing else has changed"


def test_it_is_refused_where_the_robot_could_not_stop_any_more_and_where_something_stands():
    sim = simulation(camera=False)
    with pytest.raises(InputError, match=r"needs 0\.33 m"):
        sim.raise_wall(0.3)
    with pytest.raises(InputError, match=r"something stands 3\.00 m ahead already"):
        sim.raise_wall(2.5)
    for _ in range(12):
        sim.command(0.6, 0.0)
        sim.advance(0.1)
    with pytest.raises(InputError, match=r"a robot at 0.60 m/s needs 0.79 m"):
        sim.raise_wall(0.7)
    assert sim.wall is None


def test_nobody_is_told():
    assert not occupancy(room()).grid[60, 60], "it is on no map"
    sim = simulation()
    sim.raise_wall(1.2)
    names = {type(reading).__name__ for reading in sim.advance(1.0)}
    assert names == {"Scan", "Image", "Odometry"}, "only sensors speak"
    assert not any("wall" in field.name or "panel" in field.name for field in fields(Observation))
