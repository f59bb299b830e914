"""Gradients through the world model and the cost, from several points at once.

First the cloud of the sampling optimizers is imagined, once or for a few rounds of the cross-entropy method.  From its best
candidates that go different ways, several points then go downhill at once,

    minimise   energy + penalty * mean over futures and steps of (tightening - margin)+, summed over the guardrails

by Adam (Kingma and Ba 2015).  Bounds and rate limits are kept by projecting after each step, and the gradient is taken through
that projection: where the rate limit holds an action back, it asks the actions before it to go along.  No squashing function,
so that an action can rest on its bound.  The step shrinks as the iterations are spent.

The penalty only guides: what is feasible is judged as in every other search, and the best feasible point so far is the answer.
As long as there is none, the points follow what they lack alone, and the extremes of what the robot can do are imagined too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from objective_agent.actor.answer import distinct, paths
from objective_agent.actor.cem import CEM
from objective_agent.actor.evaluation import Evaluation, evaluate, without_graph
from objective_agent.actor.sampling import Cloud, SamplingOptimizer, limited
from objective_agent.actor.search import with_known
from objective_agent.types import ConfigurationError, Problem

SLOW, FAST = 0.9, 0.99
"""Adam's memories of the gradient and of its square."""


@dataclass
class Descent:
    """Points [B, M, H, A] on their way down, their gradient, and what Adam remembers of earlier ones.

    `merit` [B, M]: what of the points as they were last imagined goes downhill; `worth` [B]: the least of it, and `before`.
    """

    points: Tensor
    first: Tensor
    second: Tensor
    gradient: Tensor | None = None
    merit: Tensor | None = None
    worth: Tensor | None = None
    before: Tensor | None = None
    steps: int = 0


@dataclass
class DescendingCloud(Cloud):
    descent: Descent | None = None


class Gradient(CEM):
    differentiates = True
    unknown = 4.0

    class Config(CEM.Config):
        iterations: int = Field(30, ge=1, le=1000, description="most iterations per decision")
        patience: int = Field(3, ge=1, le=1000, description="iterations in a row without such a fall before stopping")
        starts: int = Field(8, ge=1, le=1024, description="points that go downhill at once")
        rounds: int = Field(1, ge=1, le=100, description="iterations of sampling before")
        step: float = Field(0.15, gt=0, le=2, description="first step of every action, share of half its range")
        last_step: float = Field(0.05, gt=0, le=1, description="the last iteration's step, share of the first one")
        penalty: float = Field(30.0, ge=0, le=1e6, description="energy of lacking 1 of a guardrail's margin at every step")
        tightening: float = Field(0.002, ge=0, le=1, description="margin aimed at, so that rounding keeps to the right side")

    def kind(self, iteration: int) -> str:
        return super().kind(iteration) if iteration < self.config.rounds else "gradient"

    def may_settle(self, progress: DescendingCloud, iteration: int) -> bool:
        """Not while the points still get on: they may be on their way to where they are allowed."""
        descent = progress.descent
        if descent is None or descent.before is None:
            return False
        change = (descent.worth - descent.before).abs()
        return bool((change <= self.config.tolerance * descent.before.abs() + 1e-6).all())

    def begin(self, problem: Problem) -> DescendingCloud:
        return DescendingCloud(**vars(super().begin(problem)))

    def look(self, problem: Problem, progress: DescendingCloud, incumbent: Tensor, iteration: int) -> tuple[Tensor, Evaluation]:
        descent = progress.descent
        if descent is None:
            return super().look(problem, progress, incumbent, iteration)
        more = [] if bool(progress.found.all()) else [self._rescue(problem, iteration)]
        with torch.enable_grad():
            points = descent.points.requires_grad_()
            actions = with_known(incumbent, torch.cat([limited(problem, points), *more], 1))
            evaluation = evaluate(problem, actions)
            these = slice(2, 2 + points.shape[1])
            found = progress.found[:, None]
            worth = torch.where(found, self.merit(evaluation, progress, these), self._lacking(evaluation, these))
            if not worth.requires_grad:
                raise ConfigurationError(
                    f"optimizer: the world model {problem.world_model.model!r} or the cost gives no gradient; "
                    "choose an optimizer that samples (mppi, cem, icem)"
                )
            (gradient,) = torch.autograd.grad(worth.sum(), points)
        descent.merit = torch.nan_to_num(worth.detach(), nan=torch.inf)
        descent.before, descent.worth = descent.worth, descent.merit.amin(1)
        descent.points = actions[:, these].detach()
        descent.gradient = torch.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        return actions.detach(), without_graph(evaluation)

    def merit(self, evaluation: Evaluation, progress: DescendingCloud, points: slice) -> Tensor:
        """What goes downhill [B, M], of the candidates at `points`."""
        return evaluation.energy[:, points] + self.config.penalty * self._lacking(evaluation, points, worst=0.0)

    def _lacking(self, evaluation: Evaluation, points: slice, worst: float = 1.0) -> Tensor:
        """[B, M]: margin that the candidates at `points` lack, its mean and `worst` times its maximum."""
        lacking = torch.zeros_like(evaluation.energy[:, points])
        for margin in evaluation.margins_by_step.values():
            each = (self.config.tightening - margin[:, points]).clamp(min=0)
            lacking = lacking + each.mean((2, 3)) + worst * each.amax((2, 3))
        return lacking

    def learn(self, problem: Problem, progress: DescendingCloud, actions: Tensor, evaluation: Evaluation, iteration: int):
        if progress.descent is not None:
            progress.found = evaluation.feasible.any(1)
            progress.descent.points = limited(problem, self.step(problem, progress, evaluation, iteration))
            return
        SamplingOptimizer.learn(self, problem, progress, actions, evaluation, iteration)
        if iteration + 1 == self.config.rounds:
            path = paths(actions, evaluation, problem)
            best, _ = distinct(evaluation.score(), path, self.config.starts, self.config.apart)
            points = actions[torch.arange(len(best), device=best.device)[:, None], best]
            progress.descent = Descent(points, torch.zeros_like(points), torch.zeros_like(points))

    def step(self, problem: Problem, progress: DescendingCloud, evaluation: Evaluation, iteration: int) -> Tensor:
        """Where the points [B, M, H, A] go next; limits need not hold."""
        config, descent, half = self.config, progress.descent, 0.5 * (problem.action_high - problem.action_low)
        gradient = descent.gradient * half  # with respect to shares of half the range
        descent.steps += 1
        descent.first = torch.lerp(gradient, descent.first, SLOW)
        descent.second = torch.lerp(gradient**2, descent.second, FAST)
        direction = descent.first / (1 - SLOW**descent.steps)
        size = torch.sqrt(descent.second / (1 - FAST**descent.steps))
        spent = min(1.0, (iteration - config.rounds) / max(1, config.iterations - config.rounds))
        step = config.step * (config.last_step + (1 - config.last_step) * 0.5 * (1 + math.cos(math.pi * spent)))
        return descent.points - half * step * direction / (size + 1e-8)

    def _rescue(self, problem: Problem, iteration: int) -> Tensor:
        """[B, n, H, A]"""
        wild = self._wild(problem, self.config.samples // 2, iteration)
        return limited(problem, wild[None].expand(problem.state.batch, -1, -1, -1))
