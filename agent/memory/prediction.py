"""The learned world model's step, for memory: how a representation goes on under the commands that were really sent.

    z[k+1] = z[k] + f_head(z[k], u[k])        0.2 s per step; u = the mean command that left the gate in that time

The same arithmetic as `world_model/jepa.py`'s `advance` (a test compares them), in NumPy, because memory needs no torch and one
state at a time is quick without it: each head goes its own way through all steps, then their mean counts; the time within the
last step is bridged linearly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from objective_agent import weights
from objective_agent.types import Command, ConfigurationError

PARTS = ("from_state", "from_action", "inner", "out", "bias", "inner_bias", "out_bias")


class Predictor:
    """`advance(z, stamp, until, commands)`; weights and steps are those of a model's `predictor.safetensors`."""

    def __init__(self, arrays: dict[str, np.ndarray], settings: dict, where: str = "predictor"):
        try:
            self._weights = {name: np.ascontiguousarray(arrays[f"heads.{name}"], np.float32) for name in PARTS}
            nominal = settings["nominal"]
            self.dt = float(nominal["dt"])
            self._scale = np.array([nominal["max_speed"], nominal["max_turn_rate"]], np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"{where}: is no predictor of this program ({error!r}); {weights.REMEDY}") from None
        self.heads, self.features = self._weights["from_state"].shape[:2]

    @classmethod
    def of(cls, folder: Path, card: dict) -> Predictor:
        """The predictor of the model in `folder`.  ConfigurationError when it is missing, damaged or not the card's."""
        arrays, settings, _ = weights.read_weights(folder, "predictor", card)
        return cls(arrays, settings, f"{folder}: predictor")

    def imagine(self, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Representations [K, H + 1, n, D] along `actions` [n, H, 2] (m/s, rad/s) from `start` [n, D], which comes first."""
        w = self._weights
        state = np.broadcast_to(np.asarray(start, np.float32), (self.heads, *np.shape(start)))
        states = [state]
        for action in np.moveaxis(np.asarray(actions, np.float32) / self._scale, 1, 0):
            hidden = np.maximum(state @ w["from_state"] + action @ w["from_action"] + w["bias"], 0)
            hidden = np.maximum(hidden @ w["inner"] + w["inner_bias"], 0)
            state = state + hidden @ w["out"] + w["out_bias"]
            states.append(state)
        return np.stack(states, 1)

    def advance(
        self, start: np.ndarray, stamp: float, until: float, commands: Sequence[Command], velocity: np.ndarray
    ) -> np.ndarray:
        """The representation [n, D] predicted for `until` >= `stamp` (s) from `start` [n, D] at `stamp`.

        `commands` as they left the gate, in the order of their stamps; before the first of them `velocity` [n, 2] counts.
        """
        if until <= stamp:
            return np.asarray(start, np.float32)
        steps = max(1, math.ceil((until - stamp) / self.dt - 1e-6))
        edges = stamp + self.dt * np.arange(steps + 1)
        states = self.imagine(start, mean_commands(commands, velocity, edges)).mean(0)
        share = np.float32((until - edges[-2]) / self.dt)
        return states[-2] + share * (states[-1] - states[-2])


def mean_commands(commands: Sequence[Command], velocity: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Time mean of the commands [n, H, 2] in each interval between `edges` [H + 1]; each holds until the next one."""
    velocity = np.asarray(velocity, np.float32)
    stamps = np.array([command.stamp for command in commands], float)
    starts, ends = np.concatenate([[-np.inf], stamps]), np.concatenate([stamps, [np.inf]])
    overlap = np.minimum(ends, edges[1:, None]) - np.maximum(starts, edges[:-1, None])
    share = (np.clip(overlap, 0.0, None) / np.diff(edges)[:, None]).astype(np.float32)
    sent = np.array([(command.v, command.w) for command in commands], np.float32).reshape(-1, 2)
    values = np.concatenate([velocity[:, None], np.broadcast_to(sent, (len(velocity), *sent.shape))], 1)
    return share @ values
