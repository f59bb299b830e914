"""An encoder that reads the agent's place out of the picture, and world models that know how it moves, or believe they do."""

import numpy as np
import torch

from objective_agent.config import Strict
from objective_agent.types import Observation, Representation, Trajectory

SPEED = 0.125


class Shape(Strict):
    actions: int = 2
    history: int = 1
    dynamic: int = 1


class Eyes:
    """Tokens [B, 1, 2]: x and y of the red disc."""

    class Config(Strict):
        model: str = ""

    model, tokens, features = "eyes", 1, 2

    def __init__(self, config, robot):
        pass

    def encode(self, observation: Observation) -> Representation:
        colours = observation.images.astype(np.float32)
        red = np.clip(colours[..., 0] - colours[..., 2] - 60, 0, None)
        at, mass = (np.arange(64) + 0.5) / 64, red.sum((1, 2))
        places = np.stack([red.sum(1) @ at / mass, red.sum(2) @ at / mass], -1)
        return Representation(observation.stamp, places[:, None].astype(np.float32), self.model)


class FreeSpace:
    """z + speed * action: knows no walls."""

    class Config(Strict):
        model: str = ""

    model, shape = "free space", Shape()

    def __init__(self, config, robot):
        pass

    def rollout(self, state, actions, futures=1, dt=1.0) -> Trajectory:
        actions = torch.as_tensor(actions, dtype=torch.float32)
        places = state.representation[:, -1][:, None, None] + SPEED * actions.cumsum(2)
        found = places[:, :, None, :, None].expand(-1, -1, futures, -1, -1, -1)
        nowhere = found.new_zeros(()).expand(*found.shape[:4], 3)
        return Trajectory(state, actions, nowhere, nowhere[..., :2], dt, found)


class LongMemory(FreeSpace):
    """Asks for three frames and notes what it was given."""

    shape = Shape(history=3)
    given: list = []  # noqa: RUF012 - read by the test

    def rollout(self, state, actions, futures=1, dt=1.0):
        self.given.append((state.representation.clone(), state.sent.clone()))
        return super().rollout(state, actions, futures, dt)
