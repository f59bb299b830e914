"""World model: owns the predictor, and compares what it predicted with what came.

    state, state/odom, cmd_vel, configuration  ->  surprise (1.0 = the alarm level), model_version

The prediction made `surprise_after` seconds ago under the commands that were really sent since then is set against the state
that came; surprise is the root of the squared errors, each in units of its alarm level.
"""

from __future__ import annotations

import json
import sys
import time

from std_msgs.msg import Float32MultiArray, MultiArrayDimension, String

from objective_agent import plugins
from objective_agent.config import Strict, WorldModelParameters
from objective_agent.surprise import PARTS, SurpriseMeter
from objective_agent.types import WorldState
from objective_agent_nodes import convert, qos
from objective_agent_nodes.base import ModuleNode
from objective_agent_nodes.diagnostics import WARN, Health
from objective_agent_nodes.process import run
from objective_agent_nodes.snapshot import SentCommands, StateReader


class WorldModel(ModuleNode):
    def __init__(self, **options):
        super().__init__("world_model", WorldModelParameters, **options)

    def setup(self) -> None:
        self._sent, self._fresh = SentCommands(128), self.watch("state", 0.5)
        self._errors, self._worst = dict.fromkeys(PARTS, 0.0), 0.0
        self._surprise = self.speak(Float32MultiArray, "surprise")
        self._version = self.speak(String, "model_version", qos.LATCHED)
        self._make(self.parameters)
        self._states = StateReader(self, self._on_state, self._sent, points=False)
        stamped = convert.command_type(self.common.enable_stamped_cmd_vel)
        self.listen(stamped, "cmd_vel", lambda m: self._sent.add(convert.command_from(m, self.now())), qos.HISTORY)

    def _make(self, parameters: WorldModelParameters) -> None:
        self.world_model = plugins.create("world_model", parameters.world_model, self.robot, "world_model")
        self._meter = SurpriseMeter(self.world_model, parameters)
        version = {
            "world_model": self.world_model.model,
            "representation": getattr(self.world_model, "representation_model", None),
        }
        self._version.publish(String(data=json.dumps(version)))

    def on_parameters(self, new: Strict) -> None:
        self._make(new)

    def on_time_jump(self) -> None:
        self._meter.reset()
        self._sent.clear()
        self._fresh.clear()
        self._states.matcher.clear()

    def _on_state(self, state: WorldState, exact) -> None:
        if not self._fresh.accept(state.stamp, self.now(), time.monotonic()):
            self.refuse(self._fresh.rejection)
            return
        errors = self._meter.update(state)
        if errors is None:
            return
        self._errors = errors
        self._worst = max(self._errors["surprise"], 0.98 * self._worst)
        message = Float32MultiArray(data=[self._errors[part] for part in PARTS])
        message.layout.dim = [MultiArrayDimension(label=part, size=1, stride=1) for part in PARTS]
        self._surprise.publish(message)

    def health(self) -> Health:
        values = {"model": self.world_model.model, "worst_lately": self._worst, **self._errors}
        problem = self._fresh.problem(self.now(), time.monotonic())
        if not problem and self._worst > 1:
            problem = f"the world does not do what is predicted: surprise {self._worst:.2f} (alarm level 1)"
        return Health(WARN, problem, values) if problem else Health(values=values)


def main(args=None) -> int:
    return run(lambda: [WorldModel()], args)


if __name__ == "__main__":
    sys.exit(main())
