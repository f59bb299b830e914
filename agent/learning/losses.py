"""The losses: prediction in representation space, and what the representations must be good for.

    latent      |z^[t+k] - z[t+k]|^2       the JEPA's own loss, on steps of a rollout; both sides learn
    relative    the pose between two moments, from their representations alone: without it the slow features of a constant scene
                win (plain inverse dynamics would be trivial here, where the commands are an input)
    motion, velocity, clearance, people    the read-outs, on PREDICTED representations, because that is what planning hears
    whereabouts in which direction people are how near, on predicted representations: a distance alone is a poor teacher
    ranges      the lidar's sectors from the present representation, also where the lidar was hidden

Labels that are NaN are not known and count for nothing.  Every function returns a scalar, except where it says otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from objective_agent import devices

NEAR = 0.5
"""Clearances below this count more, m."""

QUANTILE = 0.05
RELATIVE_SCALE = 0.3
VELOCITY_SCALE = (0.05, 0.15)
STEP_UNIT, PATH_UNIT = (0.02, 0.01, 0.06), (0.1, 0.1, 0.2)
"""Errors of one step, and of the pose after several: where Huber's loss turns from quadratic to linear."""


def mean_where(values: Tensor, known: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Weighted mean of `values` where `known`; 0 when nothing is known."""
    share = known * weight
    return (torch.where(known, values, 0.0) * share).sum() / share.sum().clamp(min=1e-6)


def latent(predicted: Tensor, found: Tensor, weight: Tensor) -> Tensor:
    """Mean squared error of `predicted` [K, S, n, D] against `found` [S, n, D]; `weight` [K, 1, n]."""
    return (((predicted - found) ** 2).mean(-1) * weight).mean()


def relative_targets(poses: Tensor, others: Tensor) -> Tensor:
    """`others` [n, 3] seen from `poses` [n, 3], as (x / .3 m, y / .3 m, cos, sin) [n, 4]."""
    seen = relative_pose(poses, others)
    return torch.stack(
        [seen[..., 0] / RELATIVE_SCALE, seen[..., 1] / RELATIVE_SCALE, torch.cos(seen[..., 2]), torch.sin(seen[..., 2])], -1
    )


def relative_pose(origin: Tensor, pose: Tensor) -> Tensor:
    """`pose` [..., 3] as seen from `origin` [..., 3], the angle in (-pi, pi]."""
    dx, dy = pose[..., 0] - origin[..., 0], pose[..., 1] - origin[..., 1]
    cos, sin = torch.cos(origin[..., 2]), torch.sin(origin[..., 2])
    turn = pose[..., 2] - origin[..., 2]
    return torch.stack([cos * dx + sin * dy, cos * dy - sin * dx, torch.atan2(torch.sin(turn), torch.cos(turn))], -1)


def motion(predicted: Tensor, found: Tensor, unit: tuple[float, float, float], weight: Tensor) -> Tensor:
    """Relative poses, `predicted` [K, H, n, 3] against `found` [H, n, 3]: Huber, quadratic within one `unit` (m, m, rad)."""
    error = predicted - found
    error = torch.cat([error[..., :2], torch.atan2(torch.sin(error[..., 2:]), torch.cos(error[..., 2:]))], -1)
    error = error / devices.move(torch.tensor(unit), error.device)
    return (functional.smooth_l1_loss(error, torch.zeros_like(error), reduction="none").sum(-1) * weight).mean()


def velocity(predicted: Tensor, found: Tensor, weight: Tensor) -> Tensor:
    """Velocities at the ends of the steps, `predicted` [K, H, n, 2] against `found` [H, n, 2]."""
    scale = devices.move(torch.tensor(VELOCITY_SCALE), predicted.device)
    error = functional.smooth_l1_loss(predicted / scale, (found / scale).expand_as(predicted), reduction="none")
    return (error.mean(-1) * weight).mean()


def distance(predicted: tuple[Tensor, Tensor], found: Tensor, near: float, beta: float, weight: Tensor | float = 1.0) -> Tensor:
    """A distance and its 5 % quantile, both `predicted` [..., n], against `found` (same shape or broadcast, NaN unknown).

    Huber for the distance (quadratic below `beta`), pinball for the quantile; labels below `near` weigh three times the others.
    """
    mean, quantile = predicted
    found = found.expand_as(mean)
    known = ~torch.isnan(found)
    found = torch.nan_to_num(found)
    emphasis = torch.where(found < near, 2.0, 0.7) * weight
    huber = functional.smooth_l1_loss(mean, found, beta=beta, reduction="none")
    pinball = torch.maximum(QUANTILE * (found - quantile), (1 - QUANTILE) * (quantile - found))
    return mean_where(huber + pinball, known, emphasis)


def whereabouts(predicted: Tensor, found: Tensor, gap: Tensor, weight: Tensor) -> Tensor:
    """`predicted` [K, H + 1, n, S] against `found` [H + 1, n, S]; where `gap` [H + 1, n] is NaN nothing is known."""
    known = ~torch.isnan(gap)
    error = 20 * functional.smooth_l1_loss(predicted, found.expand_as(predicted), reduction="none", beta=0.1).mean(-1)
    return mean_where(error, known.expand_as(error), weight)


def ranges(mean: Tensor, log_scale: Tensor, log_range: Tensor) -> Tensor:
    """Laplace negative log likelihood of `log_range` [n, 36] (log m, NaN unknown)."""
    known = ~torch.isnan(log_range)
    error = (torch.nan_to_num(log_range) - mean).abs()
    return mean_where(error * torch.exp(-log_scale) + log_scale, known)
