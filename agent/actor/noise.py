"""What the noise of a search looks like over time: a matrix [H, H] that turns white noise into noise of unit variance.

    smooth    correlation exp(-(t / correlation)^2 / 2) between steps
    colored   power 1 / f^exponent (iCEM: Pinneri et al., "Sample-efficient Cross-Entropy Method for Real-time Planning", CoRL
              2020), of twice the horizon's period, so that the last step knows nothing of the first
    knots     free values every `correlation` seconds, straight lines between them (predictive sampling: Howell et al. 2022),
              raised where two of them mix, which would otherwise vary less
    white     nothing in common between steps

Noise without correlation cancels itself out: a body with inertia hardly moves under it.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Kind = Literal["smooth", "colored", "knots", "white"]


def shaping(kind: Kind, horizon: int, dt: float, correlation: float, exponent: float) -> Tensor:
    """Matrix [H, H]; `correlation` in seconds is for smooth and knots, `exponent` for colored."""
    if kind == "smooth":
        return noise_shape(horizon, dt, correlation)
    if kind == "colored":
        return colored(horizon, exponent)
    if kind == "knots":
        return knots(horizon, dt, correlation)
    return torch.eye(horizon)


def noise_shape(horizon: int, dt: float, correlation: float) -> Tensor:
    """Matrix [H, H] that turns white noise into noise with the correlation exp(-(t / correlation)^2 / 2) between steps."""
    time = torch.arange(horizon, dtype=torch.float64) * dt
    covariance = torch.exp(-0.5 * ((time[:, None] - time[None]) / correlation) ** 2)
    covariance = 0.999 * covariance + 0.001 * torch.eye(horizon, dtype=torch.float64)
    return torch.linalg.cholesky(covariance).float()


def colored(horizon: int, exponent: float) -> Tensor:
    """Matrix [H, H] for noise whose power falls as 1 / f^exponent; slower than the lowest frequency nothing more is added."""
    period = 2 * horizon
    frequency = torch.fft.fftfreq(period, dtype=torch.float64).abs().clamp(min=1 / period)
    power = frequency**-exponent
    covariance = torch.fft.ifft(power).real
    steps = torch.arange(horizon)
    covariance = covariance[(steps[:, None] - steps).abs()] / covariance[0]
    return torch.linalg.cholesky(covariance + 1e-6 * torch.eye(horizon, dtype=torch.float64)).float()


def knots(horizon: int, dt: float, spacing: float) -> Tensor:
    """Matrix [H, H] for free values `spacing` seconds apart (at least one step) with straight lines between them."""
    pieces = math.ceil((horizon - 1) * dt / spacing - 1e-9)  # 12 * 0.2 / 0.6 is a little more than 4
    count = min(horizon, max(2, 1 + pieces)) if horizon > 1 else 1
    at = torch.linspace(0, count - 1, horizon, dtype=torch.float64)
    share = (1 - (at[:, None] - torch.arange(horizon)).abs()).clamp(min=0)
    return (share / share.norm(dim=1, keepdim=True)).float()
