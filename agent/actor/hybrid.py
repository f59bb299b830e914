"""Sampling finds the valley, gradients its bottom: a few rounds of the cross-entropy method, then the augmented Lagrangian's
steps from its best candidates that go different ways.
"""

from __future__ import annotations

from pydantic import Field

from objective_agent.actor.augmented_lagrangian import AugmentedLagrangian


class Hybrid(AugmentedLagrangian):
    class Config(AugmentedLagrangian.Config):
        iterations: int = Field(20, ge=1, le=1000, description="most iterations per decision")
        rounds: int = Field(3, ge=1, le=100, description="iterations of sampling before")
        starts: int = Field(4, ge=1, le=1024, description="points that go downhill at once")
        step: float = Field(0.3, gt=0, le=2, description="longest step of any action, share of half its range")
