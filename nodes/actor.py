"""Actor: searches, many times a second, for the actions of least energy among the feasible ones, and does the first of them.

    state, state/odom, state/points, route, configuration, cmd_vel, surprise
        ->  cmd_vel_raw (stamp = the observation's), ~/plan, ~/trajectory, ~/candidates, ~/objective_costs, ~/status

The search has a thread of its own, which owns the planner; callbacks only leave the newest state for it.
"""

from __future__ import annotations

import math
import sys
import time

import torch
from nav_msgs.msg import Path
from std_msgs.msg import Float32MultiArray, String

from objective_agent import devices
from objective_agent.config import ActorParameters, Configuration
from objective_agent.planner import Decision, Planner
from objective_agent.surprise import cautious
from objective_agent.types import Command, InputError, ObjectiveAgentError, WorldState
from objective_agent_nodes import convert, convert_state, qos
from objective_agent_nodes.actor_models import ActorModels, warm_up
from objective_agent_nodes.actor_policy import ActorPolicy
from objective_agent_nodes.base import ModuleNode
from objective_agent_nodes.diagnostics import ERROR, OK, WARN, Health
from objective_agent_nodes.explain import Explainer
from objective_agent_nodes.pace import Pace
from objective_agent_nodes.process import run
from objective_agent_nodes.snapshot import SentCommands, StateReader, read
from objective_agent_nodes.worker import NewestFirst


class Actor(ModuleNode):
    repeatable = False
    """For replays: no deadline and no measured latency, so that the same states give the same commands."""

    def __init__(self, **options):
        super().__init__("actor", ActorParameters, **options)
        self._thinking: NewestFirst | None = None

    def setup(self) -> None:
        parameters: ActorParameters = self.parameters
        torch.set_num_threads(parameters.threads)
        devices.find(parameters.device, "actor: device =")
        self._planner = Planner(self.robot)
        warm_up(self._planner, parameters)
        self._sent, self._fresh = SentCommands(), self.watch("state", 0.3)
        self._configuration: Configuration | None = None
        self._models = ActorModels(self, self._planner, lambda: self._configuration)
        self._policy = ActorPolicy(self, self._planner)
        # a trigger sensor that jitters must not lose its turn, one that is too fast must
        self._thinking = NewestFirst(self._act, self._failed, lambda: 0.5 * self.parameters.period)
        self._route, self._surprise, self._forget = None, (0.0, -math.inf), False
        self._decision: Decision | None = None
        self._pace = Pace(parameters.deadline)
        stamped = convert.command_type(self.common.enable_stamped_cmd_vel)
        self._command = self.speak(stamped, "cmd_vel_raw")
        self._explain = Explainer(self)
        self._states = StateReader(self, self._on_state, self._sent)
        self.listen(Path, "route", self._on_route)
        self.listen(stamped, "cmd_vel", self._on_command, qos.HISTORY)
        self.listen(Float32MultiArray, "surprise", self._on_surprise)
        self.listen(String, "configuration", self._on_configuration, qos.LATCHED, always=True)

    def start(self) -> None:
        self._thinking.start()

    def stop(self) -> None:
        if self._thinking is not None:
            self._thinking.stop()

    teardown = stop

    def on_parameters(self, new: ActorParameters) -> None:
        self._policy.changed(self.parameters)

    def on_time_jump(self) -> None:
        self._sent.clear()
        self._fresh.clear()
        self._states.matcher.clear()
        self._forget, self._route = True, None

    # --- callbacks: they leave things for the planner's thread --------------------------------------------------------------

    def _on_configuration(self, message: String) -> None:
        self._configuration = read(message)
        self._policy.heard(self._configuration)

    def _on_route(self, message: Path) -> None:
        self._route = convert_state.path_from(message)

    def _on_command(self, message) -> None:
        self._sent.add(convert.command_from(message, self.now()))
        self._pace.left()

    def _on_surprise(self, message: Float32MultiArray) -> None:
        if len(message.data) and math.isfinite(message.data[0]):
            self._surprise = (message.data[0], time.monotonic())

    def _on_state(self, state: WorldState, exact) -> None:
        if not self._fresh.accept(state.stamp, self.now(), time.monotonic()):
            raise InputError(self._fresh.rejection)
        self._thinking.give((state, exact))

    # --- the planner's thread -----------------------------------------------------------------------------------------------

    def _failed(self, error: Exception) -> None:
        if isinstance(error, ObjectiveAgentError):
            reason = str(error)
        elif self.context.ok():
            reason = f"planning failed: {type(error).__name__}: {error}"
        else:
            return
        self.refuse(reason)
        self._decision = Decision(Command(0.0, 0.0, 0.0), self._configuration, reason)

    def _act(self, job: tuple[WorldState, object]) -> None:
        (state, exact), now = job, self.now()
        age = now - state.stamp
        if not self.repeatable and age > self._fresh.limit:
            return
        if self._forget:
            self._planner.reset()
            self._forget = False
        decision = self._decide(state, now)
        message = convert.command_to(decision.command, self.common.enable_stamped_cmd_vel)
        if self.common.enable_stamped_cmd_vel:
            message.header.stamp = exact
        self._pace.decided(decision.plan, decision.seconds, decision.deadline_missed)
        self._command.publish(message)
        self._decision = decision
        self._explain.publish(decision, exact, rate=self._pace.rate(), misses=self._pace.misses, surprise=self.surprise())

    def _decide(self, state: WorldState, now: float) -> Decision:
        configuration = self._configuration
        if configuration is None:
            return Decision(Command(state.stamp, 0.0, 0.0), None, "no configuration yet", state)
        configuration = self._policy.acting(configuration)
        reason = self._models.choose(configuration, state)
        if reason:
            return Decision(Command(state.stamp, 0.0, 0.0), configuration, reason, state)
        if self.repeatable:
            return self._planner.decide(configuration, state, self._route, state.stamp, 0.0, math.inf)
        configuration = self._cautious(configuration)
        actor = configuration.actor
        budget, latency = self._pace.budget(actor, now - state.stamp), self._pace.latency(actor.mode)
        return self._planner.decide(configuration, state, self._route, now, latency, budget, self._pace.following)

    def _cautious(self, configuration: Configuration) -> Configuration:
        """Slower when the world does not do what was predicted; the last plan is then no guide either."""
        surprise = self.surprise()
        if surprise <= 1.0:
            return configuration
        self._planner.reset()
        return cautious(configuration, surprise)

    # --- how it is ----------------------------------------------------------------------------------------------------------

    def surprise(self) -> float:
        value, arrival = self._surprise
        return value if time.monotonic() - arrival < 0.5 else 0.0

    def health(self) -> Health:
        decision, problem = self._decision, self._fresh.problem(self.now(), time.monotonic())
        values = {"decisions": self._pace.count, "decision_hz": self._pace.rate(), "deadline_misses": self._pace.misses}
        if decision is not None and decision.plan is not None:
            values["mode"] = decision.plan.mode
        values |= {
            **self._pace.milliseconds(self.parameters.mode if self._configuration is None else self._configuration.actor.mode),
            "surprise": self.surprise(),
            "unmatched": self._states.matcher.incomplete,
            **self._models.values,
            **self._policy.values,
        }
        if problem:
            return Health(ERROR, f"holds: {problem}", values)
        if decision is None or not decision.reason:
            return Health(OK, "driving" if decision else "no decision yet", values)
        return Health(OK if decision.reason in ("no task", "goal reached") else WARN, f"holds: {decision.reason}", values)


def main(args=None) -> int:
    return run(lambda: [Actor()], args)


if __name__ == "__main__":
    sys.exit(main())
