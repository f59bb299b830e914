"""What keeps representations from collapsing: without one of these, the easiest world to predict is a constant one.

    vicreg   each feature varies over the batch (hinge at standard deviation 1) and no two features say the same
             (Bardes et al. 2022; the invariance term is the prediction loss itself)
    sigreg   every one-dimensional projection of the batch looks like a standard normal: the Epps-Pulley distance between the
             characteristic functions, over random directions (Balestriero & LeCun 2025); needs batch-normalised outputs

All take representations [n, D] and return a scalar.  `effective_rank` is the collapse meter's number: in how many directions
the batch really varies.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from objective_agent import devices

NAMES = ("vicreg", "sigreg", "none")
PROJECTIONS, KNOTS, REACH = 128, 17, 5.0


def regularize(name: str, representations: Tensor, covariance: float, generator: torch.Generator) -> Tensor:
    """The regularizer called `name` of `representations` [n, D]; `covariance` weights VICReg's second term."""
    if name == "vicreg":
        variance, redundancy = vicreg(representations)
        return variance + covariance * redundancy
    if name == "sigreg":
        return sigreg(representations, generator)
    return representations.sum() * 0.0


def vicreg(representations: Tensor) -> tuple[Tensor, Tensor]:
    """(variance hinge, mean squared covariance off the diagonal summed per feature)."""
    centred = representations - representations.mean(0)
    std = torch.sqrt(centred.var(0) + 1e-4)
    covariance = centred.T @ centred / (len(centred) - 1)
    off_diagonal = (covariance**2).sum() - (covariance.diagonal() ** 2).sum()
    return functional.relu(1 - std).mean(), off_diagonal / representations.shape[1]


def sigreg(representations: Tensor, generator: torch.Generator) -> Tensor:
    """Mean over random directions of the squared distance between the batch's characteristic function and the normal's."""
    device = representations.device
    directions = devices.move(torch.randn(representations.shape[1], PROJECTIONS, generator=generator), device)
    projected = representations @ functional.normalize(directions, dim=0)
    knots = torch.linspace(-REACH, REACH, KNOTS, device=device)
    normal = torch.exp(-0.5 * knots**2)
    phase = projected[..., None] * knots
    distance = (torch.cos(phase).mean(0) - normal) ** 2 + torch.sin(phase).mean(0) ** 2
    return len(representations) * torch.trapezoid(distance * normal, knots, dim=-1).mean()


def effective_rank(representations: Tensor) -> float:
    """exp(entropy of the normalised singular values) of the centred batch: D when all directions vary alike, 1 for a line."""
    if not torch.isfinite(representations).all():
        return 0.0
    values = torch.linalg.svdvals((representations - representations.mean(0)).double())
    total = values.sum()
    if total < 1e-6 * len(representations) ** 0.5:
        return 0.0
    share = values / total
    return float(torch.exp(-(share * torch.log(share + 1e-12)).sum()))
