"""Memory: representations, obstacles and sent commands -> the present state, and a route to the goal.

representation, representation/odom, representation/scan, scan, odom, cmd_vel, cmd_vel_raw, configuration
    ->  state, state/odom, state/points, route, actuator_delay
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np
from nav_msgs.msg import Odometry as OdometryMessage
from nav_msgs.msg import Path
from sensor_msgs.msg import Image, LaserScan, PointCloud2
from std_msgs.msg import String

from objective_agent import plugins
from objective_agent.config import Configuration, MemoryParameters, PerceptionParameters, Strict, validate
from objective_agent.memory.seen import with_estimates
from objective_agent.memory.touch import Touch
from objective_agent.perception.synchronizer import Synchronizer
from objective_agent.routing import Router, route_goal
from objective_agent.types import InputError, Odometry, Representation, Scan, WorldState
from objective_agent.versions import Version
from objective_agent_nodes import convert, convert_state, qos
from objective_agent_nodes.base import ModuleNode
from objective_agent_nodes.diagnostics import ERROR, Health
from objective_agent_nodes.matching import StampMatcher
from objective_agent_nodes.measured_delay import MeasuredDelay
from objective_agent_nodes.model_swap import ModelFollower
from objective_agent_nodes.parameters import with_model
from objective_agent_nodes.plan_log import PlanKeeper
from objective_agent_nodes.process import run
from objective_agent_nodes.snapshot import parse, read


class Memory(ModuleNode):
    route_first = False
    """For replays that must be repeatable: the route is published before the state that it was made with, not after."""

    def __init__(self, **options):
        super().__init__("memory", MemoryParameters, **options)

    def setup(self) -> None:
        self._configuration: Configuration | None = None
        self._sensing = PerceptionParameters()
        self._make(self.parameters)
        self._versions, self._delay = ModelFollower(self, self._load, self._switch), MeasuredDelay(self)
        self._plans = PlanKeeper(self, self.parameters.plans)
        self._state = self.speak(Image, "state")
        self._odometry = self.speak(OdometryMessage, "state/odom")
        self._points = self.speak(PointCloud2, "state/points")
        self._route = self.speak(Path, "route")
        stamped = convert.command_type(self.common.enable_stamped_cmd_vel)
        self.listen(LaserScan, "representation/scan", self._on_estimate)  # first: it comes before the two that it belongs to
        self.listen(Image, "representation", lambda message: self._on_part("representation", message))
        self.listen(OdometryMessage, "representation/odom", lambda message: self._on_part("odom", message))
        self.listen(
            LaserScan, "scan", lambda m: self.synchronizer.add(convert.scan_from(m, self.common.lidar_pose)), qos.HISTORY
        )
        self.listen(OdometryMessage, "odom", self._on_odometry, qos.HISTORY)
        self.listen(stamped, "cmd_vel", self._on_command, qos.HISTORY)
        self.listen(stamped, "cmd_vel_raw", lambda m: self._touch.asked(convert.command_from(m, self.now())))
        self.listen(String, "configuration", self._on_configuration, qos.LATCHED, always=True)
        self.listen(String, "perception/settings", self._on_sensing, qos.LATCHED, always=True)

    def _make(self, parameters: MemoryParameters) -> None:
        self.memory = self._short_term(parameters)
        self.router = Router(parameters, self.robot)
        self._forget()

    def _short_term(self, parameters):
        return plugins.create("short_term_memory", parameters.short_term, self.robot, "memory.short_term")

    def _load(self, version: Version):
        """A short-term memory that works with a version's model; None where it has none of its own."""
        moved = with_model(self.parameters, version.model)
        return self._short_term(moved) if moved != self.parameters else None

    def _switch(self, version: Version, memory) -> None:
        if memory is not None:
            self.memory = memory
            self.put_parameters(with_model(self.parameters, version.model))

    def _forget(self) -> None:
        self.synchronizer = Synchronizer(self._sensing)
        self._matcher = StampMatcher(("representation", "odom"))
        self._estimate: tuple[int, Scan] | None = None
        self._touch, self._foreign = Touch(self.robot), ""
        self._fresh = self.watch("representation", 0.3)
        self._model, self._told, self._count, self._update_ms, self._route_ms = ("", 0), None, 0, 0.0, 0.0

    def on_parameters(self, new: Strict) -> None:
        self._make(new)

    def on_time_jump(self) -> None:
        self.memory.reset()
        self.router.reset()
        self._forget()

    def _on_configuration(self, message: String) -> None:
        self._configuration = read(message)

    def _on_sensing(self, message: String) -> None:
        """How perception puts readings together: scans are matched so here, too, and kept when only its model changes."""
        told = validate(PerceptionParameters, parse(message.data, "perception/settings"), "perception/settings")
        if told.model_copy(update={"encoder": self._sensing.encoder}) != self._sensing:
            self._sensing = told
            self.synchronizer = Synchronizer(told)

    def _on_odometry(self, message: OdometryMessage) -> None:
        if self.synchronizer.add(odometry := convert.odometry_from(message)):
            self._delay.measured(odometry)

    def _on_estimate(self, message: LaserScan) -> None:
        """What perception read out of a representation made without a scan."""
        scan = replace(convert.scan_from(message), estimated=True)
        self._estimate = (convert.nanoseconds(message.header.stamp), scan)

    def _on_command(self, message) -> None:
        command = convert.command_from(message, self.now())
        self.memory.command_sent(command)
        self._touch.sent(command)
        self._delay.command_sent(command)

    def _on_part(self, part: str, message) -> None:
        if (parts := self._matcher.add(part, convert.nanoseconds(message.header.stamp), message)) is not None:
            self._remember(parts["representation"], convert.odometry_from(parts["odom"]))

    def _remember(self, message: Image, odometry: Odometry) -> None:
        if not self._fresh.accept(odometry.stamp, self.now(), time.monotonic()):
            raise InputError(self._fresh.rejection)
        begun = time.perf_counter()
        tokens, model = convert_state.tokens_from(message)
        version, self._foreign = self._versions.judge("representations", model)
        if version is None:
            raise InputError(self._foreign)
        observation = self.synchronizer.observe(odometry.stamp)
        if observation is None:
            return
        if self._model != (model, max(version.number, 1)):  # what another model made can't be compared with this one's
            self.memory.reset()
            self._model = (model, max(version.number, 1))
        pose = odometry.pose.astype(np.float32)[None]
        observation = replace(observation, pose=pose, velocity=odometry.velocity.astype(np.float32)[None], images=None)
        observation = with_estimates(observation, (self._felt(message.header.stamp, observation.stamp),))
        senses = convert_state.senses_from(message)
        state = self.memory.update(Representation(odometry.stamp, tokens, model, senses=senses), observation)
        if self.route_first:
            self._publish_route(observation, message.header.stamp)
        self._publish(state, message.header.stamp)
        self._update_ms = 1000 * (time.perf_counter() - begun)
        if not self.route_first:
            self._publish_route(observation, message.header.stamp)
        self._count += 1

    def _felt(self, exact, stamp: float) -> Scan | None:
        """What is known of the surroundings without a scan: perception's estimate, and what the gate's refusals tell."""
        estimate = None
        if self._estimate is not None and self._estimate[0] == convert.nanoseconds(exact):
            estimate = replace(self._estimate[1], stamp=stamp)
        return self._touch.feel(stamp, estimate)

    def _publish(self, state: WorldState, exact) -> None:
        messages = convert_state.state_to(state)
        for publisher, message in zip((self._odometry, self._points, self._state), messages, strict=True):
            message.header.stamp = exact
            publisher.publish(message)

    def _publish_route(self, observation, exact) -> None:
        begun = time.perf_counter()
        goal = route_goal(self._configuration) if self._configuration is not None else None
        route = self.router.update(observation, goal)
        key = None if route is None else route.tobytes()
        if key != self._told or self._count % 20 == 0:
            self._told = key
            message = convert_state.path_to(observation.stamp, np.zeros((0, 2)) if route is None else route)
            message.header.stamp = exact
            self._route.publish(message)
        self._route_ms = max(1000 * (time.perf_counter() - begun), 0.9 * self._route_ms)

    def health(self) -> Health:
        problem = self._foreign or self._fresh.problem(self.now(), time.monotonic()) or self.synchronizer.reason
        values = {"states": self._count, "update_ms": self._update_ms, "route_ms_worst": self._route_ms}
        values |= {
            "route_points": 0 if self.router.route is None else len(self.router.route),
            "unmatched": self._matcher.incomplete,
            **(self._versions.values | self._delay.values | self._plans.values),
        }
        return Health(ERROR, problem, values) if problem else Health(values=values)


def main(args=None) -> int:
    return run(lambda: [Memory()], args)


if __name__ == "__main__":
    sys.exit(main())
