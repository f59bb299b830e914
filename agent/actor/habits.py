"""Who acts: Mode-1 (the policy), Mode-2 (the search), or the one because the other has no time (LeCun 2022, section 3.1).

    plan       the search alone
    propose    the search, with the policy's proposals among its first candidates
    adaptive   the policy where its confidence allows; the search (with proposals) where it does not, or after a surprise
    policy     the policy alone

Whatever the setting but `plan`, the policy answers when there is too little time left for an iteration of the search: fallback.
Where the problem has guardrails the policy's plans are imagined and checked as any candidate is, once: the best of its mean,
its members and what is left of the last plan is done only if it keeps them and gains enough over standing still; else the
search takes over, or, where there is no time or no search, the robot brakes.
`Plan.mode` says who acted: "optimizer", "policy", "fallback" or "braking"; `Plan.confidence` what the policy thought of it.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from objective_agent.actor.answer import INCUMBENT, Pool, make_plan, saved
from objective_agent.actor.evaluation import evaluate
from objective_agent.actor.policy import DistilledPolicy
from objective_agent.actor.problem import as_tensors
from objective_agent.actor.sampling import limited
from objective_agent.actor.search import with_known
from objective_agent.config import Mode
from objective_agent.protocols import Optimizer
from objective_agent.types import HABIT, Plan, Problem

MEMORY = 0.95
"""A slow iteration of the search counts this much less with every later one."""


class Habits:
    """`solve(problem, deadline, surprised)` -> Plan, as an optimizer's, by whoever is to act.  One thread owns it."""

    def __init__(self, optimizer: Optimizer, policy: DistilledPolicy, mode: Mode, confidence: float = 0.9, proposals: int = 8,
                 gain: float = 0.0):  # fmt: skip
        """`confidence`: the least with which the policy acts alone; `proposals`: how many the search gets.

        `gain`: a habit that saves no more than this share of what standing still costs leads nowhere: time to think.
        """
        self.optimizer, self.policy = optimizer, policy
        self.mode, self.threshold, self.proposals, self.gain = mode, confidence, proposals, gain
        self._iteration = 0.0

    def reset(self, seed: int | None = None) -> None:
        self.optimizer.reset(seed)
        self._iteration = 0.0

    def solve(self, problem: Problem, deadline: float, surprised: bool = False) -> Plan:
        """`surprised`: the world did not do what was imagined, so that habits are not to be trusted."""
        if self.mode == "plan":
            return self.optimizer.solve(problem, deadline)
        started = time.perf_counter()
        late = deadline - started < self._iteration
        sure = self.mode == "adaptive" and not surprised and bool((self._confidence(problem) >= self.threshold).all())
        plan = None
        if late or sure or self.mode == "policy":
            plan = self._habit(problem, "fallback" if late and not sure and self.mode != "policy" else "policy")
            if not self._gains(plan) and not late and self.mode != "policy":
                plan = None
        if plan is None:
            proposals = fitted(self.policy.propose(problem.state, problem.goal, self.proposals), problem.horizon)
            plan = self.optimizer.solve(replace(problem, proposals=proposals), deadline)
            self._iteration = max(plan.seconds / max(1, plan.iterations), MEMORY * self._iteration)
        return replace(plan, seconds=time.perf_counter() - started, confidence=self._confidence(problem).cpu())

    def _confidence(self, problem: Problem) -> torch.Tensor:
        return self.policy.confidence(problem.state, problem.goal)

    def _habit(self, problem: Problem, mode: str) -> Plan:
        """The policy's plan; with guardrails the best that it knows of, "braking" where none keeps them in any problem."""
        with torch.inference_mode():
            found = self.policy.answer(problem.state, problem.goal)
            mean, others = (fitted(each, problem.horizon) for each in (found.plan[:, None], found.members))
            if not problem.guardrails:
                return self._unchecked(problem, mean[:, 0], mode)
            problem = as_tensors(problem)
            if problem.warm_start is not None:
                others = torch.cat([others, problem.warm_start[:, None]], 1)
            actions = limited(problem, torch.cat([mean, others], 1))
            actions = with_known(actions[:, :1], actions[:, 1:])
            evaluation = evaluate(problem, actions)
            index = evaluation.score()[:, INCUMBENT:].argmin(1) + INCUMBENT
            count = actions.shape[0] * actions.shape[1]
            plan = make_plan(problem, actions, evaluation, index, Pool(0, 1.0), 1, count, HABIT)
            return plan if plan.mode == "braking" else replace(plan, mode=mode)

    def _gains(self, plan: Plan) -> bool:
        """Whether it is worth more than standing still, as far as was imagined."""
        if plan.mode == "braking" or plan.candidate_energy is None:
            return plan.mode != "braking"
        return bool((saved(plan) > self.gain).all())

    def _unchecked(self, problem: Problem, actions: torch.Tensor, mode: str) -> Plan:
        """Nothing can be hit, so nothing is imagined: the energy is unknown.  "braking" where the plan is no number."""
        low, high = (torch.as_tensor(bound, dtype=actions.dtype, device=actions.device) for bound in
                     (problem.action_low, problem.action_high))  # fmt: skip
        actions = torch.clamp(actions, low, high).cpu()
        batch, horizon = actions.shape[:2]
        zeros, finite = torch.zeros(batch), torch.isfinite(actions).all(2).all(1)
        actions = torch.where(finite[:, None, None], actions, 0.0)
        return Plan(
            actions=actions,
            feasible=finite,
            energy=zeros + torch.nan,
            energies={},
            margins={},
            violation=zeros,
            poses=zeros[:, None, None, None].expand(batch, problem.futures, horizon, 3),
            iterations=0,
            evaluations=0,
            seconds=0.0,
            stop_reason=HABIT,
            mode=mode if bool(finite.any()) else "braking",
            dt=problem.dt,
            stamp=problem.state.stamp,
            start=problem.state.stamp,
        )


def fitted(actions: torch.Tensor, horizon: int) -> torch.Tensor:
    """`actions` [..., H, A] as plans of `horizon` steps: cut, or zeros behind them."""
    missing = horizon - actions.shape[-2]
    if missing <= 0:
        return actions[..., :horizon, :]
    return torch.cat([actions, actions.new_zeros(*actions.shape[:-2], missing, actions.shape[-1])], -2)
