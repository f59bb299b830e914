"""The Gazebo twin of a world: the same static geometry, people and sites as an SDF file, made from the same MJCF.

    python -m objective_agent.simulation.sdf apartment office corridor_people --out worlds

Geometry is taken from the compiled model, so nested bodies, default classes and angle units are already resolved.  A person
stands at the first waypoint as a capsule (Gazebo's actors have no collision, so lidar and bumper would miss one that walked);
sites become frames of the world, so `start1` or `goal2` can be named in Gazebo's commands.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import mujoco
import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.simulation.camera import geom_colours
from objective_agent.simulation.compose import PREFIX, Composed, compose
from objective_agent.simulation.parameters import SimulationParameters
from objective_agent.simulation.world import World, sites
from objective_agent.types import InputError

PLUGINS = {
    "gz-sim-physics-system": "gz::sim::systems::Physics",
    "gz-sim-user-commands-system": "gz::sim::systems::UserCommands",
    "gz-sim-scene-broadcaster-system": "gz::sim::systems::SceneBroadcaster",
    "gz-sim-contact-system": "gz::sim::systems::Contact",
}
GEOM = mujoco.mjtGeom


def to_sdf(world: World) -> str:
    """The world as SDF 1.9 text.  Raises InputError for a geom that SDF has no shape for (a mesh, a height field)."""
    composed = compose(world.xml, f"world {world.name}", RobotParameters(), SimulationParameters())
    mujoco.mj_kinematics(composed.model, composed.data)
    root = Element("sdf", version="1.9")
    root.append(ElementTree.Comment(f" Made from {world.name}.xml by objective_agent.simulation.sdf; do not edit. "))
    element = SubElement(root, "world", name=world.name)
    add_scene(element)
    for name, pose in {**sites(composed, "start"), **sites(composed, "goal")}.items():
        frame = SubElement(element, "frame", name=name)
        child(frame, "pose", numbers([*pose[:2], 0, 0, 0, pose[2]]))
    model = composed.model
    walkers = {model.body(person.name).id: person for person in world.people}
    static = add_model(element, world.name)
    for geom in range(model.ngeom):
        body = int(model.geom_bodyid[geom])
        name = model.geom(geom).name
        if body not in walkers and (not name.startswith(PREFIX) or composed.floors[geom]):
            add_geom(static, composed, geom, label(name.removeprefix(PREFIX), geom), geom_pose(composed, geom))
    for body, person in walkers.items():
        place = [*person.path[0], composed.data.xpos[body][2]]
        link = add_model(element, person.name, pose=numbers([*place, 0, 0, 0]))
        for geom in np.flatnonzero(model.geom_bodyid == body):
            pose = geom_pose(composed, int(geom), origin=composed.data.xpos[body])
            add_geom(link, composed, int(geom), label(model.geom(int(geom)).name, int(geom)), pose)
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def label(name: str, geom: int) -> str:
    return name or f"geom{geom}"


def child(parent: Element, tag: str, text: str, **attributes: str) -> Element:
    element = SubElement(parent, tag, **attributes)
    element.text = text
    return element


def numbers(values) -> str:
    """Values with at most four decimals and without minus zero, so that the text is the same on every machine."""
    return " ".join(f"{round(float(value), 4) + 0.0:g}" for value in values)


def add_scene(world: Element) -> None:
    """Physics, the systems a robot needs, and a sun."""
    physics = SubElement(world, "physics", name="10ms", type="ignored")
    child(physics, "max_step_size", "0.01")
    child(physics, "real_time_factor", "1")
    for filename, name in PLUGINS.items():
        SubElement(world, "plugin", filename=filename, name=name)
    sensors = SubElement(world, "plugin", filename="gz-sim-sensors-system", name="gz::sim::systems::Sensors")
    child(sensors, "render_engine", "ogre2")
    sun = SubElement(world, "light", name="sun", type="directional")
    child(sun, "cast_shadows", "true")
    child(sun, "pose", "0 0 10 0 0 0")
    child(sun, "diffuse", "0.9 0.9 0.9 1")
    child(sun, "direction", "-0.45 -0.25 -0.86")


def add_model(world: Element, name: str, pose: str | None = None) -> Element:
    """A static model with one link; returns the link."""
    model = SubElement(world, "model", name=name)
    child(model, "static", "true")
    if pose:
        child(model, "pose", pose)
    return SubElement(model, "link", name="link")


def geom_pose(composed: Composed, geom: int, origin=(0.0, 0.0, 0.0)) -> str:
    """`x y z roll pitch yaw` of a geom, seen from `origin`."""
    r = composed.data.geom_xmat[geom].reshape(3, 3)
    pitch = math.asin(min(1.0, max(-1.0, -r[2, 0])))
    if abs(r[2, 0]) < 1 - 1e-9:
        roll, yaw = math.atan2(r[2, 1], r[2, 2]), math.atan2(r[1, 0], r[0, 0])
    else:
        roll, yaw = 0.0, math.atan2(-r[0, 1], r[1, 1])
    return numbers([*(composed.data.geom_xpos[geom] - np.asarray(origin)), roll, pitch, yaw])


def add_geom(link: Element, composed: Composed, geom: int, name: str, pose: str) -> None:
    """A geom's collision (where it collides) and its visual."""
    model = composed.model
    kinds = ["visual"] if not (model.geom_contype[geom] or model.geom_conaffinity[geom]) else ["collision", "visual"]
    for kind in kinds:
        element = SubElement(link, kind, name=name if kind == "collision" else f"{name}_visual")
        child(element, "pose", pose)
        add_shape(SubElement(element, "geometry"), model, geom, name)
        if kind == "visual":
            material = SubElement(element, "material")
            colour = numbers([*(geom_colours(model)[geom] / 255), 1])
            child(material, "ambient", colour)
            child(material, "diffuse", colour)


def add_shape(geometry: Element, model: mujoco.MjModel, geom: int, name: str) -> None:
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == int(GEOM.mjGEOM_PLANE):
        plane = SubElement(geometry, "plane")
        child(plane, "normal", "0 0 1")
        child(plane, "size", numbers(2 * value or 100 for value in size[:2]))
    elif kind == int(GEOM.mjGEOM_BOX):
        child(SubElement(geometry, "box"), "size", numbers(2 * size))
    elif kind == int(GEOM.mjGEOM_SPHERE):
        child(SubElement(geometry, "sphere"), "radius", numbers(size[:1]))
    elif kind == int(GEOM.mjGEOM_ELLIPSOID):
        child(SubElement(geometry, "ellipsoid"), "radii", numbers(size))
    elif kind in (int(GEOM.mjGEOM_CYLINDER), int(GEOM.mjGEOM_CAPSULE)):
        shape = SubElement(geometry, "cylinder" if kind == int(GEOM.mjGEOM_CYLINDER) else "capsule")
        child(shape, "radius", numbers(size[:1]))
        child(shape, "length", numbers(2 * size[1:2]))
    else:
        raise InputError(f"{name}: SDF has no such shape; use boxes, spheres, cylinders, capsules or ellipsoids")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m objective_agent.simulation.sdf", description="Make worlds' Gazebo twins.")
    parser.add_argument("worlds", nargs="+", help="shipped names or paths of MJCF worlds")
    parser.add_argument("--out", type=Path, default=Path(), help="folder to write NAME.sdf into (default: here)")
    given = parser.parse_args(arguments)
    try:
        for name in given.worlds:
            world = World.load(name)
            unfinished = given.out / f"{world.name}.sdf.tmp"
            unfinished.write_text(to_sdf(world), encoding="utf-8")
            os.replace(unfinished, given.out / f"{world.name}.sdf")
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{given.out}: can't be written: {error.strerror}; give an existing folder with --out\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
