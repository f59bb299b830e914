"""Puts the robot into a world: one MuJoCo model of a world file and the robot's body.

The robot is one rigid body `robot/base_link` on two slides and a hinge (a plane has three degrees of freedom), attached with
its own defaults, so a world file's default classes and angle units can't reach into it.  Its wheels are not bodies: what a
differential drive can do is imposed on the joint velocities (`drive.py`), contact forces are MuJoCo's.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.simulation.parameters import SimulationParameters
from objective_agent.types import InputError

PREFIX = "robot/"
PANEL = f"{PREFIX}panel"
"""Body of the wall that can appear (`panel.py`)."""
PANEL_SIZE = (0.06, 1.0, 1.4)
"""Its thickness, width and height, m."""

# All collision bits set: the robot touches every geom that touches anything, whatever bits the world file uses.
ROBOT = """<mujoco>
  <worldbody>
    <body name="base_link" gravcomp="1">
      <joint name="x" type="slide" axis="1 0 0"/>
      <joint name="y" type="slide" axis="0 1 0"/>
      <joint name="yaw" type="hinge" axis="0 0 1"/>
      <geom name="body" type="cylinder" size="{radius:.6g} {half:.6g}" pos="0 0 {middle:.6g}" mass="{mass:.6g}"
            contype="2147483647" conaffinity="2147483647" condim="1" rgba="0.15 0.15 0.18 1"/>
    </body>
  </worldbody>
</mujoco>"""


@dataclass(frozen=True)
class Composed:
    """A compiled model with what the simulator looks up in it: body and geom ids, addresses of the robot's three joints."""

    model: mujoco.MjModel
    data: mujoco.MjData
    body: int
    geom: int
    qpos: int
    dof: int
    floors: np.ndarray
    """[geoms] bool: upward planes, which are never an obstacle."""

    def place(self, pose) -> None:
        """Puts the robot at `pose` (x, y, yaw), at rest, and computes contacts there."""
        self.data.qpos[self.qpos : self.qpos + 3] = pose
        self.data.qvel[self.dof : self.dof + 3] = 0
        mujoco.mj_forward(self.model, self.data)

    def touching(self) -> list[int]:
        """Geoms that the robot penetrates, as of the last collision detection."""
        data = self.data
        if not data.ncon:
            return []
        contact = data.contact
        pairs, deep = contact.geom, contact.dist < 0
        first, second = pairs[:, 0] == self.geom, pairs[:, 1] == self.geom
        others = np.concatenate([pairs[first & deep, 1], pairs[second & deep, 0]])
        return [int(geom) for geom in others if not self.floors[geom]]

    def geom_label(self, geom: int) -> str:
        """A geom's name for error messages, or its body's, or its number."""
        model = self.model
        body = model.body(int(model.geom_bodyid[geom])).name
        return model.geom(geom).name or (f"a geom of {body}" if body not in ("", "world") else f"geom number {geom}")


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def parse(xml: str, where: str) -> mujoco.MjSpec:
    """The world's MJCF as an MjSpec; InputError when it isn't one."""
    try:
        return mujoco.MjSpec.from_string(xml)
    except (ValueError, mujoco.FatalError) as error:
        raise InputError(f"{where}: is not a valid MJCF world: {one_line(error)}") from None


def compile_spec(spec: mujoco.MjSpec, where: str) -> mujoco.MjModel:
    try:
        return spec.compile()
    except (ValueError, mujoco.FatalError) as error:
        raise InputError(f"{where}: is not a valid MJCF world: {one_line(error)}") from None


def compose(xml: str, where: str, robot: RobotParameters, simulation: SimulationParameters) -> Composed:
    """Compiles the world `xml` with the robot attached and, where the world has none, a floor."""
    spec = parse(xml, where)
    for key in list(spec.keys):  # keyframes hold the state of the world alone and no longer fit
        spec.delete(key)
    half = (simulation.robot_height - simulation.ground_clearance) / 2
    text = ROBOT.format(radius=robot.radius, half=half, middle=simulation.ground_clearance + half, mass=simulation.mass)
    child = mujoco.MjSpec.from_string(text)
    add_panel(spec)
    spec.worldbody.add_frame().attach_body(child.body("base_link"), PREFIX, "")
    option = spec.option
    option.timestep = simulation.timestep
    option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    option.disableflags = option.enableflags = 0
    option.density = option.viscosity = 0.0
    model = compile_spec(spec, where)
    if not upward_planes(model).any():
        add_floor(spec)
        model = compile_spec(spec, where)
    joint = model.joint(f"{PREFIX}x")
    return Composed(
        model=model,
        data=mujoco.MjData(model),
        body=model.body(f"{PREFIX}base_link").id,
        geom=model.geom(f"{PREFIX}body").id,
        qpos=int(joint.qposadr[0]),
        dof=int(joint.dofadr[0]),
        floors=upward_planes(model),
    )


def upward_planes(model: mujoco.MjModel) -> np.ndarray:
    """[geoms] bool: planes whose normal points up."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    return (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) & (data.geom_xmat[:, 8] > 0.9)


def add_panel(spec: mujoco.MjSpec) -> None:
    """The wall that can appear, far below the floor."""
    body = spec.worldbody.add_body()
    body.name, body.mocap, body.pos = PANEL, True, [0, 0, -100]
    geom = body.add_geom()
    geom.name, geom.type, geom.size = PANEL, mujoco.mjtGeom.mjGEOM_BOX, [side / 2 for side in PANEL_SIZE]
    geom.rgba = [0.8, 0.25, 0.25, 1]
    geom.contype = geom.conaffinity = 1


def add_floor(spec: mujoco.MjSpec) -> None:
    """A plane just under z = 0, so that a floor made of boxes still shows above it."""
    floor = spec.worldbody.add_geom()
    floor.name = "robot/floor"
    floor.type = mujoco.mjtGeom.mjGEOM_PLANE
    floor.pos = [0, 0, -0.005]
    floor.quat = [1, 0, 0, 0]
    floor.size = [0, 0, 1]
    floor.rgba = [0.6, 0.56, 0.5, 1]
    floor.contype = floor.conaffinity = 1
