"""The actor's search, shared by all optimizers: look at candidates, keep the best, learn where to look next, until time is up.

Every iteration imagines a batch of candidates: the braking plan, the best plan so far, and new ones.  Feasible candidates rank
before all others.  Which new ones (`look`) and what is learned from them (`learn`) is all in which the optimizers differ.

The search is anytime: before each iteration it compares the time left with what an iteration takes (the slowest lately, and the
longest that it had to wait for a processor, so that a busy machine makes it careful), it stops early once the best energy no
longer falls, and it always answers.  The first iteration is always done, whatever the deadline, with fewer candidates where
there is too little time for all.  With nothing feasible the answer is the braking plan (zero commands), with the margins that
braking really has.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from objective_agent.actor.answer import BRAKING, Pool, make_plan, take
from objective_agent.actor.evaluation import Evaluation
from objective_agent.actor.problem import as_tensors
from objective_agent.config import RobotParameters, Strict
from objective_agent.types import Plan, Problem

MEMORY = 0.95
"""A slow iteration counts this much less with every later one, and with every decision."""

LONG_MEMORY = 0.995
"""The same for the time in which it waited for a processor: rare, but what makes an answer late."""

RESERVE = 0.5
"""At most this share of a decision's time is kept back for that."""

LEAST = 0.1
"""The least share of its candidates that the first iteration is done with."""


class SearchConfig(Strict):
    iterations: int = Field(3, ge=1, le=1000, description="most iterations per decision")
    rescue: int = Field(4, ge=0, le=1000, description="so many iterations more while nothing feasible is found")
    tolerance: float = Field(0.002, ge=0, le=1, description="converged when the best energy falls by less than this share")
    tolerance_of: Literal["energy", "gain"] = Field(
        "energy",
        description="the share is of the best energy, or of what the best plan gains over the braking plan: a goal far away "
        "adds to every plan's energy, not to what hangs on the decision",
    )
    patience: int = Field(1, ge=1, le=1000, description="iterations in a row without such a fall before stopping")
    modes: int = Field(2, ge=0, le=16, description="runner-up plans that go another way, kept with the plan")
    apart: float = Field(
        0.25,
        gt=0,
        le=100,
        description="another way: root mean square over the steps of the distance between two plans, m (models without "
        "positions: of the sum of the actions, in steps at full speed)",
    )


@dataclass
class Progress:
    """What one solve has learned so far; `start` [B, H, A] is the first incumbent, within the limits."""

    start: Tensor


class Search(ABC):
    """`solve(problem, deadline)` -> Plan with tensors on the CPU.

    One seed gives one sequence of answers.  Problems in a batch share the noise, so each gets the answer it would get alone.
    """

    Config = SearchConfig
    differentiates = False
    """Whether it takes gradients through the world model and the cost."""
    unknown = 1.0
    """An iteration of a kind that was never timed may take this many times as long as the one before it."""

    def __init__(self, config: SearchConfig, robot: RobotParameters):
        self.config = config
        self._pace: dict[str, float] = {}
        self._ending, self._stall = 0.0, 0.0
        self.room = 1.0
        """The share of the first iteration for which there is time."""

    def reset(self, seed: int | None = None) -> None:
        self._pace, self._ending, self._stall = {}, 0.0, 0.0

    @abstractmethod
    def begin(self, problem: Problem) -> Progress:
        """What is known before the first iteration."""

    @abstractmethod
    def look(self, problem: Problem, progress: Progress, incumbent: Tensor, iteration: int) -> tuple[Tensor, Evaluation]:
        """Candidates [B, N, H, A] within the limits, `with_known` before all others, and what they are worth."""

    @abstractmethod
    def learn(self, problem: Problem, progress: Progress, actions: Tensor, evaluation: Evaluation, iteration: int) -> None:
        """What follows from them for the next iteration; never called after the last one."""

    def kind(self, iteration: int) -> str:
        """Iterations of one kind take the same time."""
        return "later" if iteration else "first"

    def may_settle(self, progress: Progress, iteration: int) -> bool:
        """Whether the search may count as converged here, should its best energy have stopped falling."""
        return True

    def solve(self, problem: Problem, deadline: float) -> Plan:
        """The best feasible plan found by `deadline` (time.perf_counter() seconds), or the braking plan."""
        started, worked = time.perf_counter(), time.thread_time()
        config = self.config
        self._pace = {kind: MEMORY * seconds for kind, seconds in self._pace.items()}
        first = self._pace.get(self.kind(0), 0.0)
        reserve = self._ending + min(self._stall, RESERVE * max(0.0, deadline - started))
        self.room = min(1.0, max(0.0, deadline - started - reserve) / first) if first else 1.0
        begun = started
        with torch.inference_mode(not self.differentiates), torch.no_grad():
            problem = as_tensors(problem, differentiable=self.differentiates)
            progress = self.begin(problem)
            incumbent, least, calm, evaluations, pool = progress.start[:, None], None, 0, 0, Pool(config.modes, config.apart)
            most = config.iterations + config.rescue
            patient = config.patience >= most
            for iteration in range(most):
                actions, evaluation = self.look(problem, progress, incumbent, iteration)
                evaluations += actions.shape[0] * actions.shape[1]
                best, index = evaluation.score().min(1)
                incumbent = take(actions, index)[:, None]
                last = iteration + 1 >= most
                watched = not (last or patient or least is None)
                enough = not last and iteration + 1 >= config.iterations
                settled, feasible = self._ask(least, best, index, evaluation, watched, enough)
                calm = calm + 1 if settled and self.may_settle(progress, iteration) else 0
                least = best
                if calm >= config.patience:
                    stop_reason = "converged"
                    break
                now, done = time.perf_counter(), time.thread_time()
                self._time(iteration, now - begun, done - worked)
                begun, worked = now, done
                if last or feasible:
                    stop_reason = "iterations"
                    break
                if now + self._expected(iteration, deadline - started) > deadline:
                    stop_reason = "deadline"
                    break
                if iteration == 0:
                    pool.add(actions, evaluation, problem)
                self.learn(problem, progress, actions, evaluation, iteration)
            ending = time.perf_counter()
            pool.add(actions, evaluation, problem)
            plan = make_plan(problem, actions, evaluation, index, pool, iteration + 1, evaluations, stop_reason)
        now = time.perf_counter()
        self._ending = max(now - ending, MEMORY * self._ending)
        return replace(plan, seconds=now - started)

    def _time(self, iteration: int, passed: float, worked: float) -> None:
        kind, whole = self.kind(iteration), worked / (1.0 if iteration else max(self.room, LEAST))
        self._pace[kind] = max(whole, MEMORY * self._pace.get(kind, 0.0))
        self._stall = max(passed - worked, LONG_MEMORY * self._stall)

    def _expected(self, iteration: int, budget: float) -> float:
        """Seconds that the iteration after this one and the answer may take, of a decision's `budget`."""
        worked = self._pace.get(self.kind(iteration + 1), self.unknown * self._pace[self.kind(iteration)])
        return worked + self._ending + min(self._stall, RESERVE * max(0.0, budget))

    def _ask(
        self, before: Tensor | None, now: Tensor, index: Tensor, evaluation: Evaluation, watched: bool, enough: bool
    ) -> tuple[bool, bool]:
        """(`watched` and no problem's best energy fell any more, `enough` and all problems have a feasible plan).

        What the device is asked in an iteration, as one number, and nothing where nothing hangs on it.

        A problem without a feasible plan never settles: it is worth all the time there is.
        """
        if not (watched or enough):
            return False, False
        found = take(evaluation.feasible, index)
        if not watched:
            return False, bool(found.all())
        whole = before if self.config.tolerance_of == "energy" else evaluation.energy[:, BRAKING] - now
        share = self.config.tolerance * torch.nan_to_num(whole.abs(), posinf=0.0)
        calm = (before - now <= share + 1e-6) & found
        if not enough:
            return bool(calm.all()), False
        level = int(calm.all().int() + found.all())  # who is calm has found something
        return level == 2, level >= 1


def with_known(incumbent: Tensor, *new: Tensor) -> Tensor:
    """Candidates [B, 2 + n, H, A]: the braking plan, the incumbent [B, 1, H, A], and the new ones."""
    return torch.cat([torch.zeros_like(incumbent), incumbent, *new], 1)
