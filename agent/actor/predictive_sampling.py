"""Predictive sampling: the next cloud lies round the best candidate, its width never changes.

The noise has a few free values, `correlation` seconds apart, with straight lines between them.  Source: Howell et al.,
"Predictive Sampling: Real-time Behaviour Synthesis with MuJoCo", arXiv 2212.00541, 2022.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from objective_agent.actor.answer import take
from objective_agent.actor.evaluation import Evaluation
from objective_agent.actor.noise import Kind
from objective_agent.actor.sampling import SamplingConfig, SamplingOptimizer


class PredictiveSampling(SamplingOptimizer):
    class Config(SamplingConfig):
        noise: float = Field(0.3, gt=0, le=2, description="width of the search, share of half an action's range")
        noise_kind: Kind = Field("knots", description="how the noise changes over time: smooth, colored, knots or white")
        patience: int = Field(2, ge=1, le=1000, description="iterations in a row without such a fall before stopping")

    def update(self, actions: Tensor, evaluation: Evaluation, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        return take(actions, evaluation.score().argmin(1)), std
