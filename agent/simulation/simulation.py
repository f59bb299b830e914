"""The embedded simulator: one robot in one world, stepped as fast as the machine allows.

MuJoCo finds and resolves contacts; the drive imposes what two wheels can do as joint velocities before every step.  All forces
are finite (acceleration limits forward, `grip` sideways), so walls and people really stop the robot.  Nothing here reads a
clock: a second simulated is a second, and equal seeds give equal readings.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import mujoco
import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.simulation.camera import CameraSensor
from objective_agent.simulation.compose import compose
from objective_agent.simulation.drive import Drive, approach
from objective_agent.simulation.lidar import LidarSensor
from objective_agent.simulation.odometry import OdometrySensor
from objective_agent.simulation.panel import Panel
from objective_agent.simulation.parameters import SensorParameters, SimulationParameters
from objective_agent.simulation.people import walk_of
from objective_agent.simulation.slip import NONE, Slip
from objective_agent.simulation.world import World
from objective_agent.types import Image, InputError, Odometry, Scan, wrap_angle

RELEASE = 0.2  # a contact that comes back within this time is the same contact, s
MOVING_SPEED, MOVING_TURN = 0.02, 0.1
"""Above either, wheels that drive make a robot that is touched one that moved into the contact, m/s and rad/s."""


class RobotSimulation:
    """`command` what the base should do, `advance` the time, take the readings.

    The first readings come one sensor period after the start.  Odometry starts at the true pose, so goals given in world
    coordinates are goals in odom.  `true_pose`, `in_contact`, `contacts`, `contacts_moving` (those that began while the wheels
    drove) and `people` are for scoring and drawing only.  `camera_phase`: the share of a period by which frames come later.
    `start`: as in `reset`.
    """

    def __init__(
        self,
        world: World,
        robot: RobotParameters | None = None,
        sensors: SensorParameters | None = None,
        seed: int = 0,
        camera: bool = True,
        simulation: SimulationParameters | None = None,
        slip: Slip = NONE,
        camera_phase: float = 0.0,
        start: tuple[float, float, float] | None = None,
    ):
        self.world, self.robot = world, robot or RobotParameters()
        self.sensors, self.parameters = sensors or SensorParameters(), simulation or SimulationParameters()
        self._composed = composed = compose(world.xml, f"world {world.name}", self.robot, self.parameters)
        self._model, self._data = composed.model, composed.data
        self._drive = Drive(self.robot, self.parameters.command_timeout, slip)
        self._acceleration = self.robot.max_acceleration * slip.acceleration
        self._turn_acceleration = self.robot.max_turn_acceleration * slip.acceleration
        self._camera_phase = camera_phase
        self.watched: Callable[[float, float], bool] | None = None
        """Whether anybody looks at a frame, by its stamp and the next one's (None: at all).  Else it is not rendered."""
        self._odometry = OdometrySensor(self.sensors.odometry)
        self._lidar = LidarSensor(self.sensors.lidar, composed)
        self._camera = CameraSensor(self.sensors.camera, composed) if camera else None
        self._rates = [self.sensors.odometry.rate, self.sensors.lidar.rate, self.sensors.camera.rate if camera else None]
        self.panel = Panel(composed, self.robot)
        self._mocap = [int(self._model.body(person.name).mocapid[0]) for person in world.people]
        self._qvel = self._data.qvel[composed.dof : composed.dof + 3]
        self._qpos = self._data.qpos[composed.qpos : composed.qpos + 3]
        self._seed = seed
        self.reset(start=start)

    def reset(self, seed: int | None = None, start: tuple[float, float, float] | None = None) -> None:
        """Back to time 0 at `start` (x, y, yaw), or at one of the world's starts drawn with `seed`.

        The same seed and commands give the same run.  Raises InputError when the robot would touch something there.
        """
        self._seed = self._seed if seed is None else seed
        choice, *streams = np.random.default_rng(self._seed).spawn(5)
        self._rng = dict(zip(("odometry", "lidar", "camera", "people"), streams, strict=True))
        mujoco.mj_resetData(self._model, self._data)
        self._walks = [walk_of(person, self._rng["people"].spawn(1)[0]) for person in self.world.people]
        self._show_people()
        self._place(start, choice)
        self._drive.reset()
        self._v = self._w = self._side = 0.0
        self._driven_v = self._driven_w = 0.0
        self._steps, self._until = 0, 0.0
        self._counts = [1, 1, 1 + self._camera_phase]
        self._schedule()
        self._touched = -math.inf
        self.in_contact, self.contacts, self.contacts_moving = False, 0, 0
        self._odometry.reset(self._pose(), self._rng["odometry"])

    def copy(self, camera: bool = True) -> RobotSimulation:
        """The same moment once more: physics, people, hidden slip, commands under way and random generators.

        Copy and original give equal readings under equal commands, and nothing done to one reaches the other.  Costs a fraction
        of a millisecond: the compiled world is shared.  `camera` False leaves the camera out, the dear part of running on.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._composed = composed = replace(self._composed, data=copy.copy(self._data))
        other._data = composed.data
        other._qvel = composed.data.qvel[composed.dof : composed.dof + 3]
        other._qpos = composed.data.qpos[composed.qpos : composed.qpos + 3]
        # In one go: odometry and people share their generators with `_rng`.
        live = (self._drive, self._rng, self._walks, self._odometry, self._counts)
        shared = {id(part): part for part in (self.robot, self.sensors.odometry, *self.world.people)}
        other._drive, other._rng, other._walks, other._odometry, other._counts = copy.deepcopy(live, shared)
        other.watched = None
        other._lidar = self._lidar.over(composed)
        other._camera = self._camera.over(composed) if camera and self._camera is not None else None
        other.panel = Panel(composed, self.robot)
        if other._camera is None:
            other._rates = [*self._rates[:2], None]
            other._schedule()
        return other

    def _place(self, start, rng: np.random.Generator) -> None:
        if start is not None:
            pose = np.asarray(start, float)
            if pose.shape != (3,) or not np.isfinite(pose).all():
                raise InputError(f"start {start}: must be three finite numbers x, y, yaw")
            self._composed.place(pose)
            touched = self._composed.touching()
            if touched:
                label = self._composed.geom_label(touched[0])
                raise InputError(
                    f"start {[round(float(c), 3) for c in pose]}: the robot would touch {label}; choose a free pose"
                )
            return
        for index in rng.permutation(len(self.world.starts)):
            self._composed.place(self.world.starts[index])
            if not self._composed.touching():
                return
        raise InputError(f"world {self.world.name}: no start is free for this robot; make room around a start site")

    # --- time ---------------------------------------------------------------------------------------------------------------

    @property
    def time(self) -> float:
        """Simulated seconds since reset."""
        return self._steps * self.parameters.timestep

    def command(self, v: float, w: float) -> None:
        """A velocity command (m/s, rad/s) that arrives now; it takes effect after the robot's actuator delay."""
        self._drive.command(self.time, v, w)

    def advance(self, seconds: float) -> list[Scan | Image | Odometry]:
        """Simulates `seconds` and returns the sensors' readings in the order of their stamps.

        Shares of a physics step are kept for the next call, so many short calls are as long as one long one.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise InputError(f"advance({seconds}): must be a finite number of seconds, not negative")
        self._until += seconds
        timestep = self.parameters.timestep
        readings: list[Scan | Image | Odometry] = []
        while (self._steps + 1) * timestep <= self._until + 1e-9:
            self._step(timestep)
            if self._steps >= self._next:
                self._sense(readings)
        return readings

    def _step(self, timestep: float) -> None:
        qvel, yaw = self._qvel, float(self._qpos[2])
        now = self._steps * timestep
        if self._walks:
            self._move_people(timestep)
        target_v, target_w = self._drive.target(now)
        dv, dw = self._acceleration * timestep, self._turn_acceleration * timestep
        v, w = self._v, self._w = approach(self._v, target_v, dv), approach(self._w, target_w, dw)
        # What the wheels drive, without what a touch did to the body: who is pushed does not move by itself.
        self._driven_v, self._driven_w = approach(self._driven_v, target_v, dv), approach(self._driven_w, target_w, dw)
        side = self._side = approach(self._side, 0.0, self.parameters.grip * timestep)
        middle = yaw + w * timestep / 2
        cos, sin = math.cos(middle), math.sin(middle)
        vx, vy = v * cos - side * sin, v * sin + side * cos
        qvel[0], qvel[1], qvel[2] = vx, vy, w
        mujoco.mj_step(self._model, self._data)
        self._steps += 1
        if self._data.ncon:
            # What the contact did to the velocity, in the robot's frame: blocked wheels stand still, a push is felt.
            dx, dy = float(qvel[0]) - vx, float(qvel[1]) - vy
            self._v += dx * cos + dy * sin
            self._side += dy * cos - dx * sin
            self._w = float(qvel[2])
            self._count_contacts(now)
        else:
            self.in_contact = False

    def _count_contacts(self, now: float) -> None:
        self.in_contact = bool(self._composed.touching())
        if self.in_contact:
            if now - self._touched > RELEASE:
                self.contacts += 1
                self.contacts_moving += abs(self._driven_v) > MOVING_SPEED or abs(self._driven_w) > MOVING_TURN
            self._touched = now

    # --- people -------------------------------------------------------------------------------------------------------------

    def _move_people(self, timestep: float) -> None:
        x, y = float(self._qpos[0]), float(self._qpos[1])
        gap = self.parameters.yield_distance if self.parameters.yielding else None
        for walk in self._walks:
            walk.step(timestep, (x, y), self.robot.radius, gap)
        self._show_people()

    def _show_people(self) -> None:
        data = self._data
        for walk, mocap in zip(self._walks, self._mocap, strict=True):
            data.mocap_pos[mocap, :2] = walk.x, walk.y

    def raise_wall(self, distance: float) -> None:
        """A wall appears across the robot's way, `distance` m ahead of its middle.  InputError where there is no room."""
        self.panel.raise_ahead(self._pose(), self._v, distance)

    def lower_wall(self) -> None:
        """It is gone again."""
        self.panel.lower()

    # --- sensing ------------------------------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """The physics step at which each sensor is due next, and the first of them."""
        timestep = self.parameters.timestep
        pairs = zip(self._counts, self._rates, strict=True)
        self._due = [math.inf if rate is None else math.ceil(count / rate / timestep - 1e-6) for count, rate in pairs]
        self._next = min(self._due)

    def _sense(self, readings: list) -> None:
        mujoco.mj_kinematics(self._model, self._data)  # mj_step leaves geometry one step behind
        due = [step <= self._steps for step in self._due]
        stamp, pose = self.time, self._pose()
        if due[0]:
            readings.append(self._odometry.read(stamp, pose, (self._v, self._w)))
        if due[1]:
            readings.append(self._lidar.read(stamp, pose, self._rng["lidar"]))
        self._counts = [count + is_due for count, is_due in zip(self._counts, due, strict=True)]
        self._schedule()
        if due[2] and (self.watched is None or self.watched(stamp, self._due[2] * self.parameters.timestep)):
            readings.append(self._camera.read(stamp, pose, self._rng["camera"]))
        elif due[2]:
            self._camera.skip(self._rng["camera"])

    # --- truth, for scoring and drawing -------------------------------------------------------------------------------------

    def _pose(self) -> tuple[float, float, float]:
        x, y, yaw = self._qpos.tolist()
        return x, y, wrap_angle(yaw)

    @property
    def true_pose(self) -> np.ndarray:
        """[3] x, y, yaw in the world."""
        return np.array(self._pose())

    @property
    def true_velocity(self) -> np.ndarray:
        """[2] forward speed and turn rate of the body."""
        return np.array([self._v, self._w])

    @property
    def wall(self) -> np.ndarray | None:
        """[3] x, y and yaw (the direction that it faces) of the wall that appeared, None while there is none."""
        return self.panel.place

    def sweep(self) -> Scan:
        """What the lidar says now, out of turn: it uses up noise, so ask a copy."""
        mujoco.mj_kinematics(self._model, self._data)
        return self._lidar.read(self.time, self._pose(), self._rng["lidar"])

    @property
    def people(self) -> np.ndarray:
        """[n, 2] where the people are."""
        return np.array([(walk.x, walk.y) for walk in self._walks], float).reshape(-1, 2)
