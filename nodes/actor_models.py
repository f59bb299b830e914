"""Which world model the actor plans with: the configured one, or the version that made the state at hand.

While a new version is taken over both are loaded, and the sha that a state carries chooses between them: no decision is lost.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import numpy as np
import torch

from objective_agent import plugins
from objective_agent.config import ActorParameters, Configuration, PluginSpec, Task
from objective_agent.planner import Planner
from objective_agent.types import ConfigurationError, InputError, WorldState
from objective_agent.versions import Version, short
from objective_agent_nodes.model_swap import LOADING, ModelFollower

CONFIGURED = 10.0
"""How long a version waits for the first configuration, s."""


class ActorModels:
    """The world models of `planner`, by version; `choose` belongs to the planner's thread."""

    def __init__(self, node, planner: Planner, configuration: Callable[[], Configuration | None]):
        """`configuration`: the newest one, if there is one yet."""
        self._node, self._planner, self._configuration = node, planner, configuration
        self._stock: dict[int, object] = {}
        self._follower = ModelFollower(node, self._load, self._switch, self._ready)

    @property
    def values(self) -> dict[str, object]:
        return self._follower.values

    def choose(self, configuration: Configuration, state: WorldState) -> str:
        """Makes the planner use the world model that `state` belongs to; why it can't, or an empty string."""
        version, foreign = self._follower.judge("states", state.model)
        if version is None:
            return foreign.removeprefix("holds: ")
        self._planner.use(self._stock.get(version.number))
        if configuration.reached or configuration.task.kind == "idle":
            return ""
        self._planner.prepare(configuration)
        needed = getattr(self._planner.world_model, "representation_model", None)
        if needed and short(needed) != short(state.model):
            reason = f"states are made by model {short(state.model)}, the world model needs {short(needed)}"
            return f"{reason}; give perception's encoder.model and the world model's world_model.model the same folder"
        return ""

    def _load(self, version: Version):
        """In a thread.  Imagines once, because the first time takes longest and shows whether it fits the settings."""
        end = time.monotonic() + CONFIGURED
        while (configuration := self._configuration()) is None:  # started again, and not yet told
            if time.monotonic() > end:
                raise ConfigurationError(f"no configuration within {CONFIGURED:g} s: it says which kind of world model plans")
            time.sleep(0.05)
        spec, actor = configuration.world_model.world_model, configuration.actor
        moved = PluginSpec(**{**spec.model_dump(), "model": version.model})
        with LOADING:
            world_model = plugins.create("world_model", moved, self._node.robot, "world_model")
        if world_model.model != version.world_model:
            found, wanted = short(world_model.model), short(version.world_model)
            raise ConfigurationError(f"the folder holds world model {found}, not {wanted}")
        zeros = [np.zeros(shape, np.float32) for shape in ((1, 1, version.features or 1), (1, 3), (1, 2))]
        actions = torch.zeros(1, 1, actor.horizon, 2, device=actor.device)
        state = WorldState(1.0, *zeros, version.representation or "").to_torch(actor.device)
        world_model.rollout(state, actions, actor.futures, actor.dt)
        return world_model

    def _ready(self, version: Version, world_model) -> None:
        present = self._follower.follower.current
        made = getattr(self._planner, "world_model", None)
        if present is not None and made is not None and made.model == present.world_model:
            self._stock.setdefault(present.number, made)  # the configuration will soon name the new one
        self._stock[version.number] = world_model

    def _switch(self, version: Version, world_model) -> None:
        previous = self._follower.follower.previous
        kept = {version.number} | ({previous.number} if previous is not None else set())
        self._stock = {number: made for number, made in self._stock.items() if number in kept} | {version.number: world_model}


def warm_up(planner: Planner, parameters: ActorParameters) -> None:
    """Thinks once about nothing: the first decision would otherwise take many times as long as the rest."""
    merge = plugins.create("configurator", PluginSpec(plugin="merge"), planner.robot)
    merge.set_parameters(actor=parameters)
    snapshot = merge.configure(Task(kind="goal_pose", position=(1.0, 0.0)), {"stamp": 1.0, "pose": np.zeros(3)})
    far = np.full((1, 256, 2), 9.0, np.float32)
    zeros = [np.zeros(shape, np.float32) for shape in ((1, 1, 1), (1, 3), (1, 2))]
    with contextlib.suppress(InputError):  # a world model that needs real representations
        planner.decide(snapshot, WorldState(1.0, *zeros, "warm-up", far), None, 1.0, 0.0, 1.0)
    planner.reset()
