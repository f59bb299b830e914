"""The simulator as a gymnasium environment: reach the goal of a world, or of a new generated apartment every episode.

For research code and for looking; the agent itself is evaluated through `RobotSimulation`, which speaks in readings.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.simulation.generator import TRAIN_SEEDS, generate_apartment
from objective_agent.simulation.parameters import SensorParameters, SimulationParameters
from objective_agent.simulation.simulation import RobotSimulation
from objective_agent.simulation.world import World
from objective_agent.types import Image, InputError, Odometry, Scan, to_base


class RobotEnv(gymnasium.Env):
    """Action [2]: forward speed m/s, turn rate rad/s, held for one step of `dt` seconds.

    Observation: `scan` [beams] metres (free beams read range_max, unknown ones 0), `goal` [2] in base_link and `velocity` [2]
    as odometry has them, and with `camera` `image` [h, w, 3].  Reward: metres nearer to the goal, -1 at a contact, +1 at the
    goal, which ends the episode.  `world`: a World, a path, a shipped name, or "generated".  `info`: pose, contacts, distance.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - gymnasium's own convention

    def __init__(
        self,
        world: World | str = "apartment",
        robot: RobotParameters | None = None,
        sensors: SensorParameters | None = None,
        simulation: SimulationParameters | None = None,
        camera: bool = True,
        dt: float = 0.1,
        goal_tolerance: float = 0.3,
        time_limit: float = 60.0,
        render_mode: str | None = None,
    ):
        self.robot, self.sensors, self.simulation = robot or RobotParameters(), sensors or SensorParameters(), simulation
        self.camera, self.dt, self.goal_tolerance, self.time_limit = camera, dt, goal_tolerance, time_limit
        self.render_mode = render_mode
        slowest = 1 / min(self.sensors.lidar.rate, self.sensors.odometry.rate, self.sensors.camera.rate)
        self._warm_up = math.ceil(slowest / 0.01) * 0.01 + 0.01
        self._generated = world == "generated"
        self._world = None if self._generated else world if isinstance(world, World) else World.load(world, self.robot)
        if self._world is not None and not len(self._world.goals):
            raise InputError(f'world {self._world.name}: has no goal; add <site name="goal" pos="x y 0"/>')
        self._running: RobotSimulation | None = None
        robot, lidar, lens = self.robot, self.sensors.lidar, self.sensors.camera
        low = np.array([-robot.max_reverse_speed, -robot.max_turn_rate], np.float32)
        high = np.array([robot.max_speed, robot.max_turn_rate], np.float32)
        self.action_space = gymnasium.spaces.Box(low, high)
        spaces: dict[str, gymnasium.Space] = {
            "scan": gymnasium.spaces.Box(0, lidar.range_max, (lidar.beams,), np.float32),
            "goal": gymnasium.spaces.Box(-1e3, 1e3, (2,), np.float32),
            "velocity": gymnasium.spaces.Box(-10, 10, (2,), np.float32),
        }
        if camera:
            spaces["image"] = gymnasium.spaces.Box(0, 255, (lens.height, lens.width, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict(spaces)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """`options`: `start` [3] and `goal` [2 or 3] instead of drawn ones."""
        super().reset(seed=seed)
        options = options or {}
        draw = int(self.np_random.integers(len(TRAIN_SEEDS)))
        if self._generated or self._running is None:
            world = generate_apartment(TRAIN_SEEDS[draw]) if self._generated else self._world
            self._running = RobotSimulation(world, self.robot, self.sensors, draw, self.camera, self.simulation)
        simulation = self._running
        simulation.reset(draw, options.get("start"))
        goals = simulation.world.goals
        goal = options.get("goal", goals[self.np_random.integers(len(goals))])
        self.goal = np.asarray(goal, float)[:2]
        self._latest: dict[type, Any] = {}
        self._take(simulation.advance(self._warm_up))
        self._distance = self._goal_distance()
        return self._observation(), self._info()

    def step(self, action):
        """One `dt` with `action`; a non-finite action is an InputError."""
        simulation, contacts = self._simulation(), self._simulation().contacts
        action = np.asarray(action, float)
        ticks = max(1, round(self.dt / 0.1))  # commands must come more often than the base's timeout
        for _ in range(ticks):
            simulation.command(float(action[0]), float(action[1]))
            self._take(simulation.advance(self.dt / ticks))
        distance = self._goal_distance()
        reached = distance < self.goal_tolerance
        reward = self._distance - distance + float(reached) - float(simulation.contacts > contacts)
        self._distance = distance
        return self._observation(), float(reward), bool(reached), simulation.time >= self.time_limit, self._info()

    def render(self) -> np.ndarray | None:
        """The camera's newest frame [h, w, 3]."""
        image = self._latest.get(Image)
        return None if image is None else image.rgb

    def _simulation(self) -> RobotSimulation:
        if self._running is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        return self._running

    def _take(self, readings) -> None:
        self._latest.update({type(reading): reading for reading in readings})

    def _goal_distance(self) -> float:
        return float(np.hypot(*(self._simulation().true_pose[:2] - self.goal)))

    def _observation(self) -> dict[str, np.ndarray]:
        scan, odometry = self._latest[Scan], self._latest[Odometry]
        ranges = np.nan_to_num(scan.ranges, nan=0.0, posinf=scan.range_max, neginf=0.0)
        goal = to_base(odometry.pose, self.goal[None].astype(np.float32))[0]
        observation = {"scan": ranges, "goal": goal.astype(np.float32), "velocity": odometry.velocity}
        return observation | ({"image": self._latest[Image].rgb} if self.camera else {})

    def _info(self) -> dict[str, Any]:
        simulation = self._simulation()
        return {"pose": simulation.true_pose, "contacts": simulation.contacts, "distance": self._goal_distance()}
