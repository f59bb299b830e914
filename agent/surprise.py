"""Surprise: the energy of the difference between what the world model predicted and what came.

    surprise = | (position error, heading error, representation error) / their alarm levels |          1.0 = the alarm level

The prediction made `surprise_after` seconds ago, under the commands that were really sent since then, is set against the state
that came.  How well a representation can be predicted depends on the sensors, on the place and on how the robot moves, so only
what exceeds the errors of the second before counts: one gets used to a camera, a turn, not to a wall that appears.  The alarm
level of that excess is the parameter's, or the one that a learned model was calibrated to on held-out worlds (its attribute
`surprise_representation`).  Shared by the world model's node and `Agent`; imports no torch.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace

import numpy as np

from objective_agent.config import Configuration, WorldModelParameters
from objective_agent.protocols import WorldModel
from objective_agent.types import WorldState, wrap_angle

PARTS = ("surprise", "position", "heading", "representation")

HABIT, SHARE = 1.2, 90.0
"""What the robot is used to: this percentile of the representation errors of so many seconds that ended when the prediction
was made, so that a surprise lasts until nothing is left of it in what was predicted from."""

FIRST = 0.4
"""Seconds of errors that it must know before anything is unusual."""

SLOWEST = 0.3
"""However great the surprise, this share of the speed limits remains; the gate, not this, is what stops the robot."""


class SurpriseMeter:
    """Keeps the last states; `update` compares the newest with what was predicted for it."""

    def __init__(self, world_model: WorldModel, parameters: WorldModelParameters):
        self.world_model, self.parameters = world_model, parameters
        self._history: deque[WorldState] = deque(maxlen=512)
        self._past: deque[tuple[float, float]] = deque(maxlen=512)

    def reset(self) -> None:
        self._history.clear()
        self._past.clear()

    def update(self, state: WorldState) -> dict[str, float] | None:
        """The errors (`PARTS`), each in units of its alarm level; None while there is no state old enough to predict from."""
        history = self._history
        if history and (history[-1].model != state.model or history[-1].stamp > state.stamp):
            self.reset()
        history.append(state)
        then = state.stamp - self.parameters.surprise_after
        if history[0].stamp > then:
            return None
        while len(history) > 1 and history[1].stamp <= then:
            history.popleft()
        if then - history[0].stamp > self.parameters.surprise_after:  # a pause in between: nothing recent to predict from
            return None
        past = replace(history[0], sent_stamps=state.sent_stamps, sent=state.sent)
        level = self.parameters.surprise_representation or getattr(self.world_model, "surprise_representation", 0.0)
        predicted = self.world_model.advance(past, state.stamp)
        unusual = self._unusual(predicted, state) / level if level > 0 else 0.0
        return errors(predicted, state, self.parameters, unusual)

    def _unusual(self, predicted: WorldState, came: WorldState) -> float:
        """How far the root mean square error of the representation exceeds the usual ones."""
        difference = np.asarray(predicted.representation, float) - np.asarray(came.representation, float)
        error, past = float(np.sqrt(np.mean(difference**2))), self._past
        end = came.stamp - self.parameters.surprise_after + 1e-6
        while past and past[0][0] < end - HABIT:
            past.popleft()
        usual = [value for stamp, value in past if stamp <= end]
        known = bool(usual) and end - past[0][0] >= FIRST
        past.append((came.stamp, error))
        return max(0.0, error - float(np.percentile(usual, SHARE))) if known else 0.0


def errors(
    predicted: WorldState, came: WorldState, parameters: WorldModelParameters, representation: float
) -> dict[str, float]:
    """The prediction's errors, each in units of its alarm level, and their total; `representation` is in such units."""
    expected, found = np.asarray(predicted.pose[0], float), np.asarray(came.pose[0], float)
    position = math.dist(expected[:2], found[:2]) / parameters.surprise_position
    heading = abs(wrap_angle(float(expected[2] - found[2]))) / parameters.surprise_heading
    total = math.sqrt(position**2 + heading**2 + representation**2)
    return dict(zip(PARTS, (total, position, heading, representation), strict=True))


def cautious(configuration: Configuration, surprise: float) -> Configuration:
    """`configuration`, slower by how far `surprise` is above the alarm level, and no imagined future is excused any more."""
    if surprise <= 1.0:
        return configuration
    task = configuration.task
    slower = task.model_copy(update={"speed_scale": task.speed_scale * max(SLOWEST, 1 / surprise), "guardrail_quantile": 1.0})
    return configuration.model_copy(update={"task": slower})
