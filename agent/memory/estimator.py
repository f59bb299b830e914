"""Short-term memory "estimator": predicts the present with the world model, and corrects it with what came.

    predicted = world model(last estimate, commands really sent since)
    estimate  = predicted + K (encoding - b - predicted)

A camera sees 90 degrees.  What it saw before the robot turned away is still there, and the world model knows where: so the
representation handed on is not the newest encoding but an estimate of what all senses together would say.  How far prediction
and encoding are each to be trusted was measured on worlds held out from training and stands with the model (`calibration.py`);
the arithmetic is in `fusion.py`.  With all senses the estimate is the encoding.  Poses, obstacle points and sent commands are
those of `latest`.

The estimate starts over after a gap, when another model's representations come, when odometry jumps, and when time runs
backwards.  Where nothing is known of an encoding's worth (a model without calibration, another model's representation, a mix
of senses that was not measured) the encoding is taken as it is, and the log says so once.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from pydantic import Field

from objective_agent import weights
from objective_agent.config import Positive, RobotParameters
from objective_agent.memory.calibration import Calibration
from objective_agent.memory.fusion import Belief, Measure, corrected, predicted, started
from objective_agent.memory.prediction import Predictor
from objective_agent.memory.short_term import LatestState, Remembered
from objective_agent.types import InputError, Observation, Representation, WorldState

SHORTEST_NAME = 12
"""A model may be named by the first digits of its sha256, at least so many."""

logger = logging.getLogger(__name__)


class StateEstimator(LatestState):
    """`latest`, but the representation is an estimate.  ConfigurationError for a model that is missing or damaged."""

    class Config(LatestState.Config):
        model: str = Field("models/apartment", min_length=1, description="folder of the trained model")
        longest_gap: Positive = Field(1.0, le=5, description="after so long without a representation it starts over, s")
        largest_jump: Positive = Field(0.5, description="odometry so far from where the robot can be makes it start over, m")

    def __init__(self, config: Config, robot: RobotParameters):
        folder = weights.find_model(config.model)
        card = weights.read_card(folder)
        self.model = str(card["sha256"].get("encoder"))
        self.predictor = Predictor.of(folder, card)
        self.calibration = Calibration.of(folder, card, self.predictor.features)
        self._told: set[str] = set()
        super().__init__(config, robot)

    def reset(self) -> None:
        super().reset()
        self._beliefs: list[Belief] = []
        self.surprise = 0.0
        """How unusual the last encoding was, in units of its alarm level; 0 where it was not compared."""

    def update(self, representation: Representation, observation: Observation) -> WorldState:
        """As `latest`'s, with the estimated representation.  InputError for tokens that are not finite, or of a wrong shape."""
        tokens = np.asarray(representation.tokens, np.float32)
        if len(tokens) != observation.batch or not np.isfinite(tokens).all():
            raise InputError(f"representation {tokens.shape}: has values that are not finite, or is of another batch")
        before = self.history[-1].state if self.history else None
        state = super().update(representation, observation)
        if len(self.history) == 1:  # `latest` has started over
            self._beliefs = []
        self.surprise = 0.0
        measures = self._measures(representation, state.batch)
        if measures is None:
            self._beliefs = []
            return state
        if tokens.shape[1:] != (1, self.predictor.features):
            raise InputError(f"representation: shape {tokens.shape}; its model gives [B, 1, {self.predictor.features}]")
        encodings = tokens[:, 0].astype(np.float64)
        if not self._beliefs or self._starts_over(before, state):
            self._beliefs = [started(z, measure) for z, measure in zip(encodings, measures, strict=True)]
        elif state.stamp > before.stamp:
            self._estimate(before, state, encodings, measures)
        means = np.stack([belief.mean for belief in self._beliefs])
        state = replace(state, representation=means.astype(np.float32)[:, None])
        self.history[-1] = Remembered(state)
        return state

    def _estimate(self, before: WorldState, state: WorldState, encodings: np.ndarray, measures: list[Measure]) -> None:
        """Predicts each problem's belief to the state's stamp and corrects it with its encoding."""
        steps = (state.stamp - before.stamp) / self.predictor.dt
        start = np.stack([belief.mean for belief in self._beliefs])
        means = self.predictor.advance(start, before.stamp, state.stamp, list(self._commands), before.velocity)
        for row, measure in enumerate(measures):
            belief = predicted(self._beliefs[row], means[row].astype(np.float64), self.calibration.process, steps)
            self._beliefs[row], surprise = corrected(belief, encodings[row], measure, steps)
            self.surprise = max(self.surprise, surprise / measure.alarm)

    def _starts_over(self, before: WorldState, state: WorldState) -> bool:
        elapsed = state.stamp - before.stamp
        reach = self.robot.max_speed * elapsed + self.config.largest_jump
        moved = np.hypot(*(state.pose - before.pose)[:, :2].T)
        return elapsed > self.config.longest_gap or before.model != state.model or bool((moved > reach).any())

    def _measures(self, representation: Representation, batch: int) -> list[Measure] | None:
        """What each problem's encoding is worth; None (and a line in the log) where that is not known."""
        name = representation.model
        if self.calibration is None:
            self._tell("the model has no calibration of its memory (objective-agent train --head memory adds it)")
            return None
        if name != self.model and not (len(name) >= SHORTEST_NAME and self.model.startswith(name)):
            self._tell(f"representations of model {name[:SHORTEST_NAME]} come, memory has {self.model[:SHORTEST_NAME]}")
            return None
        found = [self.calibration.measure(senses) for senses in representation.senses]
        if len(found) != batch or None in found:
            senses = "; ".join("+".join(some) or "none" for some in representation.senses) or "senses that nobody names"
            self._tell(f"nothing is known of encodings with {senses}")
            return None
        return found

    def _tell(self, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            logger.warning("%s: encodings are taken as they are, nothing is estimated", why)
