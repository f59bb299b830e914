"""The actor's search, shared by all optimizers that sample: propose, imagine, rank, narrow, until time is up.

Every iteration imagines a batch of candidates: the braking plan, the best plan so far, and a cloud of smooth noise around the
current mean, wide for some and narrow for others; the first iteration adds the previous plan, a policy's proposals and a
library of arcs.  Feasible candidates rank before all others.  How mean and width follow from the ranking is the only thing in
which the optimizers differ (`update`).

The search is anytime: before each iteration it compares the time left with what one iteration took, it stops early once the
best energy no longer falls, and it always answers.  The first iteration is always done, whatever the deadline.  With nothing
feasible the answer is the braking plan (zero commands), with the margins that braking really has.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from pydantic import Field
from torch import Tensor

from objective_agent.actor.evaluation import Evaluation, evaluate
from objective_agent.actor.problem import as_tensors
from objective_agent.actor.proposals import library, noise_shape, towards, within_limits
from objective_agent.config import RobotParameters, Strict
from objective_agent.types import Plan, Problem

BRAKING, INCUMBENT = 0, 1
"""Places of these two among the candidates, in every iteration."""


class SamplingConfig(Strict):
    samples: int = Field(64, ge=4, le=8192, description="noisy candidates per iteration")
    iterations: int = Field(3, ge=1, le=200, description="most iterations per decision")
    noise: float = Field(0.5, gt=0, le=2, description="first width of the search, share of half an action's range")
    correlation: float = Field(0.6, gt=0, le=10, description="time over which the noise stays alike, s")
    use_library: bool = Field(True, description="first imagine a library of arcs, and turning to the goal (for (v, w) actions)")
    tolerance: float = Field(0.002, ge=0, le=1, description="converged when the best energy falls by less than this share")
    patience: int = Field(1, ge=1, le=100, description="iterations in a row without such a fall before stopping")


class SamplingOptimizer(ABC):
    """`solve(problem, deadline)` -> Plan with tensors on the CPU.

    One seed gives one sequence of answers.  Problems in a batch share the noise, so each gets the answer it would get alone.
    """

    Config = SamplingConfig

    def __init__(self, config: SamplingConfig, robot: RobotParameters):
        self.config = config
        self._generator = torch.Generator()
        self._made: dict[tuple, Tensor] = {}
        self._seconds_per_iteration = 0.0
        self.reset(0)

    def reset(self, seed: int | None = None) -> None:
        self._seconds_per_iteration = 0.0
        if seed is not None:
            self._generator.manual_seed(seed)

    @abstractmethod
    def update(self, actions: Tensor, evaluation: Evaluation, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """The next mean [B, H, A] and width [B, H, A], from the candidates `actions` [B, N, H, A] and what they are worth."""

    def solve(self, problem: Problem, deadline: float) -> Plan:
        """The best feasible plan found by `deadline` (time.perf_counter() seconds), or the braking plan."""
        started = time.perf_counter()
        config = self.config
        with torch.inference_mode():
            problem = as_tensors(problem)
            mean = problem.last_action[:, None].expand(-1, problem.horizon, -1)
            if problem.warm_start is not None:
                mean = problem.warm_start
            std = config.noise * 0.5 * (problem.action_high - problem.action_low).expand_as(mean)
            floor = 0.05 * std
            incumbent, least, calm, evaluations = mean[:, None], None, 0, 0
            for iteration in range(config.iterations):
                begun = time.perf_counter()
                actions = self._candidates(problem, mean, std, incumbent, first=iteration == 0)
                evaluation = evaluate(problem, actions)
                evaluations += actions.shape[0] * actions.shape[1]
                score = evaluation.score()
                best, index = score.min(1)
                incumbent = _take(actions, index)[:, None]
                calm = calm + 1 if least is not None and self._settled(least, best, _take(evaluation.feasible, index)) else 0
                least = best
                if calm >= config.patience:
                    stop_reason = "converged"
                    break
                now = time.perf_counter()
                self._seconds_per_iteration = max(now - begun, 0.8 * self._seconds_per_iteration)
                if iteration + 1 == config.iterations:
                    stop_reason = "iterations"
                elif now + self._seconds_per_iteration > deadline:
                    stop_reason = "deadline"
                    break
                else:
                    mean, std = self.update(actions, evaluation, mean, std)
                    std = torch.maximum(std, floor)
            return _plan(problem, actions, evaluation, index, started, iteration + 1, evaluations, stop_reason)

    def _settled(self, before: Tensor, now: Tensor, feasible: Tensor) -> bool:
        """Whether no problem's best energy fell any more; a problem without a feasible plan is worth all the time there is."""
        return bool(((before - now <= self.config.tolerance * before.abs() + 1e-6) & feasible).all())

    def _candidates(self, problem: Problem, mean: Tensor, std: Tensor, incumbent: Tensor, first: bool) -> Tensor:
        """[B, N, H, A]: braking, incumbent, noise around the mean (which itself comes first), and at first the proposals."""
        config, horizon = self.config, problem.horizon
        white = torch.randn((config.samples - 1, horizon, mean.shape[-1]), generator=self._generator)
        smooth = torch.matmul(self._shape(horizon, problem.dt), white)
        widths = torch.linspace(1.0, 0.2, config.samples - 1)[:, None, None]
        noise = torch.cat([torch.zeros_like(smooth[:1]), widths * smooth]).to(mean.device)
        new = [mean[:, None] + std[:, None] * noise]
        if first:
            new.append(incumbent)
            if problem.proposals is not None:
                new.append(problem.proposals)
            if config.use_library and mean.shape[-1] == 2:
                new.append(self._library(problem).expand(problem.state.batch, -1, -1, -1))
                if problem.goal.position is not None:
                    pose, goal, limits = problem.state.pose, problem.goal.position, (problem.action_low, problem.action_high)
                    new.append(towards(pose, goal, horizon, problem.dt, *limits, problem.rate_limit))
        new = within_limits(
            torch.cat(new, 1), problem.action_low, problem.action_high, problem.rate_limit * problem.dt, problem.last_action
        )
        if first:
            incumbent = new[:, config.samples, None]
        return torch.cat([torch.zeros_like(incumbent), incumbent, new], 1)

    def _shape(self, horizon: int, dt: float) -> Tensor:
        return self._once(("noise", horizon, dt), lambda: noise_shape(horizon, dt, self.config.correlation))

    def _library(self, problem: Problem) -> Tensor:
        low, high = problem.action_low, problem.action_high
        key = ("library", problem.horizon, problem.dt, *low.tolist(), *high.tolist(), low.device)
        return self._once(key, lambda: library(problem.horizon, problem.dt, low, high))

    def _once(self, key: tuple, make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives, made anew only for a new key; only the last few are kept."""
        if key not in self._made:
            if len(self._made) >= 8:
                self._made.clear()
            self._made[key] = make()
        return self._made[key]


def allowed(evaluation: Evaluation) -> Tensor:
    """Which candidates [B, N] an update may follow: the feasible ones, or all where there is none, but never a NaN."""
    feasible = evaluation.feasible
    return torch.where(feasible.any(1, keepdim=True), feasible, torch.isfinite(evaluation.score()))


def weighted_moments(actions: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [B, H, A] of `actions` [B, N, H, A] under `weights` [B, N] that sum to 1."""
    weights = weights[:, :, None, None]
    mean = (weights * actions).sum(1)
    return mean, torch.sqrt((weights * (actions - mean[:, None]) ** 2).sum(1))


def _take(values: Tensor, index: Tensor) -> Tensor:
    """values[b, index[b]] for every problem b."""
    return values[torch.arange(len(index), device=values.device), index]


def _plan(
    problem: Problem,
    actions: Tensor,
    evaluation: Evaluation,
    index: Tensor,
    started: float,
    iterations: int,
    evaluations: int,
    stop_reason: str,
) -> Plan:
    feasible = _take(evaluation.feasible, index)
    index = torch.where(feasible, index, BRAKING)
    imagined = evaluation.trajectory
    poses = imagined.poses

    def chosen(values: Tensor) -> Tensor:
        return _take(values, index).cpu()

    return Plan(
        actions=chosen(actions),
        feasible=feasible.cpu(),
        energy=chosen(evaluation.energy),
        energies={name: chosen(value) for name, value in evaluation.energies.items()},
        margins={name: chosen(value) for name, value in evaluation.margins.items()},
        violation=chosen(evaluation.violation),
        poses=chosen(poses),
        iterations=iterations,
        evaluations=evaluations,
        seconds=time.perf_counter() - started,
        stop_reason=stop_reason,
        mode="optimizer" if bool(feasible.any()) else "braking",
        dt=problem.dt,
        stamp=problem.state.stamp,
        candidates=poses[:, :, 0].cpu(),
        candidate_energy=evaluation.energy.cpu(),
        candidate_feasible=evaluation.feasible.cpu(),
        promises={name: chosen(value.amin(2)) for name, value in imagined.readouts.items()},
        start=problem.state.stamp if imagined.start is None else imagined.start,
    )
