"""Violation of expectation: is the world model more surprised by what can't happen than by what can?

    peak       the largest error of a predicted next representation, each from what was really seen before, along the clip
    one_step   the mean of these errors along the clip
    rollout    error of the representations imagined from the clip's first frames alone, along all of its actions; mean

An error is the root mean square difference of predicted and encoded representation, mean of the futures.  A pair is ranked
right when the impossible clip surprises more; ties are wrong.  What can't happen happens in a moment, as an alarm at run time
hears it, so the bars ask for `peak`; where something must be remembered (occlusion) the mean says more.  `unchanged` is what
expecting that nothing ever changes would get: where that ranks a kind right, too, moving less was enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from objective_agent.perception.frame_network import FrameEncoder
from objective_agent.results.statistics import wilson
from objective_agent.simulation.benchmarks.impossible import ClipPair
from objective_agent.world_model.frame_network import FramePredictor

BARS = {"teleport": 0.95, "wall": 0.95}
"""Share of pairs that must be ranked right, by `peak`."""

SCORES = ("peak", "one_step", "rollout", "unchanged")
AT_ONCE = 32


@dataclass(frozen=True)
class Surprise:
    """Of clips: errors per judged frame [n, F - W], W = the model's history."""

    one_step: np.ndarray
    rollout: np.ndarray
    unchanged: np.ndarray

    def scores(self) -> dict[str, np.ndarray]:
        """A number per clip [n]."""
        means = {"one_step": self.one_step.mean(1), "rollout": self.rollout.mean(1), "unchanged": self.unchanged.mean(1)}
        return {"peak": self.one_step.max(1), **means}


@torch.inference_mode()
def surprise(encoder: FrameEncoder, predictor: FramePredictor, images: np.ndarray, actions: np.ndarray) -> Surprise:
    """Of clips `images` uint8 [n, F, h, w, 3] with `actions` [n, F - 1, A] between the frames; F > W."""
    shape, count, frames = predictor.shape, *images.shape[:2]
    pictures = torch.from_numpy(np.ascontiguousarray(images)).flatten(0, 1)
    encoded = encoder(pictures).unflatten(0, (count, frames))
    done = torch.from_numpy(np.asarray(actions, np.float32))
    history, judged = shape.history, frames - shape.history
    seen = torch.stack([encoded[:, step : step + history] for step in range(judged)], 1).flatten(0, 1)
    past = torch.stack([done[:, step : step + history - 1] for step in range(judged)], 1).flatten(0, 1)
    next_action = done[:, history - 1 :].flatten(0, 1)[:, None, None]
    came = encoded[:, history:, : shape.dynamic]
    expected = predictor.rollout(seen, past, next_action, shape.heads)[:, 0, :, 0].mean(1).view_as(came)
    imagined = predictor.rollout(encoded[:, :history], done[:, : history - 1], done[:, None, history - 1 :], shape.heads)
    return Surprise(
        _error(expected, came),
        _error(imagined[:, 0].mean(1), came),
        _error(encoded[:, history - 1 : -1, : shape.dynamic], came),
    )


def judge(encoder: FrameEncoder, predictor: FramePredictor, pairs: Iterable[ClipPair]) -> dict[str, Any]:
    """How many pairs of one kind are ranked right, by each score, with Wilson's interval; and how far the clips are apart."""
    found: list[dict[str, np.ndarray]] = []
    waiting: list[ClipPair] = []
    for pair in pairs:
        waiting.append(pair)
        if len(waiting) == AT_ONCE:
            found.append(_score(encoder, predictor, waiting))
            waiting = []
    if waiting:
        found.append(_score(encoder, predictor, waiting))
    result: dict[str, Any] = {"pairs": sum(len(part["one_step"]) for part in found)}
    for name in SCORES:
        scores = np.concatenate([part[name] for part in found])  # [pairs, 2]
        right = int((scores[:, 1] > scores[:, 0]).sum())
        result[name] = {
            "right": right,
            "share": right / len(scores),
            "interval": wilson(right, len(scores)),
            "possible": float(np.median(scores[:, 0])),
            "impossible": float(np.median(scores[:, 1])),
        }
    return result


def _score(encoder: FrameEncoder, predictor: FramePredictor, pairs: list[ClipPair]) -> dict[str, np.ndarray]:
    """Each score as [pairs, 2]."""
    images = np.concatenate([pair.images for pair in pairs])
    actions = np.repeat(np.stack([pair.actions for pair in pairs]), 2, 0)
    return {name: score.reshape(-1, 2) for name, score in surprise(encoder, predictor, images, actions).scores().items()}


def _error(expected: Tensor, came: Tensor) -> np.ndarray:
    """Root mean square difference over tokens and features: [n, F, dynamic, D] -> [n, F]."""
    return ((expected - came) ** 2).mean((-1, -2)).sqrt().numpy()
