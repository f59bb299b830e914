"""Model predictive path integral control: the mean moves to where low energy is, each candidate weighted by

    weight ~ exp(-(energy - least energy) / temperature)

over the feasible candidates.  Source: Williams et al., "Information Theoretic MPC for Model-Based Reinforcement Learning", ICRA
2017; unlike there, the width follows the weighted spread from one iteration to the next.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from objective_agent.actor.evaluation import Evaluation
from objective_agent.actor.sampling import SamplingConfig, SamplingOptimizer, allowed_score, weighted_moments


class MPPI(SamplingOptimizer):
    class Config(SamplingConfig):
        temperature: float = Field(0.02, gt=0, le=1000, description="energy difference that divides a weight by e")

    def update(self, actions: Tensor, evaluation: Evaluation, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        score = allowed_score(evaluation)
        least = score.amin(1, keepdim=True)
        found = least < torch.inf
        weights = torch.where(found, least, 0.0).sub(score).div_(self.config.temperature).exp_()
        total = weights.sum(1, keepdim=True).clamp_(min=1.0)  # the least one's is 1
        moved, width = weighted_moments(actions, weights.div_(total))
        found = found[:, :, None]
        return torch.where(found, moved, mean), torch.where(found, torch.minimum(width, std), std)
