"""The collapse meter: does the representation still say anything?

Three figures, because each alone can look healthy in a collapsed run:

    std       mean standard deviation of the features; anything that varies meets it, the colour of a constant scene, say
    rank      effective rank; shrinking to nothing in all directions alike leaves it high
    inverse   error of the action told from neighbouring representations, as a share of that of a guess: 1 if nothing moves
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor

from objective_agent.learning.loop import CollapseError
from objective_agent.learning.regularizers import effective_rank

LEAST_RANK, LEAST_STD, MOST_INVERSE = 2.0, 0.02, 0.95


@dataclass(frozen=True)
class Health:
    rank: float
    std: float
    inverse: float

    @classmethod
    def of(cls, encoded: Tensor, error: Tensor | float, uninformed: Tensor | float) -> Health:
        """From representations [..., D] of a batch, and what `InverseDynamics.loss` returned for it."""
        flat = encoded.detach().flatten(0, -2)
        return cls(effective_rank(flat), float(flat.std(0).mean()), float(error) / max(float(uninformed), 1e-9))

    def figures(self) -> dict[str, float]:
        return asdict(self)

    def refuse(self, step: int, known: bool = False) -> None:
        """Raises CollapseError, one line, when the representation says nothing.

        `known`: whether the inverse dynamics of training windows is told, though not that of the held-out ones measured here.
        """
        meter = f"rank {self.rank:.1f}, std {self.std:.3f}, inverse dynamics {self.inverse:.0%} of a guess"
        if not (self.rank >= LEAST_RANK and self.std >= LEAST_STD):
            raise CollapseError(
                f"collapsed at step {step}: all images look alike ({meter}); choose another regularizer, or raise its weight"
            )
        if not self.inverse <= MOST_INVERSE and not known:
            raise CollapseError(
                f"collapsed at step {step}: nothing that moves is represented ({meter}); raise the weight of inverse "
                "dynamics, or set the regularizer's within_layout where the data have many layouts"
            )
