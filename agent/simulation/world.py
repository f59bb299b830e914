"""A world: an MJCF file with sites to start from and to go to, and people who walk (format: docs/worlds.md).

`World.load` refuses what could not be driven in (no free start, a blocked or walled-in goal, a path for nobody) with one line
that says what is wrong and how to mend it, so that a run never fails in its middle over its world.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from objective_agent import resources
from objective_agent.config import RobotParameters
from objective_agent.simulation.compose import Composed, compose, parse
from objective_agent.simulation.occupancy import extent, rasterize
from objective_agent.simulation.parameters import SimulationParameters
from objective_agent.simulation.people import DEFAULT_SPEED, Person, parse_path
from objective_agent.types import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)  # arrays have no truth: a world is equal to itself only
class World:
    """`xml` MJCF text; `starts` [n, 3] (free ones), `goals` [m, 3] as x, y, yaw; `people`; `bounds` xmin, ymin, xmax, ymax."""

    name: str
    xml: str
    starts: np.ndarray
    goals: np.ndarray
    people: tuple[Person, ...]
    bounds: tuple[float, float, float, float]

    @classmethod
    def load(cls, path_or_name: str | Path, robot: RobotParameters | None = None) -> World:
        """The world of a file, or the shipped one of that name.  Raises InputError with one line when it can't be used."""
        path = Path(path_or_name)
        if not path.suffix and path.name == str(path_or_name) and not path.is_file():
            known = [name.removesuffix(".xml") for name in resources.listing("worlds", ".xml")]
            if path.name not in known:
                raise InputError(f"world {path.name!r}: unknown; shipped: {', '.join(known)}; or give the path of an MJCF file")
            path = resources.resource("worlds", f"{path.name}.xml")
        try:
            xml = path.read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(f"world {path}: can't be read: {error.strerror}; give the path of an MJCF file") from None
        except UnicodeDecodeError:
            raise InputError(f"world {path}: is not text; give the path of an MJCF file") from None
        if re.search(r"<include\b|\bfile\s*=", xml):
            xml = resolved(path)
        return cls.from_xml(xml, path.stem, robot)

    @classmethod
    def from_xml(cls, xml: str, name: str = "world", robot: RobotParameters | None = None) -> World:
        """The world that MJCF text describes, checked for `robot`."""
        robot, simulation = robot or RobotParameters(), SimulationParameters()
        where = f"world {name}"
        composed = compose(xml, where, robot, simulation)
        mujoco.mj_kinematics(composed.model, composed.data)
        starts, goals = sites(composed, "start"), sites(composed, "goal")
        if not starts:
            raise InputError(f'{where}: has no start; add <site name="start" pos="x y 0"/> where the robot fits')
        people = read_people(parse(xml, where), composed, where)
        bounds = world_bounds(composed, [*starts.values(), *goals.values()], people)
        free = free_starts(composed, starts, where)
        check_goals(composed, free, goals, bounds, where, robot, simulation)
        return cls(name, xml, array(free), array(goals), people, bounds)


def array(poses: dict[str, np.ndarray]) -> np.ndarray:
    return np.array(list(poses.values()), float).reshape(-1, 3)


def resolved(path: Path) -> str:
    """The file with its includes and assets pulled in, as one text."""
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        # The text is read again without a folder of its own: let it name its assets wherever they are.
        spec.meshdir = str((path.parent / spec.meshdir).resolve())
        spec.texturedir = str((path.parent / spec.texturedir).resolve())
        spec.compile()
        return spec.to_xml()
    except (ValueError, mujoco.FatalError) as error:
        raise InputError(f"world {path}: is not a valid MJCF world: {' '.join(str(error).split())}") from None


def natural(name: str) -> list:
    """Sort key that puts goal10 behind goal9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def sites(composed: Composed, prefix: str) -> dict[str, np.ndarray]:
    """Name -> pose [x, y, yaw] of the sites whose names begin with `prefix`, in natural order."""
    model, data = composed.model, composed.data
    names = sorted((model.site(i).name for i in range(model.nsite) if model.site(i).name.startswith(prefix)), key=natural)
    poses = {}
    for name in names:
        site = model.site(name).id
        x, y, _ = data.site_xpos[site]
        matrix = data.site_xmat[site]
        poses[name] = np.array([x, y, math.atan2(matrix[3], matrix[0])])
    return poses


def read_people(spec: mujoco.MjSpec, composed: Composed, where: str) -> tuple[Person, ...]:
    """The mocap bodies `person*` with their paths; InputError for a path that is malformed or belongs to no such body."""
    model, data = composed.model, composed.data
    names = [model.body(i).name for i in range(model.nbody) if model.body_mocapid[i] >= 0]
    paths = {text.name.removesuffix("_path"): text.data for text in spec.texts if is_setting(text.name, "_path")}
    speeds = {item.name.removesuffix("_speed"): item.data for item in spec.numerics if is_setting(item.name, "_speed")}
    for name in {**paths, **speeds}:
        if name not in names:
            raise InputError(
                f'{where}: a path or speed names {name!r}, but there is no <body name="{name}" mocap="true">; add it'
            )
    people = []
    for name in sorted((name for name in names if name.startswith("person")), key=natural):
        body = model.body(name)
        path = parse_path(paths[name], f"{where}: {name}_path") if name in paths else data.xpos[body.id][None, :2].copy()
        speed = float(speeds[name][0]) if name in speeds else DEFAULT_SPEED
        if not (math.isfinite(speed) and 0 < speed <= 5):
            raise InputError(f"{where}: {name}_speed = {speed:g}: must be more than 0 and at most 5 m/s")
        people.append(Person(name, path, speed, body_radius(composed, body.id)))
    return tuple(people)


def is_setting(name: str, suffix: str) -> bool:
    return name.startswith("person") and name.endswith(suffix)


def body_radius(composed: Composed, body: int) -> float:
    """How far a body's geoms reach sideways from its origin, m."""
    model, data = composed.model, composed.data
    reach = [0.0]
    for geom in np.flatnonzero(model.geom_bodyid == body):
        centre, half = extent(model, data, int(geom))
        reach.append(float(np.max(np.abs(centre[:2] - data.xpos[body][:2]) + half[:2])))
    return max(reach)


def world_bounds(composed: Composed, poses: list[np.ndarray], people: tuple[Person, ...]) -> tuple[float, float, float, float]:
    """The box around all geoms but planes and the robot, all sites and all paths."""
    model, data = composed.model, composed.data
    points = [pose[:2] + side * 0.5 for pose in poses for side in (-1, 1)]
    points += [point for person in people for point in person.path]
    for geom in range(model.ngeom):
        if model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE and geom != composed.geom:
            centre, half = extent(model, data, geom)
            if centre[2] + half[2] > 0.01:  # a floor made of boxes may be far larger than what stands on it
                points += [centre[:2] - half[:2], centre[:2] + half[:2]]
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def standing(composed: Composed) -> list[int]:
    """Geoms the robot touches, people left out: they will have moved on."""
    model = composed.model
    return [geom for geom in composed.touching() if model.body_mocapid[model.geom_bodyid[geom]] < 0]


def free_starts(composed: Composed, starts: dict[str, np.ndarray], where: str) -> dict[str, np.ndarray]:
    """The starts where the robot touches nothing; InputError when there is none."""
    free, blocked = {}, {}
    for name, pose in starts.items():
        composed.place(pose)
        touched = standing(composed)
        if touched:
            blocked[name] = composed.geom_label(touched[0])
        else:
            free[name] = pose
    said = ", ".join(f"{name} (touches {label})" for name, label in blocked.items())
    if not free:
        raise InputError(f"{where}: no start is free: {said}; move a start site to where the robot fits")
    if blocked:
        log.warning("%s: left out: %s", where, said)
    return free


def check_goals(composed: Composed, starts, goals, bounds, where: str, robot: RobotParameters, simulation) -> None:
    """InputError unless the robot fits on each goal and a way leads there from some start."""
    if not goals:
        return
    for name, pose in goals.items():
        composed.place(pose)
        touched = standing(composed)
        if touched:
            raise InputError(
                f"{where}: {name} is blocked: the robot would touch {composed.geom_label(touched[0])} there; move the site"
            )
    resolution = 0.05
    grid = rasterize(composed, bounds, resolution, simulation)
    # Half a cell less than the body: a grid is coarse, and a way that is only just wide enough must not be refused.
    regions = grid.regions(max(robot.radius - resolution / 2, resolution))
    reachable = {regions[grid.cell(*pose[:2])] for pose in starts.values()} - {0}
    for name, pose in goals.items():
        region = regions[grid.cell(*pose[:2])]
        if region and reachable and region not in reachable:
            raise InputError(f"{where}: {name} can't be reached from any start: it is walled in; open a way or move the site")
