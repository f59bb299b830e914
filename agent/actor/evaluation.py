"""What a set of candidate plans is worth: imagine, score, check.

    energy = sum_i weight_i * mean over futures and steps of energy_i        (the whole trajectory, never its end alone)
    violation = max over guardrails, futures and steps of (-margin)+         (the worst that may happen)

or, where the problem says so, the mean over the costly futures alone, and the worst of a stated share of the futures (`risk`).

A guardrail is no weight: a candidate is feasible or not, and the feasible ones rank before all others whatever their energy.  A
number that is no number is never feasible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce

import torch
from torch import Tensor

from objective_agent.actor.risk import excused, tail_weights
from objective_agent.types import Problem, Trajectory


@dataclass(frozen=True)
class Evaluation:
    """`energy`, `violation` [B, N]; `energies` (weighted) and `margins` name -> [B, N]; the trajectory they belong to.

    `margins_by_step` name -> [B, N, K, H]: the same margins before their minimum is taken; +inf in futures that don't count.
    """

    energy: Tensor
    violation: Tensor
    energies: Mapping[str, Tensor]
    margins: Mapping[str, Tensor]
    trajectory: Trajectory
    margins_by_step: Mapping[str, Tensor] = field(default_factory=dict)
    guarded: bool = True
    """False: there is nothing that could be violated."""

    @cached_property
    def feasible(self) -> Tensor:
        """[B, N] bool"""
        return (self.violation <= 0) & torch.isfinite(self.energy) if self.guarded else self.score() < torch.inf

    def score(self) -> Tensor:
        """[B, N], smallest is best: the energy of feasible candidates; above all of these the others, by violation."""
        return self._score

    @cached_property
    def _score(self) -> Tensor:
        if not self.guarded:
            return torch.nan_to_num(self.energy, nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
        feasible = self.feasible
        worst = torch.where(feasible, self.energy, -torch.inf).amax(1, keepdim=True)
        worst = torch.where(torch.isfinite(worst), worst, 0.0)
        rest = torch.where(torch.isfinite(self.energy), worst + 1 + self.violation, torch.inf)
        return torch.where(feasible, self.energy, rest)


def evaluate(problem: Problem, actions: Tensor) -> Evaluation:
    """Imagines `actions` [B, N, H, A] in `problem.futures` futures and scores them."""
    trajectory = problem.world_model.rollout(problem.state, actions, problem.futures, problem.dt)
    energies, margins = _energies(problem, trajectory), {}
    violation = torch.zeros(actions.shape[:2], device=actions.device)
    energy = reduce(torch.add, energies.values()) if energies else violation
    by_step = {named.name: named.guardrail.margin(trajectory) for named in problem.guardrails}
    if by_step and problem.quantile < 1 and problem.futures > 1:
        free = excused(by_step.values(), problem.quantile)[..., None]
        by_step = {name: torch.where(free, torch.inf, margin) for name, margin in by_step.items()}
    for name, margin in by_step.items():
        margins[name] = margin.amin((2, 3))
        violation = torch.maximum(violation, -margins[name])
    if by_step:
        violation = torch.where(torch.isnan(violation), torch.inf, violation)
    return Evaluation(energy, violation, energies, margins, trajectory, by_step, guarded=bool(by_step))


def _energies(problem: Problem, trajectory: Trajectory) -> dict[str, Tensor]:
    """Objective -> weighted energy [B, N]."""
    found = {term.name: (term.weight, term.objective.energy(trajectory, problem.goal)) for term in problem.objectives}
    if not found or problem.tail >= 1 or problem.futures == 1:
        means = {name: (weight, energy.mean((2, 3))) for name, (weight, energy) in found.items()}
        return {name: mean if weight == 1 else weight * mean for name, (weight, mean) in means.items()}
    by_future = {name: weight * energy.mean(3) for name, (weight, energy) in found.items()}
    counts = tail_weights(sum(by_future.values()), problem.tail)
    return {name: (counts * energy).sum(2) for name, energy in by_future.items()}


def without_graph(evaluation: Evaluation) -> Evaluation:
    """The same numbers, free of what is kept for gradients."""

    def each(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in values.items()}

    imagined = evaluation.trajectory
    imagined = replace(
        imagined,
        actions=imagined.actions.detach(),
        poses=imagined.poses.detach(),
        velocities=imagined.velocities.detach(),
        representations=None if imagined.representations is None else imagined.representations.detach(),
        readouts=each(imagined.readouts),
        standing=each(imagined.standing),
    )
    return Evaluation(
        evaluation.energy.detach(),
        evaluation.violation.detach(),
        each(evaluation.energies),
        each(evaluation.margins),
        imagined,
        each(evaluation.margins_by_step),
        evaluation.guarded,
    )
