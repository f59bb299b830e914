"""The cross-entropy method: mean and width are those of the elites, the best share of the feasible candidates.

Source: Rubinstein, "The cross-entropy method for combinatorial and continuous optimization", 1999.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from objective_agent.actor.evaluation import Evaluation
from objective_agent.actor.sampling import SamplingConfig, SamplingOptimizer, allowed_score, weighted_moments


class CEM(SamplingOptimizer):
    class Config(SamplingConfig):
        elites: float = Field(0.1, gt=0, le=1, description="share of the candidates that are elites")

    def update(self, actions: Tensor, evaluation: Evaluation, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        score = allowed_score(evaluation)
        count = max(2, math.ceil(self.config.elites * score.shape[1]))
        least, index = score.topk(min(count, score.shape[1]), largest=False)
        weights = torch.zeros_like(score).scatter(1, index, (least < torch.inf).float())
        total = weights.sum(1, keepdim=True)
        found = total > 0
        moved, width = weighted_moments(actions, weights.div_(total.clamp_(min=1.0)))
        found = found[:, :, None]
        return torch.where(found, moved, mean), torch.where(found, torch.minimum(width, std), std)
