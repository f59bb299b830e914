"""World model: owns the predictor, and compares what it predicted with what came.

    state, state/odom, cmd_vel, model_version/report  ->  surprise (1.0 = the alarm level), model_version

The prediction made `surprise_after` seconds ago under the commands that were really sent since then is set against the state
that came; surprise is the root of the squared errors, each in units of its alarm level.
"""

from __future__ import annotations

import sys
import time

from std_msgs.msg import Float32MultiArray, MultiArrayDimension

from objective_agent import plugins, weights
from objective_agent.config import PluginSpec, Strict, WorldModelParameters
from objective_agent.surprise import PARTS, SurpriseMeter
from objective_agent.types import ConfigurationError, WorldState
from objective_agent.versions import Version, short
from objective_agent_nodes import convert, qos
from objective_agent_nodes.base import ModuleNode
from objective_agent_nodes.diagnostics import WARN, Health
from objective_agent_nodes.model_owner import ModelOwner, describe
from objective_agent_nodes.model_swap import LOADING
from objective_agent_nodes.parameters import with_model
from objective_agent_nodes.process import run
from objective_agent_nodes.snapshot import SentCommands, StateReader

MODEL = "world_model.model"
"""Set this parameter to take over another model while driving."""


class WorldModel(ModuleNode):
    def __init__(self, **options):
        super().__init__("world_model", WorldModelParameters, **options)

    def setup(self) -> None:
        self._sent, self._fresh = SentCommands(128), self.watch("state", 0.5)
        self._errors, self._worst = dict.fromkeys(PARTS, 0.0), 0.0
        self._surprise = self.speak(Float32MultiArray, "surprise")
        self._make(self.parameters, self._create(self.parameters.world_model))
        self._foreign, patience = "", self.parameters.swap_timeout
        present = describe(_folder(self.parameters), self.world_model)
        self._versions = ModelOwner(self, present, patience, self._load, self._switch, self._stay)
        self._states = StateReader(self, self._on_state, self._sent, points=False)
        stamped = convert.command_type(self.common.enable_stamped_cmd_vel)
        self.listen(stamped, "cmd_vel", lambda m: self._sent.add(convert.command_from(m, self.now())), qos.HISTORY)

    def _create(self, spec: PluginSpec):
        return plugins.create("world_model", spec, self.robot, "world_model")

    def _make(self, parameters: WorldModelParameters, world_model) -> None:
        self.world_model = world_model
        self._meter = SurpriseMeter(world_model, parameters)

    # --- the model ----------------------------------------------------------------------------------------------------------

    def _load(self, folder: str):
        with LOADING:
            return self._create(with_model(self.parameters, folder).world_model)

    def _switch(self, version: Version, world_model) -> None:
        new = with_model(self.parameters, version.model)
        self._make(new, world_model)
        self.put_parameters(new)

    def _stay(self) -> None:
        """ROS shows the model that drives, not the one that was wished for."""
        self.put_parameters(self.parameters)

    def check_parameters(self, new: Strict) -> None:
        """What can be told at once about a wish for another model; the rest is found out when it is loaded."""
        if MODEL in self.changed:
            folder = weights.find_model(_folder(new))
            if not (folder / weights.CARD).is_file():
                raise ConfigurationError(f"{folder}: has no {weights.CARD}; a model is a folder that train wrote")

    def on_parameters(self, new: Strict) -> Strict:
        """Another model is only wished for: the present one stays in the settings until everybody has loaded the other."""
        kept = with_model(new, _folder(self.parameters))
        if kept.world_model != self.parameters.world_model:
            self._make(kept, self._create(kept.world_model))
        else:
            self._make(kept, self.world_model)
        self._versions.owner.patience = kept.swap_timeout
        if MODEL in self.changed:
            self._versions.wish(_folder(new))
        return kept

    def on_time_jump(self) -> None:
        self._meter.reset()
        self._sent.clear()
        self._fresh.clear()
        self._states.matcher.clear()

    def _on_state(self, state: WorldState, exact) -> None:
        if not self._fresh.accept(state.stamp, self.now(), time.monotonic()):
            self.refuse(self._fresh.rejection)
            return
        current, self._foreign = self._versions.owner.current, ""
        if current.representation is not None and short(current.representation) != short(state.model):
            needed = short(current.representation)
            self._foreign = f"holds: states come from model {short(state.model)}, {current} needs those of {needed}"
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
        values = {"model": self.world_model.model, "worst_lately": self._worst, **self._errors, **self._versions.values}
        problems = [self._foreign, self._versions.problem, self._fresh.problem(self.now(), time.monotonic())]
        if not problems[-1] and self._worst > 1:
            problems.append(f"the world does not do what is predicted: surprise {self._worst:.2f} (alarm level 1)")
        problem = "; ".join(filter(None, problems))
        return Health(WARN, problem, values) if problem else Health(values=values)


def _folder(parameters: WorldModelParameters) -> str:
    """The folder of the trained model; empty for a world model that has none."""
    spec = parameters.world_model
    return getattr(plugins.check("world_model", spec), "model", "")


def main(args=None) -> int:
    return run(lambda: [WorldModel()], args)


if __name__ == "__main__":
    sys.exit(main())
