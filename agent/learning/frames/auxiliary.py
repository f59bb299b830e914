"""Auxiliary terms of a world model's loss on clips: what the representations must be good for besides predicting each other.

    rollout            |z^[t+k] - z[t+k]|^2 over all steps of a rollout: planning hears of all of them, and small errors of
                       single steps say little of what they add up to
    inverse dynamics   the action from the representations before and after it (Pathak et al. 2017, arXiv 1705.05363; in PLDM,
                       Sobal et al. 2025, arXiv 2502.14819).  Without it the slow features of a constant scene win
    time similarity    |z[t+1] - z[t]|^2: neighbours in time lie near each other (PLDM)

All take representations [B, F, T, D] of the frames of clips.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def rollout(predicted: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of `predicted` [..., H, T, D] (heads lead) against `targets` [B, H, T, D], every step alike."""
    return functional.mse_loss(predicted, targets.expand_as(predicted))


def time_similarity(encoded: Tensor) -> Tensor:
    """Mean squared change from frame to frame of `encoded` [B, F, T, D]."""
    return ((encoded[:, 1:] - encoded[:, :-1]) ** 2).mean()


class InverseDynamics(nn.Module):
    """A head that tells the action between two frames from their representations; of many tokens it reads a few numbers."""

    def __init__(self, tokens: int, features: int, actions: int, hidden: int = 128, read: int = 8):
        super().__init__()
        self.read = nn.Identity() if tokens == 1 else nn.Linear(features, read)
        size = features if tokens == 1 else tokens * read
        self.net = nn.Sequential(nn.Linear(2 * size, hidden), nn.SiLU(), nn.Linear(hidden, actions))

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Actions [..., A] between representations [..., T, D]."""
        return self.net(torch.cat([self.read(before).flatten(-2), self.read(after).flatten(-2)], -1))

    def loss(self, encoded: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(mean squared error, that of always guessing the batch's mean) for `encoded` [B, F, T, D], `actions` [B, F - 1, A].

        Their quotient is the collapse meter's most telling figure.  Give `encoded.detach()` to only measure.
        """
        guess = self(encoded[:, :-1], encoded[:, 1:])
        uninformed = ((actions - actions.flatten(0, 1).mean(0)) ** 2).mean()
        return functional.mse_loss(guess, actions), uninformed
