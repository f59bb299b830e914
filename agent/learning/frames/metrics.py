"""What a world model of images is worth, on layouts that it has never seen.

Linear probes tell the true state from representations, as they are and as they were predicted.  Their errors say what
prediction errors in representation space can't: whether what counts is in there, and how long it stays.  `hard` windows are the
tenth in which a model that knows only the action errs most: contacts, mostly.  Means hide them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from objective_agent.learning.batches import generator
from objective_agent.learning.frames.batches import Clips, Frames, Windows
from objective_agent.learning.frames.collapse import Health
from objective_agent.learning.frames.model import FrameModel
from objective_agent.world_model.frame_network import FramePredictor

CHUNK = 256
STEPS = (1, 4, 8)
RIDGE = 1e-3
HARD = 0.1
MOST_FEATURES = 4096


@dataclass(frozen=True)
class Probe:
    """State [.., S] from tokens [.., T, D]: linear, ridge regression."""

    mean: Tensor
    weight: Tensor
    bias: Tensor

    def __call__(self, tokens: Tensor) -> Tensor:
        return (_flat(tokens).double() - self.mean) @ self.weight + self.bias

    @classmethod
    def fit(cls, tokens: Tensor, state: Tensor) -> Probe:
        x, y = _flat(tokens).double(), state.double()
        mean, bias = x.mean(0), y.mean(0)
        x = x - mean
        if x.shape[1] <= len(x):
            gram = x.T @ x
            weight = torch.linalg.solve(gram + _ridge(gram), x.T @ (y - bias))
        else:  # fewer frames than features: the same solution, from the smaller system
            gram = x @ x.T
            weight = x.T @ torch.linalg.solve(gram + _ridge(gram), y - bias)
        return cls(mean, weight, bias)


def _flat(tokens: Tensor) -> Tensor:
    """[.., T, D] -> [.., T D]; of very many features every few."""
    flat = tokens.flatten(-2)
    return flat[..., :: -(-flat.shape[-1] // MOST_FEATURES)]


def _ridge(gram: Tensor) -> Tensor:
    return RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def r2(found: Tensor, state: Tensor) -> list[float]:
    """Share of each number's variance that is told; numbers that never vary count as told."""
    error = ((found - state) ** 2).mean(0)
    variance = ((state - state.mean(0)) ** 2).mean(0)
    return [round(float(1 - e / v), 4) if v > 1e-12 else 1.0 for e, v in zip(error, variance, strict=True)]


@torch.inference_mode()
def encode(model: FrameModel, frames: Frames, rows: np.ndarray) -> Tensor:
    """The predicted tokens of `rows` [n], as float32 [n, dynamic, D]."""
    parts = [frames.tokens(model.agent, rows[first : first + CHUNK]) for first in range(0, len(rows), CHUNK)]
    return torch.cat(parts)


@torch.inference_mode()
def predict(model: FrameModel, predictor: FramePredictor, frames: Frames, clips: Clips, history: int) -> tuple[Tensor, Tensor]:
    """(what came [n, W + H, dynamic, D], what was predicted [n, K, H, dynamic, D], K members)."""
    came, predicted = [], []
    for first in range(0, len(clips.rows), CHUNK):
        part = slice(first, first + CHUNK)
        encoded = frames.tokens(model.agent, clips.rows[part])
        before = encoded[:, :history]
        if predictor.shape.tokens > predictor.shape.dynamic:
            scene = model.encoder.scene(frames(clips.rows[part, history - 1]))
            before = torch.cat([before, scene[:, None].expand(-1, history, -1, -1)], 2)
        futures = predictor.rollout(before, clips.past[part], clips.actions[part][:, None], predictor.shape.heads)
        came.append(encoded)
        predicted.append(futures[:, 0])
    return torch.cat(came), torch.cat(predicted)


class Judge:
    """Measures a model on held-out windows again and again: which windows are hard depends on the data alone."""

    def __init__(self, frames: Frames, windows: Windows, train: Windows, history: int, seed: int, most: int, probes: int):
        self.frames, self.data, self.history = frames, frames.data, history
        random = generator(seed, "judge")
        starts = windows.some(random, most)
        self.clips = windows.clips(starts)
        self.probe_rows = np.sort(random.choice(train.rows, min(probes, len(train.rows)), replace=False))
        self.states = torch.from_numpy(self.data.take("state", self.clips.rows))
        self.hard = self._hard(random, train).to(frames.device)
        self.clips, self.states = self.clips.to(frames.device), self.states.to(frames.device)

    def _hard(self, random: np.random.Generator, train: Windows) -> Tensor:
        """[n] bool: the windows in which the state moves most otherwise than the action makes it move on average."""
        starts = train.some(random, 4000)
        action, state = self.data.take("action", starts), self.data.take("state", starts)
        moved = self.data.take("state", starts + 1) - state
        inputs = np.concatenate([action, np.ones((len(action), 1), np.float32)], 1)
        matrix, *_ = np.linalg.lstsq(inputs, moved, rcond=None)
        scale = moved.std(0) + 1e-9
        actions = self.clips.actions.numpy()
        expected = np.concatenate([actions, np.ones((*actions.shape[:2], 1), np.float32)], -1) @ matrix
        states = self.states[:, self.history - 1 :].numpy()
        error = np.abs((np.diff(states, axis=1) - expected) / scale).sum((1, 2))
        return torch.from_numpy(error >= np.quantile(error, 1 - HARD))

    def figures(self, model: FrameModel, predictor: FramePredictor) -> dict[str, Any]:
        """`probe_r2` per number of the state; `position_h`: error of the first two numbers after h steps, mean over windows and
        members; `hard_h`: the same on hard windows; `state_h`: per number, as a share of its deviation; `latent`; health.
        """
        model.eval()
        came, predicted = predict(model, predictor, self.frames, self.clips, self.history)
        known = torch.from_numpy(self.data.take("state", self.probe_rows)).to(self.frames.device)
        fitted = Probe.fit(encode(model, self.frames, self.probe_rows), known)
        told = fitted(came[:, self.history :]).flatten(0, 1)
        found: dict[str, Any] = {"probe_r2": r2(told, self.states[:, self.history :].flatten(0, 1))}
        for step in STEPS:
            if step > predicted.shape[2]:
                continue
            state = self.states[:, self.history - 1 + step]
            error = fitted(predicted[:, :, step - 1]) - state[:, None]
            place = error[..., :2].norm(dim=-1).mean(1)
            found[f"position_{step}"] = round(float(place.mean()), 5)
            found[f"hard_{step}"] = round(float(place[self.hard].mean()), 5)
            share = error.square().mean((0, 1)).sqrt() / state.double().std(0).clamp(min=1e-9)
            found[f"state_{step}"] = [round(float(value), 4) for value in share]
        future = came[:, self.history :]
        found["latent"] = round(float(((predicted - future[:, None]) ** 2).mean() / future.var().clamp(min=1e-9)), 5)
        return {**found, **{name: round(value, 4) for name, value in self.health(model, came).figures().items()}}

    @torch.inference_mode()
    def health(self, model: FrameModel, came: Tensor) -> Health:
        stacked = model.stacked(came[:, self.history - model.frames :])
        return Health.of(came.flatten(0, 1)[:4096], *model.inverse.loss(stacked, self.clips.actions))
