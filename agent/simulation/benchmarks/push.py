"""The push test: does the model know that walls stop?

Contacts with inner walls are rare in any log, so a model can ignore them and still have a small mean error.  Here the robot is
pushed straight at a wall at full speed, over many test layouts; the model imagines the same push, and a ridge regression from
the dynamic tokens to the true state (fitted on frames of training layouts) says where it thinks that the robot ends:

    crossed = share of the pushes that a wall stopped which the model decodes beyond the wall              (should be near 0)
    passed  = share of the pushes through an opening which it decodes beyond it                            (should be near 1)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from objective_agent.simulation.benchmarks.base import Benchmark
from objective_agent.simulation.benchmarks.controller import DT, Mind
from objective_agent.types import WorldState

FRAMES = 3000
"""Frames of training layouts that the read-out is fitted on."""

CHUNK = 64


def push_test(env: Benchmark, mind: Mind, count: int = 200, seed: int = 0) -> dict[str, Any] | None:
    """Figures over `count` pushes of each kind; None for a task that has no such scenarios."""
    if not hasattr(env, "pushes"):
        return None
    with torch.inference_mode():
        decode = Decoder(env, mind, seed)
        stopped = env.pushes(count, seed)
        through = env.pushes(max(1, count // 2), seed, blocked=False)
        ends, beyond = ends_of(env, mind, decode, stopped)
        error = float(np.linalg.norm(ends - np.stack([push["end"] for push in stopped]), axis=1).mean())
        _, passed = ends_of(env, mind, decode, through)
    return {
        "crossed": float(beyond.mean()),
        "pushes": len(stopped),
        "passed": float(passed.mean()),
        "openings": len(through),
        "error": error,
        "probe_r2": decode.r2,
    }


def ends_of(env: Benchmark, mind: Mind, decode: Decoder, pushes: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """(decoded states [n, S] at the imagined end of each push, whether that is beyond the wall [n])."""
    ends = []
    for first in range(0, len(pushes), CHUNK):
        part = pushes[first : first + CHUNK]
        images = env.render_states(np.stack([push["start"] for push in part]), np.array([push["layout"] for push in part]))
        actions = [np.repeat(push["action"][None], push["steps"], 0) for push in part]
        imagined = imagine(mind, images, np.stack(actions).astype(np.float32))
        ends.append(decode(imagined[:, -1]))
    ends = np.concatenate(ends)
    return ends, np.array([bool(push["crossed"](end)) for push, end in zip(pushes, ends, strict=True)])


def imagine(mind: Mind, images: np.ndarray, actions: np.ndarray) -> Tensor:
    """Dynamic tokens [n, H, dynamic, D] that follow from standing at `images` [n, h, w, 3] and doing `actions` [n, H, A]."""
    tokens = encode(mind, images)
    count, between = len(tokens), max(1, mind.history - 1)
    state = WorldState(
        stamp=float(between) * DT,
        representation=tokens.repeat(1, mind.history, 1),
        pose=torch.zeros(count, 3),
        velocity=torch.zeros(count, 2),
        model=str(mind.encoder.model),
        sent_stamps=DT * np.arange(between, dtype=float),
        sent=torch.zeros(count, between, mind.actions),
    )
    found = mind.world_model.rollout(state, torch.from_numpy(actions)[:, None], 1, DT)
    return torch.as_tensor(found.representations)[:, 0, 0].cpu()


def encode(mind: Mind, images: np.ndarray) -> Tensor:
    """Tokens [n, T, D] of images [n, h, w, 3]."""
    from objective_agent.types import Observation

    nowhere = {"pose": np.zeros((len(images), 3), np.float32), "velocity": np.zeros((len(images), 2), np.float32)}
    return torch.as_tensor(mind.encoder.encode(Observation(0.0, images=images, **nowhere)).tokens)


class Decoder:
    """Ridge regression from dynamic tokens to the true state, on frames that exploration sees; `r2` on held-out ones."""

    def __init__(self, env: Benchmark, mind: Mind, seed: int, ridge: float = 1e-3):
        images, states = explored(env, FRAMES, seed)
        tokens = [
            encode(mind, images[first : first + CHUNK])[:, : mind.dynamic].flatten(1) for first in range(0, len(images), CHUNK)
        ]
        inputs, wanted = torch.cat(tokens).double(), torch.from_numpy(states).double()
        self._middle, self._centre = inputs.mean(0), wanted.mean(0)
        cut = len(inputs) * 4 // 5
        fit, test = slice(0, cut), slice(cut, None)
        x, y = inputs - self._middle, wanted - self._centre
        softly = ridge * cut * x.var(0).mean() * torch.eye(x.shape[1], dtype=x.dtype)
        self._weight = torch.linalg.solve(x[fit].T @ x[fit] + softly, x[fit].T @ y[fit])
        left = (x[test] @ self._weight - y[test]).square().sum()
        self.r2 = float(1 - left / (y[test] - y[test].mean(0)).square().sum())

    def __call__(self, tokens: Tensor) -> np.ndarray:
        """States [n, S] of dynamic tokens [n, dynamic, D]."""
        return ((tokens.flatten(1).double() - self._middle) @ self._weight + self._centre).float().numpy()


def explored(env: Benchmark, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(images, states) of `count` frames of collected episodes in training layouts."""
    images, states, episode = [], [], 0
    while len(images) < count:
        random = np.random.default_rng([seed, episode, 5])
        options = {"layout": env.train_layout(seed, episode), "goal": False}
        image, info = env.reset(seed=int(random.integers(2**31)), options=options)
        act, ended = env.explore(random), False
        while not ended and len(images) < count:
            images.append(image)
            states.append(info["state"])
            image, _, done, cut, info = env.step(act(image, info))
            ended = done or cut
        episode += 1
    return np.stack(images), np.stack(states)
