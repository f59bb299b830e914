"""Cost: owns the objectives and guardrails, and measures what really happened with the same terms that judge what is imagined.

    state, state/odom, state/points, cmd_vel, configuration
        ->  cost/measured (weighted energies, worst guardrail margins; for a goal image also how far it is)

The last second of driving is a trajectory like any other: one candidate, one future, its poses the ones really passed.
"""

from __future__ import annotations

import sys
import time
from collections import deque

import numpy as np
from std_msgs.msg import Float64MultiArray, String

from objective_agent import plugins
from objective_agent.config import Configuration, CostParameters, PluginSpec, Strict
from objective_agent.goal_images import goal_distance, goal_tokens, has_answer
from objective_agent.types import Goal, Trajectory, WorldState
from objective_agent.versions import Version
from objective_agent_nodes import convert, qos
from objective_agent_nodes.base import ModuleNode
from objective_agent_nodes.diagnostics import WARN, Health
from objective_agent_nodes.model_swap import ModelFollower
from objective_agent_nodes.parameters import with_model
from objective_agent_nodes.process import run
from objective_agent_nodes.snapshot import SentCommands, StateReader, labelled, read

GOAL_IMAGE = "goal_image"
"""Label of how far the present is from a goal image; 1 counts as there."""

STEPS = 5
"""Steps of `actor.dt` in the trajectory that is measured."""


class Cost(ModuleNode):
    def __init__(self, **options):
        super().__init__("cost", CostParameters, **options)

    def setup(self) -> None:
        self._configuration: Configuration | None = None
        self._sent, self._fresh = SentCommands(), self.watch("state", 0.5)
        self._measured: dict[str, float] = {}
        self._make(self.parameters)
        self._output = self.speak(Float64MultiArray, "cost/measured")
        self._versions, self._foreign = ModelFollower(self, self._load, self._switch), ""
        self._states = StateReader(self, self._on_state, self._sent)
        stamped = convert.command_type(self.common.enable_stamped_cmd_vel)
        self.listen(stamped, "cmd_vel", lambda m: self._sent.add(convert.command_from(m, self.now())), qos.HISTORY)
        self.listen(String, "configuration", self._on_configuration, qos.LATCHED, always=True)

    def _terms(self, parameters: CostParameters) -> tuple[dict, dict]:
        """Objectives and guardrails by name."""

        def term(kind: str, name: str):
            spec = parameters.terms[name]
            return plugins.create(kind, PluginSpec(plugin=spec.plugin, **spec.settings), self.robot, f"cost.{name}")

        objectives = {name: term("objective", name) for name in parameters.objectives}
        return objectives, {name: term("guardrail", name) for name in parameters.guardrails}

    def _make(self, parameters: CostParameters) -> None:
        self._objectives, self._guardrails = self._terms(parameters)
        self._history: deque[WorldState] = deque(maxlen=256)

    def _load(self, version: Version) -> tuple[dict, dict] | None:
        """The terms that work with a version's model; None where they have none of their own."""
        moved = with_model(self.parameters, version.model)
        return self._terms(moved) if moved != self.parameters else None

    def _switch(self, version: Version, terms: tuple[dict, dict] | None) -> None:
        if terms is not None:
            self._objectives, self._guardrails = terms
            self.put_parameters(with_model(self.parameters, version.model))

    def on_parameters(self, new: Strict) -> None:
        self._make(new)

    def on_time_jump(self) -> None:
        self._history.clear()
        self._sent.clear()
        self._fresh.clear()
        self._states.matcher.clear()

    def _on_configuration(self, message: String) -> None:
        self._configuration = read(message)

    def _on_state(self, state: WorldState, exact) -> None:
        if not self._fresh.accept(state.stamp, self.now(), time.monotonic()):
            self.refuse(self._fresh.rejection)
            return
        version, self._foreign = self._versions.judge("states", state.model)
        if version is None:
            self._measured = {}
            return
        if self._history and self._history[-1].model != state.model:
            self._history.clear()
        self._history.append(state)
        configuration = self._configuration
        if configuration is None:
            return
        trajectory = driven(list(self._history), configuration.actor.dt)
        if trajectory is not None:
            self._measured = self._measure(trajectory, configuration)
            self._output.publish(labelled(self._measured))

    def _measure(self, trajectory: Trajectory, configuration: Configuration) -> dict[str, float]:
        task, values = configuration.task, {}
        picture = goal_tokens(task)
        if picture is not None and picture.shape[1:] != trajectory.representations.shape[-2:]:
            picture = None  # of another model: the actor says so
        position = None if task.position is None else np.array([task.position], np.float32)
        heading = None if task.heading is None else np.array([task.heading], np.float32)
        for name, objective in self._objectives.items():
            if not has_answer(objective, position, picture):
                continue
            weight = configuration.cost.terms[name].weight if name in configuration.cost.terms else 1.0
            values[name] = weight * float(np.mean(objective.energy(trajectory, Goal(position, heading, picture))))
        for name, guardrail in self._guardrails.items():
            values[name] = float(np.min(guardrail.margin(trajectory)))
        distance = None if picture is None else goal_distance(self._objectives.values(), self._history[-1], task)
        return values if distance is None else {**values, GOAL_IMAGE: distance}

    def health(self) -> Health:
        problem = self._foreign or self._fresh.problem(self.now(), time.monotonic())
        values = {**self._versions.values, **self._measured}
        return Health(WARN, problem, values) if problem else Health(values=values)


def driven(history: list[WorldState], dt: float) -> Trajectory | None:
    """What was driven in the last steps of `dt` as a Trajectory [1, 1, 1, H]; None while there is too little of it."""
    stamps = np.array([state.stamp for state in history])
    wanted = stamps[-1] - dt * np.arange(STEPS, -1, -1)
    if stamps[0] > wanted[0] + 0.5 * dt:
        return None
    chosen = [history[index] for index in np.abs(stamps[None] - wanted[:, None]).argmin(1)]
    first, rest = chosen[0], chosen[1:]
    actions = np.stack([state.velocity[0] for state in rest])[None, None]
    last = history[-1]
    if last.sent is not None and last.sent.shape[1]:
        index = np.searchsorted(last.sent_stamps, wanted[1:], side="right") - 1
        known = last.sent[0, np.maximum(index, 0)]
        actions = np.where(index[:, None] >= 0, known, actions[0, 0])[None, None]
    poses = np.stack([state.pose[0] for state in rest])[None, None, None]
    velocities = np.stack([state.velocity[0] for state in rest])[None, None, None]
    representations = np.stack([np.asarray(state.representation[0]) for state in rest])[None, None, None]
    return Trajectory(first, actions.astype(np.float32), poses, velocities, dt, representations)


def main(args=None) -> int:
    return run(lambda: [Cost()], args)


if __name__ == "__main__":
    sys.exit(main())
