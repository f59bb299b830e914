"""World files: what is read from them, what is refused and how, and the shipped ones."""

import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
from simulation_scenes import EXACT, ROOM, last, mjcf, person, room

from objective_agent import resources
from objective_agent.simulation import RobotSimulation, World, occupancy
from objective_agent.types import InputError, Scan

SHIPPED = ["apartment", "corridor_people", "office"]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_worlds_have_starts_goals_and_people_and_can_be_driven_in(name):
    world = World.load(name)
    assert world.name == name
    assert len(world.starts) >= 2
    assert len(world.goals) >= 3
    assert len(world.people) >= 1
    grid = occupancy(world)
    regions = grid.regions(0.25)
    assert len({regions[grid.cell(*pose[:2])] for pose in [*world.starts, *world.goals]} - {0}) == 1
    simulation = RobotSimulation(world)
    for start in world.starts:
        simulation.reset(start=start)
        assert len(simulation.advance(1.0)) > 50
        assert simulation.contacts == 0


@pytest.mark.parametrize("name", SHIPPED)
def test_people_of_the_shipped_worlds_walk_in_free_space(name):
    world = World.load(name)
    grid = occupancy(world)
    clearance = grid.clearance()
    for walker in world.people:
        for a, b in zip(walker.path[:-1], walker.path[1:], strict=True):
            for share in np.linspace(0, 1, 50):
                assert clearance[grid.cell(*(a + share * (b - a)))] > walker.radius - grid.resolution


def test_the_persons_path_in_the_apartment_crosses_the_way_between_two_goals():
    world = World.load("apartment")
    (x0, y0), (x1, _) = world.people[0].path
    (gx0, gy0), (gx1, gy1) = world.goals[0][:2], world.goals[1][:2]
    share = (y0 - gy0) / (gy1 - gy0)
    assert 0 < share < 1
    assert x0 < gx0 + share * (gx1 - gx0) < x1


def walking(path: str) -> str:
    """A room with a person who has `path`, whatever that says."""
    return mjcf(**(person("1,1") | {"custom": f'<text name="person1_path" data="{path}"/>'}))


BAD = {
    "not xml": ("hello", "not a valid MJCF"),
    "truncated": ("<mujoco><worldbody>", "not a valid MJCF"),
    "another format": ("<sdf version='1.9'><world name='w'/></sdf>", "not a valid MJCF"),
    "unknown geom": (mjcf('<geom type="teapot"/>'), "not a valid MJCF"),
    "missing size": (mjcf('<geom type="box" pos="1 1 1"/>'), "not a valid MJCF"),
    "no start": (mjcf(sites=""), 'has no start; add <site name="start"'),
    "start in a wall": (mjcf(sites='<site name="start1" pos="2.95 0 0"/>'), "no start is free: start1 .touches east"),
    "start in an unnamed geom": (mjcf('<body name="sofa"><geom type="box" size=".5 .5 .5"/></body>'), "a geom of sofa"),
    "goal in a box": (
        mjcf('<geom name="crate" type="box" size=".3 .3 .3" pos="2 2 .3"/><site name="goal2" pos="2 2 0"/>'),
        "goal2 is blocked: .* crate",
    ),
    "goal outside": (mjcf('<site name="goal" pos="3.5 3.5 0"/>'), "goal can't be reached"),
    "path is not numbers": (
        walking("1,1 a,b"),
        "'a,b' is not x,y",
    ),
    "path without comma": (
        walking("1 1"),
        "person1_path: waypoint '1'",
    ),
    "path with three": (walking("1,1,1"), "is not x,y"),
    "path of blanks": (walking("  "), "has no waypoints"),
    "path with nan": (walking("1,1 nan,2"), "not finite"),
    "path with inf": (walking("1,1 inf,2"), "not finite"),
    "path for nobody": (mjcf(custom='<text name="person7_path" data="1,1 2,2"/>'), "names 'person7'"),
    "path for a body that is not mocap": (
        mjcf('<body name="person1"><geom size=".2"/></body>', custom='<text name="person1_path" data="1,1 2,2"/>'),
        "mocap",
    ),
    "negative speed": (mjcf(**person("1,1 2,2", speed=-1)), "person1_speed = -1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_world_is_refused_with_one_clear_line(case, tmp_path):
    text, message = BAD[case]
    path = tmp_path / "bad.xml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        World.load(path)
    assert "\n" not in str(error.value)
    assert "bad" in str(error.value)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.xml", "/no/such/folder/world.xml"])
def test_a_world_that_is_not_there_is_refused_with_one_clear_line(name):
    with pytest.raises(InputError, match=r"unknown; shipped: apartment|can't be read: No such file") as error:
        World.load(name)
    assert "\n" not in str(error.value)


def test_a_world_that_is_not_text_or_a_folder_is_refused(tmp_path):
    path = tmp_path / "binary.xml"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(InputError, match="not text"):
        World.load(path)
    with pytest.raises(InputError, match="can't be read"):
        World.load(f"{tmp_path}/")


def test_one_start_of_two_in_a_wall_is_left_out_and_logged(caplog):
    with caplog.at_level(logging.WARNING):
        world = room(sites='<site name="start1" pos="2.95 0 0"/><site name="start2" pos="1 1 0"/>')
    np.testing.assert_allclose(world.starts, [[1, 1, 0]])
    assert "start1" in caplog.text


def test_sites_come_in_natural_order_with_their_yaw_also_from_nested_bodies():
    sites = """<site name="start" pos="0 0 0" euler="0 0 90"/>
    <body pos="1 1 0" euler="0 0 90"><site name="goal10" pos="1 0 0"/><site name="goal2" pos="0 0 0" euler="0 0 90"/></body>"""
    world = room(sites=sites)
    np.testing.assert_allclose(world.starts, [[0, 0, math.pi / 2]], atol=1e-9)
    np.testing.assert_allclose(np.abs(world.goals), [[1, 1, math.pi], [1, 2, math.pi / 2]], atol=1e-9)


def test_people_are_read_with_paths_speeds_and_radius():
    world = room(**person("1,1 2,-1.5 -1,0", speed=0.9))
    (walker,) = world.people
    np.testing.assert_allclose(walker.path, [[1, 1], [2, -1.5], [-1, 0]])
    assert walker.speed == 0.9
    assert walker.radius == pytest.approx(0.2)


def test_a_person_without_a_path_stands_where_the_file_puts_it():
    world = room('<body name="person_anna" mocap="true" pos="1 2 .8"><geom type="capsule" size=".2 .6"/></body>')
    simulation = RobotSimulation(world, camera=False)
    simulation.advance(1)
    np.testing.assert_allclose(simulation.people, [[1, 2]])


UNUSUAL = {
    "radians": (
        '<compiler angle="radian"/>',
        '<geom name="beam" type="box" pos="1 0 .5" size=".05 1 .5" euler="0 0 1.5707963"/>',
    ),
    "defaults that would bend the robot": (
        '<default><geom type="sphere" size="2" contype="0" conaffinity="0"/><joint armature="9" damping="1e6"/></default>',
        '<geom name="beam" type="box" pos="1 0 .5" size="1 .05 .5" contype="1"/>',
    ),
    "nested": ("", '<body pos="1 0 0"><body euler="0 0 90"><geom type="box" pos="0 0 .5" size=".05 1 .5"/></body></body>'),
    "options": (
        '<option timestep="0.5" integrator="RK4"><flag contact="disable"/></option>',
        '<geom type="box" pos="1 0 .5" size="1 .05 .5"/>',
    ),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_worlds_written_in_other_ways_work_the_same(case):
    before, body = UNUSUAL[case]
    walls = ROOM.replace("<geom ", '<geom contype="1" ')
    world = World.from_xml(mjcf(body, before=before, room=walls, sites='<site name="start" pos="1 -2 0"/>'), case)
    simulation = RobotSimulation(world, sensors=EXACT, camera=False)
    simulation.reset(start=(1, -2, math.pi / 2))
    assert last(simulation.advance(0.1), Scan).ranges[90] == pytest.approx(1.95, abs=0.01)
    for _ in range(60):
        simulation.command(0.6, 0)
        simulation.advance(0.1)
    assert simulation.true_pose[1] == pytest.approx(-0.05 - 0.18, abs=0.01)
    assert simulation.contacts == 1


def test_a_world_without_floor_with_keyframes_and_actuators_gets_a_floor():
    text = """<mujoco><worldbody><body name="door" pos="2 0 1"><joint name="hinge" axis="0 0 1"/>
    <geom type="box" size=".05 .4 .9" mass="5"/></body><site name="start"/></worldbody>
    <keyframe><key qpos="0.5"/></keyframe></mujoco>"""
    simulation = RobotSimulation(World.from_xml(text, "hall"))
    image = [reading for reading in simulation.advance(0.1) if hasattr(reading, "rgb")][-1]
    assert np.isfinite(image.depth[-1]).all()


def test_a_world_with_an_include_is_read_whole(tmp_path):
    (tmp_path / "walls.xml").write_text(f"<mujoco><worldbody>{ROOM}</worldbody></mujoco>")
    path = tmp_path / "home.xml"
    path.write_text('<mujoco><include file="walls.xml"/><worldbody><site name="start"/></worldbody></mujoco>')
    simulation = RobotSimulation(World.load(path), sensors=EXACT, camera=False)
    simulation.reset(start=(0, 0, 0))
    assert last(simulation.advance(0.1), Scan).ranges[90] == pytest.approx(3, abs=0.01)


def test_a_world_of_meshes_in_a_folder_of_their_own_is_driven_in(tmp_path):
    (tmp_path / "meshes").mkdir()
    faces = "f 1 3 2\nf 1 2 4\nf 2 3 4\nf 3 1 4\n"
    (tmp_path / "meshes" / "wedge.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n" + faces)
    asset = '<compiler meshdir="meshes"/><asset><mesh name="wedge" file="wedge.obj"/></asset>'
    path = tmp_path / "home.xml"
    path.write_text(mjcf('<geom name="wedge" type="mesh" mesh="wedge" pos="1 -.3 0"/>', before=asset))
    world = World.load(path)
    grid = occupancy(world)
    assert grid.grid[grid.cell(1.15, -0.15)]
    assert not grid.grid[grid.cell(1.9, 0.6)]
    simulation = RobotSimulation(world, camera=False)
    simulation.reset(start=(0, 0, 0))
    for _ in range(40):
        simulation.command(0.5, 0)
        simulation.advance(0.1)
    assert simulation.contacts >= 1


def test_resources_are_found_in_an_ament_share_folder_first(tmp_path, monkeypatch):
    folder = tmp_path / "share" / "objective_agent" / "worlds"
    folder.mkdir(parents=True)
    (folder / "hut.xml").write_text(mjcf())
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    assert World.load("hut").name == "hut"
    assert World.load("office").name == "office"  # still found beside the package
    with pytest.raises(InputError, match="hut"):
        World.load("castle")
    with pytest.raises(InputError, match=r"worlds/moon.xml: not found; shipped worlds: .*hut.xml"):
        resources.resource("worlds", "moon.xml")


def test_the_world_of_the_documentation_works():
    text = (Path(resources.__file__).resolve().parent.parent / "docs" / "worlds.md").read_text()
    world = World.from_xml(re.search(r"```xml\n(.*?)```", text, re.DOTALL)[1], "documented")
    assert len(world.goals) == len(world.people) == 1
    assert RobotSimulation(world, camera=False).advance(1.0)
