"""Cost: owns the objectives and guardrails, and measures what really happened with the same terms that judge what is imagined.

    state, state/odom, state/points, cmd_vel, configuration  ->  cost/measured (weighted energies, worst guardrail margins)

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
from objective_agent.types import Goal, Trajectory, WorldState
from objective_agent_nodes import convert, qos
from objective_agent_nodes.base import ModuleNode
from objective_agent_nodes.diagnostics import WARN, Health
from objective_agent_nodes.process import run
from objective_agent_nodes.snapshot import SentCommands, StateReader, labelled, read

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
        self._states = StateReader(self, self._on_state, self._sent)
        stamped = convert.command_type(self.common.enable_stamped_cmd_vel)
        self.listen(stamped, "cmd_vel", lambda m: self._sent.add(convert.command_from(m, self.now())), qos.HISTORY)
        self.listen(String, "configuration", self._on_configuration, qos.LATCHED, always=True)

    def _make(self, parameters: CostParameters) -> None:
        def term(kind: str, name: str):
            spec = parameters.terms[name]
            return plugins.create(kind, PluginSpec(plugin=spec.plugin, **spec.settings), self.robot, f"cost.{name}")

        self._objectives = {name: term("objective", name) for name in parameters.objectives}
        self._guardrails = {name: term("guardrail", name) for name in parameters.guardrails}
        self._history: deque[WorldState] = deque(maxlen=256)

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
        position = None if task.position is None else np.array([task.position], np.float32)
        heading = None if task.heading is None else np.array([task.heading], np.float32)
        for name, objective in self._objectives.items():
            if position is None and name == "goal_pose":
                continue
            weight = configuration.cost.terms[name].weight if name in configuration.cost.terms else 1.0
            values[name] = weight * float(np.mean(objective.energy(trajectory, Goal(position, heading))))
        for name, guardrail in self._guardrails.items():
            values[name] = float(np.min(guardrail.margin(trajectory)))
        return values

    def health(self) -> Health:
        problem = self._fresh.problem(self.now(), time.monotonic())
        return Health(WARN, problem, self._measured) if problem else Health(values=self._measured)


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
    return Trajectory(first, actions.astype(np.float32), poses, velocities, dt)


def main(args=None) -> int:
    return run(lambda: [Cost()], args)


if __name__ == "__main__":
    sys.exit(main())
