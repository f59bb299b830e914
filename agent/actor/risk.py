"""From K futures to one number: what may happen is more than what happens on average.

Objectives count the mean over all futures, or the conditional value at risk: the mean over the share `tail` of the futures in
which the trajectory costs most,

    CVaR_tail(E) = min over t of  t + mean over futures of max(E - t, 0) / tail.

A future is one story: its energies are summed over objectives and averaged over steps before futures are compared, and what
each objective has in the tail adds up to the whole (Euler's allocation).  Guardrails must hold in every future, or in a share
`quantile` of them: a future counts as held when all guardrails hold in it at all its steps, so that two guardrails can't each
excuse another one (a joint chance constraint).

Sources: Rockafellar and Uryasev, "Optimization of Conditional Value-at-Risk", Journal of Risk 2000; Tasche, "Risk contributions
and performance measurement", 1999; Blackmore et al., "A Probabilistic Particle-Control Approximation of Chance-Constrained
Stochastic Predictive Control", IEEE T-RO 2010.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def tail_weights(energy: Tensor, tail: float) -> Tensor:
    """How much each future counts [..., K], summing to 1: the most costly by `energy` [..., K] that make up the share `tail`.

    The last of them counts in part where tail K is no whole number.  No gradient: at the optimum of t there is none to pass on.
    """
    futures = energy.shape[-1]
    count = tail * futures
    weight = (count - torch.arange(futures, device=energy.device)).clamp(0, 1).to(energy.dtype) / count
    order = energy.detach().argsort(dim=-1, descending=True, stable=True)
    return torch.zeros_like(energy).scatter(-1, order, weight.expand_as(energy))


def excused(margins: Iterable[Tensor], quantile: float) -> Tensor:
    """Which futures [B, N, K] need not hold: the worst by the least of all `margins` [B, N, K, H], as far as `quantile` allows.

    A future with a NaN is never excused.
    """
    least = torch.stack([margin.detach().amin(-1) for margin in margins]).amin(0)
    futures = least.shape[-1]
    allowed = math.floor((1 - quantile) * futures + 1e-6)
    place = least.nan_to_num(nan=torch.inf).argsort(dim=-1, stable=True).argsort(dim=-1)
    return (place < allowed) & ~torch.isnan(least)
