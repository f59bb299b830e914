"""Rows that stand beside the agent's in a result: the same agent with one thing taken away, on the same episodes.

agent_without_gate   its commands go straight to the robot
analytic       scan encoder and unicycle instead of what was learned
shuffled       the representation is another moment's: where that costs nothing, it is a passenger
no_route       no subgoals from the route memory
mean_futures   guardrails hear the mean of the futures instead of the worst
l2, value      for goal images: without the learned distance, without the distance in representation space
shuffled_goal  for goal images: the picture of another home
propose, adaptive, policy  with habits (Mode-1), see docs/mode1.md
no_history     no motion history and no earlier sweeps: nothing shows how this robot answers to commands
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from objective_agent import plugins
from objective_agent.actor.policy import DistilledPolicy
from objective_agent.agent import Agent
from objective_agent.config import HABITS, ActorParameters, AgentParameters, CostParameters, PluginSpec
from objective_agent.types import MODES, Array, InputError, NamedGuardrail, Observation, Representation, Trajectory

AGENT, WITHOUT_GATE = "agent", "agent_without_gate"
ROWS = (WITHOUT_GATE, "analytic", "shuffled", "no_route", "mean_futures", "no_history")

IMAGE_ROWS = ("l2", "value", "shuffled_goal", "shuffled", WITHOUT_GATE)
LEFT_OUT = {"l2": "reachability", "value": "goal_representation"}
"""Rows for goal images, and the objective to which two of them give no weight."""

AWAY = 40
"""Another moment is at least this many decisions away, where the drive was long enough."""


def parameters_of(row: str, parameters: AgentParameters) -> AgentParameters:
    """The agent's parameters in `row`."""
    if row in LEFT_OUT:
        return parameters.model_copy(update={"cost": _without(parameters.cost, LEFT_OUT[row])})
    if row in MODES:
        return parameters.model_copy(update={"actor": parameters.actor.model_copy(update={"mode": row})})
    if row == "no_route":
        return parameters.model_copy(update={"configurator": parameters.configurator.model_copy(update={"use_route": False})})
    if row != "analytic":
        return parameters
    default = ActorParameters()
    actor = parameters.actor.model_copy(update={"futures": 1, "horizon": default.horizon, "dt": default.dt})
    return parameters.model_copy(
        update={
            "perception": parameters.perception.model_copy(update={"encoder": PluginSpec(plugin="scan")}),
            "world_model": parameters.world_model.model_copy(update={"world_model": PluginSpec(plugin="unicycle")}),
            "cost": CostParameters.model_validate({}),
            "actor": actor.model_copy(
                update={"optimizer": PluginSpec(plugin=parameters.actor.optimizer.plugin), "mode": "plan"}
            ),
        }
    )


def habits_of(rows: Sequence[str], parameters: AgentParameters) -> dict[str, str]:
    """`habits_digest` of those of `rows` that have habits.  ConfigurationError where there is no policy for them."""
    actors = {row: parameters_of(row, parameters).actor for row in rows}
    return {
        row: habits_digest(actor, plugins.create("policy", actor.policy, parameters.robot, "actor.policy"))
        for row, actor in actors.items()
        if actor.mode != "plan"
    }


def habits_digest(actor: ActorParameters, policy: DistilledPolicy) -> str:
    """sha256 over what a row's habits depend on: the policy's weights, and the parameters that say when it acts."""
    about = {"weights": policy.model, **actor.model_dump(mode="json", include=set(HABITS))}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _without(cost: CostParameters, name: str) -> CostParameters:
    if name not in cost.objectives:
        raise InputError(f"there is no objective {name} that this row could leave out; take config/goal_image.yaml")
    terms = {**cost.terms, name: cost.terms[name].model_copy(update={"weight": 0.0})}
    return cost.model_copy(update={"terms": terms})


def alter(row: str, agent: Agent, seen: Sequence[Representation], seed: int) -> None:
    """Takes from `agent` what `row` is to be without; `seen`: what the agent's own row had seen in this episode."""
    if row == "shuffled":
        agent.encoder = OtherMoment(agent.encoder, seen, seed)
    elif row == "no_history":
        agent.encoder = NoHistory(agent.encoder)
    elif row == "mean_futures":
        agent.planner.prepare(agent.configurator.configure(agent.task, {}))
        agent.planner.guardrails = [NamedGuardrail(g.name, MeanFutures(g.guardrail)) for g in agent.planner.guardrails]


class _Encoder:
    def __init__(self, encoder):
        self._encoder, self.model, self.tokens, self.features = encoder, encoder.model, encoder.tokens, encoder.features


class OtherMoment(_Encoder):
    """Answers with what was seen at another moment of the same episode's first drive."""

    def __init__(self, encoder, seen: Sequence[Representation], seed: int):
        super().__init__(encoder)
        self._seen, self._random, self._count = list(seen), np.random.default_rng([seed, 7]), 0

    def encode(self, observation: Observation) -> Representation:
        if not self._seen:
            return self._encoder.encode(observation)
        moments = np.arange(len(self._seen))
        away = moments[np.abs(moments - self._count) >= min(AWAY, len(moments) // 2)]
        self._count += 1
        other = self._seen[int(self._random.choice(away if len(away) else moments))]
        scans = tuple(None if scan is None else replace(scan, stamp=observation.stamp) for scan in other.scans)
        return replace(other, stamp=observation.stamp, scans=scans)


class NoHistory(_Encoder):
    def encode(self, observation: Observation) -> Representation:
        return self._encoder.encode(replace(observation, motion=None, past_scans=None, past_poses=None))


class MeanFutures:
    """A guardrail whose margins are means over the futures."""

    def __init__(self, guardrail):
        self._guardrail = guardrail

    def margin(self, trajectory: Trajectory) -> Array:
        margin = self._guardrail.margin(trajectory)
        return margin - margin + margin.mean(2)[:, :, None]
