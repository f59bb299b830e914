"""Random shooting: imagine many, take the best.  The cloud stays where it is and as wide as it is.

What any cleverer optimizer has to beat.  Source: Richards, "Robust constrained model predictive control", MIT 2005; as a
baseline of learned models: Nagabandi et al. 2018.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from objective_agent.actor.evaluation import Evaluation
from objective_agent.actor.sampling import SamplingConfig, SamplingOptimizer


class RandomShooting(SamplingOptimizer):
    narrowest = 1.0

    class Config(SamplingConfig):
        patience: int = Field(3, ge=1, le=1000, description="iterations in a row without such a fall before stopping")

    def update(self, actions: Tensor, evaluation: Evaluation, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        return mean, std
