"""The Gazebo twins: up to date, valid, and with the geometry of the MJCF."""

import ctypes
import ctypes.util
import math
import xml.etree.ElementTree as ElementTree

import pytest
from simulation_scenes import mjcf, person, room

from objective_agent import resources
from objective_agent.simulation import World, generate_apartment
from objective_agent.simulation.sdf import main, to_sdf
from objective_agent.types import InputError

SHIPPED = ["apartment", "corridor_people", "office"]


def libsdformat():
    for name in ("libsdformat12.so.12", "libsdformat13.so.13", "libsdformat14.so.14"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_twin_is_what_is_made_of_the_world_now(name):
    shipped = resources.resource("worlds", f"{name}.sdf").read_text()
    assert shipped == to_sdf(World.load(name)), f"make it anew: python -m objective_agent.simulation.sdf {name} --out worlds"


@pytest.mark.skipif(libsdformat() is None, reason="needs libsdformat (Debian: libsdformat12-12 and sdformat-sdf)")
@pytest.mark.parametrize("name", [*SHIPPED, "generated"])
def test_twins_are_valid_sdf(name, tmp_path):
    world = generate_apartment(11, people=2) if name == "generated" else World.load(name)
    path = tmp_path / "world.sdf"
    path.write_text(to_sdf(world))
    assert libsdformat().cmdCheck(str(path).encode()) == 0


def test_a_twin_has_every_geom_where_the_world_has_it():
    body = """<body pos="1 1 0" euler="0 0 90"><geom name="crate" type="box" pos=".5 0 .3" size=".1 .2 .3"/>
    <geom type="capsule" pos="0 0 .3" size=".1 .2" contype="0" conaffinity="0"/></body>"""
    world = room(body, sites='<site name="start" pos="-1 0 0" euler="0 0 90"/>')
    root = ElementTree.fromstring(to_sdf(world)).find("world")
    crate = root.find(".//collision[@name='crate']")
    pose = [float(value) for value in crate.find("pose").text.split()]
    assert pose == pytest.approx([1, 1.5, 0.3, 0, 0, math.pi / 2], abs=1e-3)
    assert [float(value) for value in crate.find("geometry/box/size").text.split()] == pytest.approx([0.2, 0.4, 0.6])
    assert len(root.findall(".//collision")) == 6  # the capsule is there to be seen only
    assert len(root.findall(".//visual")) == 7
    assert root.find("frame[@name='start']/pose").text.split()[:2] == ["-1", "0"]


def test_a_person_is_a_capsule_at_the_first_waypoint():
    root = ElementTree.fromstring(to_sdf(room(**person("1,2 2,2")))).find("world")
    model = root.find("model[@name='person1']")
    assert model.find("pose").text.split()[:3] == ["1", "2", "0.85"]
    assert model.find(".//collision/geometry/capsule/radius").text == "0.2"


def test_a_shape_that_sdf_lacks_is_refused_by_name():
    before = '<asset><mesh name="wedge" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset>'
    world = room('<geom name="ramp" type="mesh" mesh="wedge" pos="1 1 0"/>', before=before)
    with pytest.raises(InputError, match="ramp: SDF has no such shape"):
        to_sdf(world)


def test_the_command_writes_twins_and_reports_errors(tmp_path, capsys):
    path = tmp_path / "hut.xml"
    path.write_text(mjcf())
    assert main([str(path), "--out", str(tmp_path)]) == 0
    assert ElementTree.parse(tmp_path / "hut.sdf").getroot().tag == "sdf"
    assert main(["castle", "--out", str(tmp_path)]) == 1
    assert main([str(path), "--out", str(tmp_path / "missing")]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
