"""Projected gradient with an augmented Lagrangian: guardrails get prices, not just a penalty.

For constraints c = margin - tightening >= 0, one per guardrail, future and step, each with a multiplier l >= 0, the points go
downhill on

    energy + mean over constraints of  (max(0, l - rho c)^2 - l^2) / (2 rho)

and where that has settled (or after `inner` steps)  l <- max(0, l - rho c);  rho grows where the violation has not halved.  The
multipliers tend to the true prices, so the optimum on the edge of what is allowed is found without an infinite penalty.
Source: Nocedal and Wright, "Numerical Optimization", 2nd ed., ch. 17.4 (the form for inequalities: eq. 17.65).

The steps are spectral projected gradients (Birgin, Martinez and Raydan 2000): as long as the curvature seen in the last step
says (Barzilai and Borwein 1988), a quarter of it where a step has made things worse than the last few were.  Bounds and rate
limits are the projection, as in `gradient`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from pydantic import Field
from torch import Tensor

from objective_agent.actor.evaluation import Evaluation
from objective_agent.actor.gradient import DescendingCloud, Gradient
from objective_agent.types import Problem

GROWTH, ENOUGH = 2.0, 0.5
"""rho grows by this; the share to which the violation has to shrink, or else it does."""

MEMORY = 4
"""A step may make things worse than the last one, but not than the last so many."""

SETTLED = 0.002
"""A merit that changes by less than this share has settled: time for new multipliers."""

LONGEST = 1e4
"""Longest spectral step, in squared shares of half the range per energy."""


@dataclass
class Spectral:
    """The points last accepted [B, M, H, A] and their gradient (both in shares of half the range), the step [B, M] from there,
    the merits [MEMORY, B, M] of those accepted before, for how many steps the multipliers have stayed as they are,
    and for which problems [B] something feasible was known."""

    points: Tensor
    gradient: Tensor
    length: Tensor
    merits: Tensor
    accepted: Tensor
    settled: Tensor
    since: Tensor
    found: Tensor


@dataclass
class Priced(DescendingCloud):
    """`multipliers` guardrail -> [B, M, K, H]; `rho` [B, M]; `violation` [B, M] when they were last changed."""

    multipliers: dict[str, Tensor] = field(default_factory=dict)
    rho: Tensor | None = None
    violation: Tensor | None = None
    spectral: Spectral | None = None


class AugmentedLagrangian(Gradient):
    class Config(Gradient.Config):
        iterations: int = Field(60, ge=1, le=1000, description="most iterations per decision")
        step: float = Field(0.5, gt=0, le=2, description="longest step of any action, share of half its range")
        inner: int = Field(8, ge=1, le=100, description="most steps between two changes of the multipliers")
        rho: float = Field(20.0, gt=0, le=1e6, description="first weight of the squared violation")
        rho_max: float = Field(1e3, gt=0, le=1e8, description="its greatest weight")

    def begin(self, problem: Problem) -> Priced:
        return Priced(**vars(super().begin(problem)))

    def merit(self, evaluation: Evaluation, progress: Priced, points: slice) -> Tensor:
        energy = evaluation.energy[:, points]
        if progress.rho is None:
            progress.rho = torch.full_like(energy, self.config.rho).detach()
        rho = progress.rho[:, :, None, None]
        for name, margin in self._constraints(evaluation, points).items():
            price = progress.multipliers.get(name, torch.zeros((), device=rho.device))
            energy = energy + (((price - rho * margin).clamp(min=0) ** 2 - price**2) / (2 * rho)).mean((2, 3))
        return energy

    def step(self, problem: Problem, progress: Priced, evaluation: Evaluation, iteration: int) -> Tensor:
        descent, half = progress.descent, (0.5 * (problem.action_high - problem.action_low)).clamp(min=1e-9)
        points, gradient, merit = descent.points / half, descent.gradient * half, descent.merit
        known = progress.spectral
        if known is None:
            first = self.config.step / gradient.abs().amax((2, 3)).clamp(min=1e-12)
            none = torch.zeros_like(merit, dtype=torch.bool)
            merits = merit.repeat(MEMORY, 1, 1)
            known = progress.spectral = Spectral(
                points, gradient, first, merits, ~none, none, torch.ones_like(merit), progress.found
            )
        else:
            _accept(known, points, gradient, merit)
        changed = (progress.found != known.found)[:, None]  # from here on it is another function that goes downhill
        due = changed | known.accepted & (known.settled | (known.since >= self.config.inner))
        known.found = progress.found
        self._price(progress, evaluation, due)
        known.since = torch.where(due, 0.0, known.since + 1)
        # right after new prices the points are only looked at again: their merit and gradient are those of another function
        change = torch.where(due, 0.0, known.length)[:, :, None, None] * known.gradient
        change = change * (self.config.step / change.abs().amax((2, 3), keepdim=True).clamp(min=self.config.step))
        return (known.points - change) * half

    def _price(self, progress: Priced, evaluation: Evaluation, due: Tensor) -> None:
        """New multipliers and rho for the points that are `due` [B, M]."""
        margins = self._constraints(evaluation, slice(2, 2 + progress.rho.shape[1]))
        rho = progress.rho[:, :, None, None]
        violation = torch.zeros_like(progress.rho)
        for name, margin in margins.items():
            price = progress.multipliers.get(name, torch.zeros_like(margin))
            changed = torch.nan_to_num((price - rho * margin).clamp(min=0), nan=0.0)
            progress.multipliers[name] = torch.where(due[:, :, None, None], changed, price)
            violation = torch.maximum(violation, (-margin).amax((2, 3)))
        if progress.violation is not None:
            slow = due & (violation > ENOUGH * progress.violation) & (violation > self.config.tightening)
            progress.rho = torch.where(slow, (GROWTH * progress.rho).clamp(max=self.config.rho_max), progress.rho)
            violation = torch.where(due, violation, progress.violation)
        progress.violation = violation

    def _constraints(self, evaluation: Evaluation, points: slice) -> dict[str, Tensor]:
        """Guardrail -> c [B, M, K, H] of the candidates at `points`."""
        by_step = evaluation.margins_by_step
        return {name: margin[:, points] - self.config.tightening for name, margin in by_step.items()}


def _accept(known: Spectral, points: Tensor, gradient: Tensor, merit: Tensor) -> None:
    """Goes to `points` where that is no worse than what came before, and takes from the way there how far to go next."""
    moved, turned = points - known.points, gradient - known.gradient
    curvature = (moved * turned).sum((2, 3))
    spectral = (moved**2).sum((2, 3)) / curvature.clamp(min=1e-12)
    longer = torch.where(curvature > 0, spectral, 2 * known.length)
    anew = known.since == 0  # looked at again under new prices
    longer = torch.where(anew, known.length, longer)
    accepted = (anew | (merit <= known.merits.amax(0))) & torch.isfinite(merit)
    far = accepted[:, :, None, None]
    before = known.merits[-1]
    known.settled = accepted & ~anew & ((merit - before).abs() <= SETTLED * before.abs() + 1e-6)
    known.length = torch.where(accepted, longer, 0.25 * known.length).clamp(1e-9, LONGEST)
    known.points = torch.where(far, points, known.points)
    known.gradient = torch.where(far, gradient, known.gradient)
    later = torch.cat([torch.where(anew, merit, known.merits[1:]), merit[None]])
    known.merits = torch.where(accepted, later, known.merits)
    known.accepted = accepted
