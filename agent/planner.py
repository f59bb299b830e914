"""The actor's step: one configuration, one state, one route -> one plan and the command that starts it.

Used by the actor node and by `Agent` alike, so that what `evaluate` measures is what the robot runs.  The step itself is short:
predict the state to the moment at which the action will take effect (latency is part of the state), choose the subgoal, search,
hand out the first action.

Whether it searches is the configuration's matter (`actor.mode`): with habits (Mode-1) the plan under way is followed while it
comes true (`following.py`), or the policy acts where its confidence allows (`actor/habits.py`).  After a change of task, of
settings or of the world model and after a surprise no plan is followed, and where a goal has something that the policy was
never told of, it is not asked: then Mode-2 searches.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from objective_agent import plugins
from objective_agent.actor.habits import Habits
from objective_agent.actor.policy import DistilledPolicy
from objective_agent.actor.proposals import shifted
from objective_agent.config import (
    HABITS,
    ActorParameters,
    Configuration,
    CostParameters,
    PluginSpec,
    RobotParameters,
    TermSpec,
)
from objective_agent.following import TRIES, Begun, follow
from objective_agent.goal_images import goal_tokens, has_answer, mismatch
from objective_agent.memory.route import lookahead
from objective_agent.protocols import WorldModel
from objective_agent.types import (
    Command,
    ConfigurationError,
    Goal,
    NamedGuardrail,
    Plan,
    Problem,
    WeightedObjective,
    WorldState,
)
from objective_agent.versions import short


@dataclass(frozen=True)
class Decision:
    """What one step of the agent came to: the command, and all that explains it.

    `reason` is empty while the robot drives to its goal; otherwise it says in one line why it holds or brakes.
    """

    command: Command
    configuration: Configuration | None
    reason: str
    state: WorldState | None = None
    plan: Plan | None = None
    route: np.ndarray | None = None
    subgoal: np.ndarray | None = None
    seconds: float = 0.0
    worked: float = 0.0
    """Seconds of processor time."""
    deadline_missed: bool = False
    latency: float = 0.0
    """What the plan counted on, s: the time until its command has left the gate ..."""
    actuator_delay: float = 0.0
    """... and from there until the robot obeys."""


class Planner:
    """The actor: Mode-2, and Mode-1 where the configuration says so.

    One thread owns it; `decide` reads nothing but its arguments and the plan under way.
    """

    def __init__(self, robot: RobotParameters, seed: int = 0):
        self.robot = robot
        self._seed = seed
        self._key: object = None
        self._given: WorldModel | None = None
        self._last: Begun | None = None
        self.optimizer = None
        self.habits: Habits | None = None
        self.policy: tuple[PluginSpec, DistilledPolicy] | None = None
        """Mode-1 and the settings that name it, made when first needed, or elsewhere."""
        self.objectives: list[WeightedObjective] = []

    def reset(self, seed: int | None = None) -> None:
        """Forgets the last plan; with a seed, makes the decisions that follow repeatable."""
        self._last = None
        if seed is not None:
            self._seed = seed
        if self.optimizer is not None:
            self.optimizer.reset(self._seed)

    def use(self, world_model: WorldModel | None) -> None:
        """Plans with this world model, made elsewhere, not with the one that the configuration names; None: that one again."""
        self._given = world_model

    def prepare(self, configuration: Configuration) -> None:
        """Makes the modules that `configuration` names, unless they are there already.  Raises ConfigurationError."""
        cost, task = configuration.cost, configuration.task
        key = (cost, configuration.actor, configuration.world_model, task.extra_margin, self._given)
        if key == self._key:
            return
        world_model = self._given or self._same_model(configuration)
        if world_model is None:
            world_model = plugins.create("world_model", configuration.world_model.world_model, self.robot, "world_model")
        objectives = make_objectives(cost, self.robot)
        guardrails = make_guardrails(cost, self.robot, task.extra_margin)
        actor = configuration.actor
        if self.optimizer is None or self._key is None or self._without_habits(self._key[1]) != self._without_habits(actor):
            self.optimizer = plugins.create("optimizer", actor.optimizer, self.robot, "actor.optimizer")
            self.optimizer.reset(self._seed)
        self.habits = None if actor.mode == "plan" else self._make_habits(actor)
        self.world_model, self.objectives, self.guardrails = world_model, objectives, guardrails
        self._key = key

    def _same_model(self, configuration: Configuration) -> WorldModel | None:
        """The present world model, where it is the one that `configuration` names: other settings must not load it again."""
        if self._key is None or self._key[4] is not None:
            return None
        return self.world_model if self._key[2].world_model == configuration.world_model.world_model else None

    @staticmethod
    def _without_habits(actor: ActorParameters) -> dict:
        return actor.model_dump(exclude=set(HABITS))

    def _make_habits(self, actor: ActorParameters) -> Habits:
        if self.policy is None or self.policy[0] != actor.policy:
            self.policy = actor.policy, plugins.create("policy", actor.policy, self.robot, "actor.policy")
        return Habits(self.optimizer, self.policy[1], actor.mode, actor.confidence, actor.proposals, actor.gain)

    def decide(
        self,
        configuration: Configuration,
        state: WorldState,
        route: np.ndarray | None,
        now: float,
        latency: float,
        budget: float = math.inf,
        following: float | None = None,
    ) -> Decision:
        """Plans from `state` at time `now` (s, the clock of the stamps).

        `latency`: seconds until the command will have left the gate; `following`: the same where the plan under way is
        followed, which takes less time, None: as `latency`.  `budget`: seconds of wall time for the search; inf lets it run to
        convergence or to its last iteration, which is repeatable.
        """
        started, worked = time.perf_counter(), time.thread_time()
        task = configuration.task
        if configuration.reached or task.kind == "idle":
            self._last = None
            return Decision(Command(state.stamp, 0.0, 0.0), configuration, configuration.reason or "no task", state)
        unusable = mismatch(configuration, state)
        if unusable:
            self._last = None
            return Decision(Command(state.stamp, 0.0, 0.0), configuration, unusable, state)
        self.prepare(configuration)
        actor = configuration.actor
        delay = state.delay(self.robot.actuator_delay)
        effect = now + latency + delay
        plan, position = None, None
        if self._may_follow(actor):
            soon = latency if following is None else following
            plan, position = follow(self._last, configuration, state, now + soon + delay, self.guardrails), self._last.subgoal
        if plan is not None:
            latency = soon
        else:
            position, final = self._subgoal(configuration, route, np.asarray(state.pose[0], np.float64))
            with torch.inference_mode():
                predicted = self.world_model.advance(state.to_torch(actor.device), effect)
                problem = self._problem(configuration, predicted, position, final, effect)
                plan = self._solve(problem, configuration, started + budget)
            self._last = Begun(plan, effect, state, task, position, self._key, self._tried(configuration))
        if self.habits is not None:
            plan = replace(plan, seconds=time.perf_counter() - started)
        seconds = time.perf_counter() - started
        v, w = (float(value) for value in plan.actions[0, 0])
        return Decision(
            command=Command(state.stamp, v, w),
            configuration=configuration,
            reason="no feasible plan: braking" if plan.mode == "braking" else "",
            state=state,
            plan=plan,
            route=route,
            subgoal=position,
            seconds=seconds,
            worked=time.thread_time() - worked,
            deadline_missed=seconds > actor.deadline,
            latency=latency,
            actuator_delay=delay,
        )

    def _may_follow(self, actor: ActorParameters) -> bool:
        """Whether there is a plan under way that these very modules made: with others, another world model, one thinks anew."""
        last = self._last
        return self.habits is not None and actor.mode != "propose" and last is not None and last.settings is self._key

    def _tried(self, configuration: Configuration) -> int:
        """How many of the task's last plans in a row saved too little."""
        last = self._last
        if self.habits is None or last is None or last.task != configuration.task or last.saving > configuration.actor.gain:
            return 0
        return last.tried + 1

    def _solve(self, problem: Problem, configuration: Configuration, deadline: float) -> Plan:
        if self.habits is None or not self._knows(problem):
            return self.optimizer.solve(problem, deadline)
        new = self._last is None or self._last.task != configuration.task
        unusual = new or self._tried(configuration) >= TRIES or problem.goal.heading is not None
        return self.habits.solve(problem, deadline, surprised=unusual)

    def _knows(self, problem: Problem) -> bool:
        """Whether the policy can be asked: these are its encoder's representations, and its kind of goal."""
        policy, goal = self.habits.policy, problem.goal
        known = policy.shape.goal_tokens == 0 or goal.representation is not None
        known = known and (not policy.shape.position or goal.position is not None)
        return known and short(policy.encoder) == short(problem.state.model)

    def _subgoal(
        self, configuration: Configuration, route: np.ndarray | None, pose: np.ndarray
    ) -> tuple[np.ndarray | None, bool]:
        if configuration.task.position is None:
            return None, True
        goal = np.asarray(configuration.task.position, np.float64)
        if not configuration.use_route or route is None or len(route) == 0:
            return goal, True
        return lookahead(route, pose[:2], configuration.lookahead)

    def _problem(
        self, configuration: Configuration, state: WorldState, position: np.ndarray | None, final: bool, effect: float
    ) -> Problem:
        actor, robot, scale = configuration.actor, self.robot, configuration.task.speed_scale

        def tensor(values) -> torch.Tensor:
            return torch.as_tensor(np.asarray(values, np.float32))  # the search takes them to the device, all at once

        heading, picture = configuration.task.heading, goal_tokens(configuration.task)
        last = state.sent[:, -1] if state.sent is not None and state.sent.shape[1] else state.velocity
        return Problem(
            state=state,
            goal=Goal(
                position=None if position is None else tensor(position)[None],
                heading=tensor([heading]) if final and heading is not None else None,
                representation=None if picture is None else tensor(picture),
                final=final,
            ),
            world_model=self.world_model,
            objectives=[term for term in self.objectives if has_answer(term.objective, position, picture)],
            guardrails=self.guardrails,
            horizon=actor.horizon,
            dt=actor.dt,
            futures=actor.futures,
            action_low=tensor([-robot.max_reverse_speed * scale, -robot.max_turn_rate * scale]),
            action_high=tensor([robot.max_speed * scale, robot.max_turn_rate * scale]),
            rate_limit=tensor([robot.max_acceleration, robot.max_turn_acceleration]),
            last_action=last,
            warm_start=self._warm_start(configuration, effect),
            tail=actor.cvar if actor.risk == "cvar" else 1.0,
            quantile=max(actor.guardrail_quantile, configuration.task.guardrail_quantile),
            remember=self.habits is not None,
        )

    def _warm_start(self, configuration: Configuration, effect: float) -> torch.Tensor | None:
        """The last plan, shifted by the time really elapsed (linear between its steps); None after a change of task."""
        if self._last is None:
            return None
        plan = self._last.plan
        steps = (effect - self._last.effect) / plan.dt
        horizon = plan.actions.shape[1]
        if self._last.task.id != configuration.task.id or plan.mode == "braking" or not 0 <= steps < horizon:
            return None
        if configuration.actor.horizon != horizon or configuration.actor.dt != plan.dt:
            return None
        return shifted(plan.actions, steps)


def make_objectives(cost: CostParameters, robot: RobotParameters) -> list[WeightedObjective]:
    """The objectives that `cost` names, with their weights."""
    return [WeightedObjective(name, cost.terms[name].weight, _term("objective", name, cost, robot)) for name in cost.objectives]


def make_guardrails(cost: CostParameters, robot: RobotParameters, extra_margin: float = 0.0) -> list[NamedGuardrail]:
    """The guardrails that `cost` names, each tightened by `extra_margin` >= 0 metres (never loosened)."""
    if not extra_margin >= 0:
        raise ConfigurationError(f"extra_margin = {extra_margin}: guardrails can be tightened (>= 0), never loosened")
    return [NamedGuardrail(name, _term("guardrail", name, cost, robot, extra_margin)) for name in cost.guardrails]


def _term(kind: str, name: str, cost: CostParameters, robot: RobotParameters, extra_margin: float = 0.0):
    spec: TermSpec = cost.terms[name]
    plugin = plugins.resolve(kind, spec.plugin)
    config = plugins.check(kind, PluginSpec(plugin=spec.plugin, **spec.settings), f"cost.{name}")
    if extra_margin:
        if "margin" not in type(config).model_fields:
            raise ConfigurationError(f"cost.{name}: guardrail {spec.plugin!r} has no `margin` that extra_margin could tighten")
        config = config.model_copy(update={"margin": config.margin + extra_margin})
    return plugin(config, robot)
