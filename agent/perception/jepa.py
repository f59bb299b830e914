"""Encoder "jepa": an observation through the learned network, whatever sensors it has.

The weights stand in the model's folder as `encoder.safetensors`; their sha256 is the name of the representation (`model`), so
that no consumer mixes representations of two models.  The folder's card must name the same sha256.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import Field

from objective_agent import weights
from objective_agent.config import RobotParameters, Strict, validate
from objective_agent.perception.image import canonical_image
from objective_agent.perception.jepa_network import (
    BEAMS,
    HISTORY,
    SCANS,
    SECTORS,
    EncoderNetwork,
    EncoderShape,
    encoder_inputs,
)
from objective_agent.perception.scan import canonical_ranges
from objective_agent.types import InputError, Observation, Representation, Scan

UNSURE = 0.35
"""Sectors whose log scale stands for more than this relative error (about 40 %) are left out of a virtual scan."""


class JepaEncoder:
    """Observation -> one token [B, 1, D], a torch tensor on the CPU."""

    class Config(Strict):
        model: str = Field("models/apartment", min_length=1, description="folder of the trained model")
        device: str = Field("cpu", description="torch device")
        lidar: bool = Field(True, description="look at the scan, when there is one")
        camera: bool = Field(True, description="look at the image, when there is one")

    tokens = 1

    def __init__(self, config: Config, robot: RobotParameters):
        folder = weights.find_model(config.model)
        arrays, settings, self.model = weights.read_weights(folder, "encoder", weights.read_card(folder))
        where = f"{folder}: encoder"
        shape = validate(EncoderShape, settings, where)
        self.network = EncoderNetwork(shape)
        weights.load_into(self.network, arrays, where)
        self.network.to(config.device).eval()
        self.features = shape.features
        self._config = config

    def encode(self, observation: Observation) -> Representation:
        """Tokens [B, 1, D]; works without scan, image, motion history or past scans.  InputError for nonsense."""
        inputs = observation_inputs(observation, self._config.lidar, self._config.camera)
        with torch.inference_mode():
            tokens = self.network({name: value.to(self._config.device) for name, value in inputs.items()})
        return Representation(stamp=observation.stamp, tokens=tokens[:, None].cpu(), model=self.model)

    def virtual_scans(self, representation: Representation) -> list[Scan]:
        """What the representation says of the distances round the robot: a scan of 36 beams each, NaN where it is unsure.

        For the route memory and the guardrail of a robot without lidar; ranges are in base_link.
        """
        with torch.inference_mode():
            mean, log_scale = self.network.ranges(torch.as_tensor(representation.tokens)[:, 0].to(self._config.device))
            ranges = torch.where(log_scale < math.log(UNSURE), mean.exp(), torch.nan).cpu().numpy()
        step = 2 * math.pi / SECTORS
        first = -math.pi + 0.4 * step
        return [Scan(representation.stamp, row, first, step, 0.05, 8.0) for row in ranges]


def observation_inputs(observation: Observation, lidar: bool = True, camera: bool = True) -> dict[str, torch.Tensor]:
    """The network's inputs for an observation; InputError when pose or velocity have a wrong shape or are not finite."""
    batch = observation.batch
    pose, velocity = _finite("pose", observation.pose, (batch, 3)), _finite("velocity", observation.velocity, (batch, 2))
    ranges = np.full((batch, SCANS, BEAMS), np.nan, np.float32)
    poses = np.repeat(pose[:, None], SCANS, 1)
    if lidar:
        if len(observation.scans) != batch:
            raise InputError(f"observation: {len(observation.scans)} scans for {batch} problems; give one (or None) each")
        for row, scan in enumerate(observation.scans):
            if scan is not None:
                ranges[row, 0] = canonical_ranges(scan)
        if observation.scan_poses is not None:
            poses[:, 0] = _shaped("scan_poses", observation.scan_poses, (batch, 3))
        if observation.past_scans is not None and observation.past_poses is not None:
            ranges[:, 1:] = _shaped("past_scans", observation.past_scans, (batch, SCANS - 1, BEAMS))
            poses[:, 1:] = _shaped("past_poses", observation.past_poses, (batch, SCANS - 1, 3))
    motion = observation.motion
    motion = np.full((batch, *HISTORY), np.nan, np.float32) if motion is None else _shaped("motion", motion, (batch, *HISTORY))
    image = None
    if observation.images is not None and camera:
        if len(observation.images) != batch:
            raise InputError(f"observation: {len(observation.images)} images for {batch} problems; give one each")
        image = np.stack([canonical_image(rgb) for rgb in observation.images])
    return encoder_inputs(pose, velocity, motion, ranges, poses, image)


def _shaped(name: str, value, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(value, np.float32)
    if array.shape != shape:
        raise InputError(f"observation.{name}: shape {array.shape}; need {shape}")
    return array


def _finite(name: str, value, shape: tuple[int, ...]) -> np.ndarray:
    array = _shaped(name, value, shape)
    if not np.isfinite(array).all():
        raise InputError(f"observation.{name}: has NaN or infinite values; drop that reading")
    return array
