"""Encoder "jepa": an observation through the learned network, whatever sensors it has.

The weights stand in the model's folder as `encoder.safetensors`; their sha256 is the name of the representation (`model`), so
that no consumer mixes representations of two models.  The folder's card must name the same sha256.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from pydantic import Field

from objective_agent import weights
from objective_agent.config import RobotParameters, Strict, validate
from objective_agent.perception.image import canonical_image
from objective_agent.perception.jepa_network import (
    BEAMS,
    HISTORY,
    NEAREST,
    SCANS,
    SECTORS,
    EncoderNetwork,
    EncoderShape,
    encoder_inputs,
)
from objective_agent.perception.scan import canonical_ranges
from objective_agent.types import InputError, Observation, Representation, Scan


class JepaEncoder:
    """Observation -> one token [B, 1, D] (NumPy, so that memory needs no torch)."""

    class Config(Strict):
        model: str = Field("models/apartment", min_length=1, description="folder of the trained model")
        device: str = Field("cpu", description="torch device")
        lidar: bool = Field(True, description="look at the scan, when there is one")
        camera: bool = Field(True, description="look at the image, when there is one")
        sweep_quantile: float = Field(
            0.35, gt=0, le=0.5, description="without a scan one is estimated: this quantile of each sector's range"
        )
        sweep_doubt: float = Field(0.45, gt=0, le=2, description="sectors of a larger log scale are left unknown in it")
        sweep_reach: float = Field(1.3, gt=0.2, le=8, description="estimated ranges count up to here, m")

    tokens = 1

    def __init__(self, config: Config, robot: RobotParameters):
        folder = weights.find_model(config.model)
        card = weights.read_card(folder)
        arrays, settings, self.model = weights.read_weights(folder, "encoder", card)
        where = f"{folder}: encoder"
        shape = validate(EncoderShape, settings, where)
        self.network = EncoderNetwork(shape)
        weights.load_into(self.network, arrays, where)
        self.network.to(config.device).eval()
        self.features = shape.features
        self.sees_images = config.camera and self._trained_with_images(card)
        """Whether goals may be given as pictures."""
        self._config = config

    @staticmethod
    def _trained_with_images(card: dict) -> bool:
        views = (card.get("metrics") or {}).get("views")
        return views is None or "camera" in views

    def encode(self, observation: Observation) -> Representation:
        """Tokens [B, 1, D]; works without scan, image, motion history or past scans.  InputError for nonsense."""
        inputs = observation_inputs(observation, self._config.lidar, self._config.camera)
        with torch.inference_mode():
            tokens = self.network({name: value.to(self._config.device) for name, value in inputs.items()})
        eyes = zip(inputs["has_scan"].tolist(), inputs["has_image"].tolist(), strict=True)
        senses = tuple(("lidar",) * scan + ("camera",) * image for scan, image in eyes)
        representation = Representation(observation.stamp, tokens[:, None].cpu().numpy(), self.model, senses=senses)
        if all(scan is not None for scan in observation.scans):
            return representation
        return replace(representation, scans=tuple(self.virtual_scans(representation)))

    def virtual_scans(self, representation: Representation) -> list[Scan]:
        """What the representation says of the distances round the robot: an estimated sweep of 36 sectors each.

        A sector's range is the lower `sweep_quantile` of its Laplace distribution, +inf beyond `sweep_reach`, NaN where its
        scale is too large.  For the memories of a robot without lidar; ranges are in base_link.
        """
        config = self._config
        with torch.inference_mode():
            mean, log_scale = self.network.ranges(torch.as_tensor(representation.tokens)[:, 0].to(config.device))
            ranges = (mean + log_scale.exp() * math.log(2 * config.sweep_quantile)).exp().clamp(min=NEAREST)
            ranges = torch.where(ranges < config.sweep_reach, ranges, torch.inf)
            ranges = torch.where(log_scale < math.log(config.sweep_doubt), ranges, torch.nan).cpu().numpy()
        step = 2 * math.pi / SECTORS
        geometry = (-math.pi + 0.4 * step, step, NEAREST, config.sweep_reach)
        return [Scan(representation.stamp, row, *geometry, estimated=True) for row in ranges]


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
