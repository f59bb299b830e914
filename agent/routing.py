"""When the route memory is asked for a way, and to where.

Apart from `agent.py`, because the memory node needs it without the planner (and its torch).
"""

from __future__ import annotations

import math

import numpy as np

from objective_agent import plugins
from objective_agent.config import Configuration, MemoryParameters, RobotParameters
from objective_agent.types import Observation


class Router:
    """Asks the route memory for a way to the goal every `route_period` seconds, and at once for a new goal."""

    def __init__(self, parameters: MemoryParameters, robot: RobotParameters):
        self.memory = plugins.create("route_memory", parameters.route, robot, "memory.route")
        self._period = parameters.route_period
        self.reset()

    def reset(self) -> None:
        self.memory.reset()
        self.route: np.ndarray | None = None
        self._planned_at = -math.inf
        self._goal: tuple[float, float] | None = None
        self._scan_stamp: float | None = None

    def update(self, observation: Observation, goal: tuple[float, float] | None) -> np.ndarray | None:
        """Way points [n, 2] in odom, None without a goal or a way.  `goal` is (x, y) in odom."""
        scan = observation.scans[0]
        if scan is not None and scan.stamp != self._scan_stamp:
            self._scan_stamp = scan.stamp
            self.memory.update(observation)
        if goal is None:
            self.route, self._goal = None, None
            return None
        elapsed = observation.stamp - self._planned_at
        if goal != self._goal or elapsed >= self._period or elapsed < 0:
            self._goal, self._planned_at = goal, observation.stamp
            self.route = self.memory.route(np.asarray(observation.pose[0][:2]), np.asarray(goal))
        return self.route


def route_goal(configuration: Configuration) -> tuple[float, float] | None:
    """Where the route memory has to find a way to under `configuration`, None for nowhere."""
    task = configuration.task
    if task.kind != "goal_pose" or configuration.reached or not configuration.use_route:
        return None
    return task.position
