"""iCEM: the cross-entropy method made sample-efficient for real-time planning.

    coloured noise          slow changes explore farther (`exponent`)
    elites are kept         a share of them is imagined again in the next iteration, and, shifted by the time that has
                            passed, in the next decision
    a shrinking population  samples / shrink^iteration, at least twice the elites
    momentum                mean and width move a part of the way

Source: Pinneri et al., "Sample-efficient Cross-Entropy Method for Real-time Planning", CoRL 2020.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from objective_agent.actor.cem import CEM
from objective_agent.actor.evaluation import Evaluation
from objective_agent.actor.noise import Kind
from objective_agent.actor.proposals import shifted
from objective_agent.actor.sampling import Cloud
from objective_agent.types import Problem


class ICEM(CEM):
    narrowest = 1.0

    class Config(CEM.Config):
        noise_kind: Kind = Field("colored", description="how the noise changes over time: smooth, colored, knots or white")
        keep: float = Field(0.3, ge=0, le=1, description="share of the elites that is imagined again")
        shrink: float = Field(1.25, ge=1, le=10, description="each iteration has this many times fewer candidates")
        momentum: float = Field(0.1, ge=0, lt=1, description="share of the old mean and width that stays")

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        self._kept: Tensor | None = None
        self._stamp = self._dt = 0.0

    def elites(self) -> int:
        return max(2, math.ceil(self.config.elites * self.config.samples))

    def count(self, iteration: int) -> int:
        least = min(self.config.samples, max(4, 2 * self.elites()))
        return max(least, round(self.config.samples / self.config.shrink**iteration))

    def begin(self, problem: Problem) -> Cloud:
        steps = (problem.state.stamp - self._stamp) / problem.dt
        wanted = (problem.state.batch, problem.horizon, problem.action_low.shape[0], problem.dt)
        kept = self._kept
        known = kept is not None and (kept.shape[0], *kept.shape[2:], self._dt) == wanted
        self._kept = shifted(kept, steps).to(problem.action_low.device) if known and 0 <= steps < problem.horizon else None
        self._stamp, self._dt = problem.state.stamp, problem.dt
        return super().begin(problem)

    def extras(self, problem: Problem, iteration: int) -> list[Tensor]:
        return [] if self._kept is None else [self._kept]

    def update(self, actions: Tensor, evaluation: Evaluation, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        moved, width = super().update(actions, evaluation, mean, std)
        count = math.ceil(self.config.keep * self.elites())
        if count:
            best = evaluation.score().topk(min(count, actions.shape[1]), largest=False).indices
            self._kept = actions[torch.arange(len(best), device=best.device)[:, None], best]
        return torch.lerp(moved, mean, self.config.momentum), torch.lerp(width, std, self.config.momentum)
