"""Encoder "frame_jepa": a picture through the learned network, for worlds that are seen from a camera alone.

Weights and card: as for "jepa", in a model folder whose card says `kind: frames`.  Position and velocity are not looked at.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from objective_agent import devices, weights
from objective_agent.config import RobotParameters, Strict, validate
from objective_agent.perception.frame_network import FrameEncoderShape, build_encoder
from objective_agent.perception.image import observed_pictures
from objective_agent.types import Observation, Representation


class FrameJepaEncoder:
    """Pictures -> tokens [B, T, D] (NumPy); the first `dynamic` of them are what the world model predicts."""

    class Config(Strict):
        model: str = Field("models/two_room", min_length=1, description="folder of the trained model")
        device: str = Field("cpu", description="torch device")

    sees_images = True

    def __init__(self, config: Config, robot: RobotParameters):
        folder = weights.find_model(config.model)
        card = weights.read_card(folder, kind=weights.FRAMES)
        arrays, settings, self.model = weights.read_weights(folder, "encoder", card)
        where = f"{folder}: encoder"
        self.network = build_encoder(validate(FrameEncoderShape, settings, where))
        weights.load_into(self.network, arrays, where)
        self._device = devices.find(config.device)
        self.network.to(self._device).eval()
        self.tokens, self.dynamic = self.network.tokens, self.network.dynamic
        self.features = self.network.features

    def pictures(self, observation: Observation) -> Tensor:
        """[B, size, size, 3] uint8 as the network takes it, on the CPU.  InputError without pictures, or for other arrays."""
        return torch.from_numpy(observed_pictures(observation, self.network.shape.size))

    def see(self, pictures: Tensor) -> Tensor:
        """Tokens [B, T, D] of `pictures`, where the network is."""
        with torch.inference_mode():
            return self.network(devices.move(pictures, self._device))

    def encode(self, observation: Observation) -> Representation:
        """Tokens as everybody can read them.  InputError as `pictures`."""
        tokens = self.see(self.pictures(observation)).cpu().numpy()
        return Representation(observation.stamp, tokens, self.model, senses=(("camera",),) * len(tokens))
