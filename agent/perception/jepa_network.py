"""The encoder's network: lidar, camera, body velocity and motion history -> one representation.

Perception's half of a joint-embedding predictive architecture (LeCun 2022, section 4.4): nothing is reconstructed, the
representation is whatever makes its own future predictable.  Everything is egocentric, so the same corner looks the same in
every home.

    lidar    three sweeps on the canonical grid, the two older ones moved into the present frame by odometry; per beam
             .5 log r (far structure), min(.3 / r, 1.2) (near obstacles) and whether the beam is known; patches of 5 beams,
             then a convolution round the circle
    camera   64 x 64 RGB; blocks of 4 x 4 pixels become channels, then two convolutions of stride 2
    body     velocity, and 0.8 s of what was commanded beside what odometry says came of it: slip, asymmetry, payload and
             delay are seen nowhere else

A modality that is missing is replaced by a learned vector, so one network serves every mix of sensors.  `ranges` reads the
present representation as distances in 36 sectors with their uncertainty, for consumers that want a scan where there is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from objective_agent.config import Strict

BEAMS = 180
SCANS = 3
SECTORS = 36
IMAGE_SIZE = 64
HISTORY = (8, 4)
"""Motion history: 8 slots of 0.1 s, oldest first, of (v odometry, w odometry, v command, w command)."""

PATCH = BEAMS // SECTORS
NEAREST, FARTHEST = 0.05, 12.0
"""Ranges are clipped to this before the logarithm, m."""


class EncoderShape(Strict):
    """What the weights' shapes depend on; stored with them."""

    features: int = 128
    hidden: int = 256
    batch_norm: bool = False
    """Normalise the output over the batch: SIGReg needs it."""
    speed_scale: float = 0.6
    turn_scale: float = 1.8


class EncoderNetwork(nn.Module):
    """`forward(inputs)` -> [n, D]; `inputs` as `encoder_inputs` describes them."""

    def __init__(self, shape: EncoderShape):
        super().__init__()
        self.shape = shape
        self.patches = nn.Linear(3 * SCANS * PATCH, 32)
        self.circle = nn.Linear(3 * 32, 48)
        self.lidar = nn.Linear(48 * SECTORS // 2, 192)
        self.camera = nn.Sequential(
            nn.Conv2d(48, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 128, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(2048, 192)
        ).to(memory_format=torch.channels_last)
        self.body = nn.Sequential(nn.Linear(2 + HISTORY[0] * (HISTORY[1] + 1), 96), nn.ReLU(), nn.Linear(96, 64))
        self.no_lidar = nn.Parameter(torch.zeros(192))
        self.no_camera = nn.Parameter(torch.zeros(192))
        self.join = nn.Sequential(
            nn.LayerNorm(448), nn.ReLU(), nn.Linear(448, shape.hidden), nn.ReLU(), nn.Linear(shape.hidden, shape.features)
        )
        self.norm = nn.BatchNorm1d(shape.features, affine=False) if shape.batch_norm else nn.Identity()
        self.ranges_head = nn.Sequential(nn.Linear(shape.features, 192), nn.ReLU(), nn.Linear(192, 2 * SECTORS))
        self.register_buffer("scale", torch.tensor([shape.speed_scale, shape.turn_scale] * 2), persistent=False)

    def forward(self, inputs: Mapping[str, Tensor], bfloat16: bool = False) -> Tensor:
        """Representations [n, D] of n observations; `bfloat16` computes the large layers in that precision."""
        with torch.autocast(inputs["velocity"].device.type, torch.bfloat16, enabled=bfloat16):
            parts = [
                self._present(self._lidar, inputs["ranges"], inputs["has_scan"], self.no_lidar),
                self._present(self._camera, inputs["image"], inputs["has_image"], self.no_camera),
                self._body(inputs["velocity"], inputs["motion"]),
            ]
            joined = self.join(torch.cat([part.float() for part in parts], -1))
        return self.norm(joined.float())

    def views(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Representations [n, D] of the same observations with "all" senses, "camera" or "lidar" alone, and as a "goal": the
        camera of a body that stands."""
        lidar = self._present(self._lidar, inputs["ranges"], inputs["has_scan"], self.no_lidar)
        camera = self._present(self._camera, inputs["image"], inputs["has_image"], self.no_camera)
        body = self._body(inputs["velocity"], inputs["motion"])
        standing = self._body(torch.zeros_like(inputs["velocity"]), torch.zeros_like(inputs["motion"]))
        dark, blind = self.no_lidar.expand_as(lidar), self.no_camera.expand_as(camera)
        parts = {"all": (lidar, camera, body), "camera": (dark, camera, body), "lidar": (lidar, blind, body)}
        parts["goal"] = (dark, camera, standing)
        return {view: self.norm(self.join(torch.cat(part, -1))) for view, part in parts.items()}

    def ranges(self, representation: Tensor) -> tuple[Tensor, Tensor]:
        """Log range (log m) and its log scale, both [..., 36]: sector s looks at -pi + (s + 0.4) 2 pi / 36 from base_link."""
        mean, log_scale = self.ranges_head(representation).chunk(2, -1)
        return mean, log_scale.clamp(-4.0, 2.0)

    def _present(self, network, values: Tensor, present: Tensor, missing: Tensor) -> Tensor:
        """`network` on the rows that are present (and on those alone: the camera is dear), `missing` in the others."""
        out = missing.expand(len(present), -1)
        rows = present.nonzero()[:, 0]
        if len(rows) == len(present):
            return network(values)
        if len(rows) == 0:
            return out
        return out.index_copy(0, rows, network(values[rows]).to(out.dtype))

    def _lidar(self, ranges: Tensor) -> Tensor:
        features = self._range_features(ranges)
        patches = features.view(len(ranges), -1, SECTORS, PATCH).transpose(1, 2).reshape(len(ranges), SECTORS, -1)
        patches = functional.relu(self.patches(patches))
        around = torch.cat([patches[:, -1:], patches], 1).unfold(1, 3, 2)  # every second patch with its two neighbours
        circle = functional.relu(self.circle(around.reshape(len(ranges), SECTORS // 2, -1)))
        return self.lidar(circle.flatten(1))

    @staticmethod
    def _range_features(ranges: Tensor) -> Tensor:
        known = ~torch.isnan(ranges)
        ranges = torch.where(known, ranges, FARTHEST).clamp(NEAREST, FARTHEST)
        known = known.float()
        return torch.cat([0.5 * torch.log(ranges) * known, (0.3 / ranges).clamp(max=1.2) * known, known], 1)

    def _camera(self, image: Tensor) -> Tensor:
        blocks = image.view(len(image), 16, 4, 16, 4, 3).permute(0, 1, 3, 2, 4, 5).reshape(len(image), 16, 16, 48)
        return self.camera((blocks.float() / 255 - 0.5).permute(0, 3, 1, 2))

    def _body(self, velocity: Tensor, motion: Tensor) -> Tensor:
        motion = motion / self.scale
        known = (~torch.isnan(motion).any(-1, keepdim=True)).float()
        motion = torch.cat([torch.nan_to_num(motion) * known, known], -1)
        return self.body(torch.cat([velocity / self.scale[:2], motion.flatten(1)], -1))


def encoder_inputs(
    pose: np.ndarray,
    velocity: np.ndarray,
    motion: np.ndarray,
    ranges: np.ndarray,
    scan_poses: np.ndarray,
    image: np.ndarray | None = None,
    has_image: np.ndarray | None = None,
) -> dict[str, Tensor]:
    """The network's inputs, made the same way for training and at run time.

    `pose` [n, 3], `velocity` [n, 2], `motion` [n, 8, 4] (NaN where not known); `ranges` [n, 3, 180] canonical ranges of the
    sweeps now, 0.2 s and 0.4 s ago (m, NaN unknown), `scan_poses` [n, 3, 3] odometry at those sweeps' own stamps; `image`
    [n, 64, 64, 3] uint8 with `has_image` [n] bool.  A problem has a scan when its present one knows any beam.
    """
    count = len(velocity)
    seen_from = relative_pose(np.repeat(pose[:, None], SCANS, 1), scan_poses).reshape(-1, 3)
    ranges = warp_ranges(ranges.astype(np.float32).reshape(-1, BEAMS), seen_from).reshape(count, SCANS, BEAMS)
    if image is None:
        image, has_image = np.zeros((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8), np.zeros(count, bool)
    has_image = np.ones(count, bool) if has_image is None else np.asarray(has_image)
    return {
        "ranges": torch.from_numpy(ranges),
        "has_scan": torch.from_numpy((~np.isnan(ranges[:, 0])).any(-1)),
        "image": torch.from_numpy(np.array(image)),
        "has_image": torch.from_numpy(has_image),
        "velocity": torch.from_numpy(np.array(velocity, np.float32)),
        "motion": torch.from_numpy(np.array(motion, np.float32)),
    }


def relative_pose(origin: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """`pose` [..., 3] as seen from `origin` [..., 3]."""
    dx, dy = pose[..., 0] - origin[..., 0], pose[..., 1] - origin[..., 1]
    cos, sin = np.cos(origin[..., 2]), np.sin(origin[..., 2])
    return np.stack([cos * dx + sin * dy, cos * dy - sin * dx, pose[..., 2] - origin[..., 2]], -1)


def warp_ranges(ranges: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Canonical ranges [n, 180] of sweeps taken at `pose` [n, 3], as seen from that pose's origin; NaN where nothing is."""
    angles = (np.arange(BEAMS) * (2 * math.pi / BEAMS) - math.pi).astype(np.float32)
    direction = angles + pose[:, 2:3]
    x = pose[:, 0:1] + ranges * np.cos(direction)
    y = pose[:, 1:2] + ranges * np.sin(direction)
    known = ~np.isnan(x)
    angle = np.where(known, np.arctan2(np.where(known, y, 0.0), np.where(known, x, 1.0)), 0.0)
    cell = np.rint((angle + math.pi) * (BEAMS / (2 * math.pi))).astype(np.int64) % BEAMS
    cell += np.arange(len(ranges))[:, None] * BEAMS
    seen = np.full(ranges.size, np.inf, np.float32)
    np.minimum.at(seen, cell[known], np.hypot(x, y)[known].astype(np.float32))
    return np.where(np.isinf(seen), np.nan, seen).reshape(ranges.shape)
