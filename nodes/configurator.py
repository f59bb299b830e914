"""Configurator: the task and every module's parameters -> one numbered immutable snapshot, the only thing that the actor reads.

goal_pose, goal_representation, task, odom, cost/measured, actor/settings, cost/settings, world_model/settings
    ->  configuration
"""

from __future__ import annotations

import math
import sys

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import Image
from std_msgs.msg import Float64MultiArray, String

from objective_agent import plugins
from objective_agent.config import Configuration, ConfiguratorParameters, Strict, Task
from objective_agent.goal_images import goal_task
from objective_agent_nodes import convert, convert_state, qos
from objective_agent_nodes.base import ModuleNode
from objective_agent_nodes.diagnostics import OK, WARN, Health
from objective_agent_nodes.frames import Frames
from objective_agent_nodes.process import run
from objective_agent_nodes.snapshot import parse

MODULES = ("actor", "cost", "world_model")
"""Whose settings the snapshot holds; the first one is made when all of them have spoken."""


class Configurator(ModuleNode):
    def __init__(self, **options):
        super().__init__("configurator", ConfiguratorParameters, **options)

    def setup(self) -> None:
        self._task, self._goals = Task(), 0
        self._pose, self._compared = None, (0.0, math.inf)
        self._current: Configuration | None = None
        self._modules: dict[str, dict] = {}
        self._frames = Frames(self)
        self._make(self.parameters)
        self._configuration = self.speak(String, "configuration", qos.LATCHED)
        self.listen(PoseStamped, "goal_pose", self._on_goal)
        self.listen(Image, "goal_representation", self._on_picture)
        self.listen(Float64MultiArray, "cost/measured", self._on_measured)
        # twice: a transient_local subscription never hears an ordinary publisher, a volatile one misses what was said before
        self.listen(String, "task", self._on_task, qos.RELIABLE, always=True)
        self.listen(String, "task", self._on_task, qos.LATCHED, always=True, quiet=True)
        self.listen(OdometryMessage, "odom", self._on_odometry, qos.SENSOR)
        for module in MODULES:
            self.listen(String, f"{module}/settings", lambda m, module=module: self._on_settings(module, m), qos.LATCHED, True)

    def _make(self, parameters: ConfiguratorParameters) -> None:
        self.configurator = plugins.create("configurator", parameters.configurator, self.robot, "configurator")
        self.configurator.set_parameters(configurator=parameters, **self._modules)
        self.configurator.current = self._current  # the numbers go on

    def start(self) -> None:
        self._configure(self._task)

    def on_parameters(self, new: Strict) -> None:
        self._make(new)
        self._configure(self._task)

    def on_time_jump(self) -> None:
        self._pose = None

    def _on_settings(self, module: str, message: String) -> None:
        settings = parse(message.data, f"{module}/settings")
        self.configurator.set_parameters(**{module: settings})
        self._modules[module] = settings
        if self.active:
            self._configure(self._task)

    def _on_odometry(self, message: OdometryMessage) -> None:
        self._pose = convert.odometry_from(message).pose
        self._configure(self._task)

    def _on_goal(self, message: PoseStamped) -> None:
        self._goals += 1
        self._take(convert_state.goal_from(message, f"goal_pose {self._goals}"))

    def _on_picture(self, message: Image) -> None:
        self._goals += 1
        self._take(goal_task(convert_state.tokens_from(message), id=f"goal_image {self._goals}"))

    def _on_measured(self, message: Float64MultiArray) -> None:
        """How far the goal image still is; the count stands for a stamp: every message is one more look."""
        values = dict(zip((dim.label for dim in message.layout.dim), message.data, strict=False))
        if "goal_image" in values:
            self._compared = (self._compared[0] + 1, values["goal_image"])

    def _on_task(self, message: String) -> None:
        self._take(convert_state.task_from(message.data))

    def _take(self, task: Task) -> None:
        """Takes over a task, unless it can't be done: then the old one stays."""
        task = self._frames.to_odom(task)
        if task == self._task:
            return  # heard on both subscriptions
        self._configure(task)
        self._task = task
        self.get_logger().info(f"task: {task.kind} {'' if task.position is None else task.position}")

    def _configure(self, task: Task) -> None:
        if len(self._modules) < len(MODULES):
            return
        status = {"stamp": self.now(), "goal_image": self._compared} | ({} if self._pose is None else {"pose": self._pose})
        snapshot = self.configurator.configure(task, status)
        if snapshot is not self._current:
            self._current = snapshot
            self._configuration.publish(String(data=snapshot.model_dump_json()))

    def health(self) -> Health:
        missing = [module for module in MODULES if module not in self._modules]
        values: dict[str, object] = {"task": self._task.kind, "task_id": self._task.id}
        if self._current is not None:
            values |= {"configuration": self._current.number, "reached": self._current.reached}
        if missing:
            return Health(WARN, f"no settings yet from {', '.join(missing)}", values)
        reason = "" if self._current is None else self._current.reason
        return Health(OK, reason or "ok", values)


def main(args=None) -> int:
    return run(lambda: [Configurator()], args)


if __name__ == "__main__":
    sys.exit(main())
