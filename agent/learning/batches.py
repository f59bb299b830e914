"""Batches: windows out of the sequences as tensors, with some of their senses hidden.

All randomness of batch number i comes from (seed, i): a run that goes on after a crash draws the batches it would have drawn.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from objective_agent import devices
from objective_agent.learning import people
from objective_agent.learning.windows import Sequences
from objective_agent.perception.jepa_network import BEAMS, IMAGE_SIZE, SCANS, SECTORS, encoder_inputs

PEOPLE_SECTORS = 12
"""Directions in which the auxiliary label tells people apart."""


@dataclass(frozen=True)
class Batch:
    """n windows of H steps; `frames` are the encoder's inputs of n start frames (senses hidden) and S x n target frames."""

    frames: dict[str, Tensor]
    """Inputs of (1 + S) n frames: the starts first, then target step by target step."""
    offsets: Tensor
    """[S] which steps (1 ... H) are targets."""
    poses: Tensor
    """[H + 1, n, 3]"""
    velocities: Tensor
    """[H + 1, n, 2]"""
    actions: Tensor
    """[n, H, 2] m/s, rad/s"""
    before: Tensor
    """[n, 2] mean command of the step before the window."""
    clearance: Tensor
    """[H + 1, n] m, NaN unknown."""
    people: Tensor
    """[H + 1, n] m, gap to the nearest person known at the start; NaN unknown."""
    people_sectors: Tensor
    """[H + 1, n, 12] how near they are in each direction (people.sectors)."""
    ranges: Tensor
    """[(1 + S) n, 180] m, NaN unknown; what the lidar saw, hidden from the encoder or not."""
    worlds: np.ndarray
    """[n]"""

    def to(self, device: torch.device) -> Batch:
        """The same batch with its tensors on `device`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {name: devices.move(value, device) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **tensors, frames={name: devices.move(value, device) for name, value in self.frames.items()})

    @property
    def windows(self) -> int:
        return len(self.before)

    @property
    def log_ranges(self) -> Tensor:
        """[(1 + S) n, 36] log m, NaN unknown: the nearest in each sector."""
        return sector_labels(self.ranges)


@dataclass(frozen=True)
class Hiding:
    """Probabilities of hiding a sense from a window's start frame, never both of lidar and camera; `target_camera`: the camera
    from a target frame that has a scan (the camera is the dear part of encoding)."""

    lidar: float = 0.35
    camera: float = 0.35
    motion: float = 0.05
    past: float = 0.1
    target_camera: float = 0.0
    target_lidar: float = 0.0
    """Share of the windows without lidar whose targets have none either: what the camera says must be predictable, too."""
    beams: float = 0.0
    """Share of single beams that are unknown, for half of the windows."""
    mirror: bool = False
    """Every second window is seen in a mirror: left is right."""


def generator(seed: int, *path: int | str) -> np.random.Generator:
    """Random numbers that depend on (seed, path) alone."""
    return np.random.default_rng([seed, *(zlib.crc32(part.encode()) if isinstance(part, str) else part for part in path)])


def make_batch(
    data: Sequences, starts: np.ndarray, horizon: int, offsets: np.ndarray, hiding: Hiding | None, random: np.random.Generator
) -> Batch:
    """The windows that begin at rows `starts` [n], with encoded targets at `offsets` [S] (1 ... horizon)."""
    rows = starts[None] + np.arange(horizon + 1)[:, None]
    encoded = rows[np.concatenate([[0], offsets])]
    frames, scans = frame_inputs(data, encoded.ravel())
    if hiding is not None:
        hide(frames, len(starts), hiding, random)
    before = np.nan_to_num(data.take("motion", starts)[:, -2:, 2:]).mean(1)
    gap, places = data.people(rows)
    batch = Batch(
        frames=frames,
        offsets=torch.from_numpy(np.asarray(offsets, np.int64)),
        poses=torch.from_numpy(data.take("pose", rows).astype(np.float32)),
        velocities=torch.from_numpy(data.take("velocity", rows).astype(np.float32)),
        actions=torch.from_numpy(data.take("action", rows[:-1]).astype(np.float32)).transpose(0, 1),
        before=torch.from_numpy(before.astype(np.float32)),
        clearance=torch.from_numpy(data.take("clearance", rows).astype(np.float32)),
        people=torch.from_numpy(gap),
        people_sectors=torch.from_numpy(people.sectors(places, PEOPLE_SECTORS)),
        ranges=scans,
        worlds=data.world[starts],
    )
    if hiding is not None and hiding.mirror:
        mirror(batch, torch.from_numpy(random.random(len(starts)) < 0.5))
    return batch


def mirror(batch: Batch, chosen: Tensor) -> None:
    """Exchanges left and right in the `chosen` [n] windows, in place: a room and its mirror image teach twice."""
    frames = chosen.repeat(1 + len(batch.offsets))
    batch.frames["ranges"][frames] = mirrored(batch.frames["ranges"][frames])
    batch.frames["image"][frames] = batch.frames["image"][frames].flip(2)
    batch.frames["velocity"][frames, 1] *= -1
    batch.frames["motion"][frames, :, 1::2] *= -1
    batch.ranges[frames] = mirrored(batch.ranges[frames])
    batch.poses[:, chosen, 1:] *= -1
    batch.velocities[:, chosen, 1] *= -1
    batch.actions[chosen, :, 1] *= -1
    batch.before[chosen, 1] *= -1
    batch.people_sectors[:, chosen] = batch.people_sectors[:, chosen].flip(-1).roll(1, -1)


def mirrored(ranges: Tensor) -> Tensor:
    """Canonical ranges [..., 180] with left and right exchanged: beam i looks at -pi + i 2 pi / 180."""
    return ranges.flip(-1).roll(1, -1)


def frame_inputs(data: Sequences, rows: np.ndarray) -> tuple[dict[str, Tensor], Tensor]:
    """(encoder inputs, canonical ranges [n, 180] as seen from the present pose) of the observations in `rows` [n]."""
    ranges = np.full((len(rows), SCANS, BEAMS), np.nan, np.float32)
    pose = data.take("pose", rows)
    poses = np.repeat(pose[:, None], SCANS, 1)
    for past in range(SCANS):
        at = data.past(rows, past)
        there = at >= 0
        ranges[there, past] = data.take("scan", at[there])
        poses[there, past] = data.take("scan_pose", at[there])
    has_image = data.take("has_image", rows)
    image = np.zeros((len(rows), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    image[has_image] = data.take("image", rows[has_image])
    inputs = encoder_inputs(pose, data.take("velocity", rows), data.take("motion", rows), ranges, poses, image, has_image)
    return inputs, inputs["ranges"][:, 0].clone()


def hide(frames: dict[str, Tensor], count: int, hiding: Hiding, random: np.random.Generator) -> None:
    """Hides senses of the first `count` frames, and the camera of some others, in place."""
    draw, blind, forgetful = (torch.from_numpy(random.random(count)) for _ in range(3))
    no_lidar = (draw < hiding.lidar) & frames["has_image"][:count]
    no_camera = (draw >= hiding.lidar) & (draw < hiding.lidar + hiding.camera) & frames["has_scan"][:count]
    frames["has_scan"][:count] &= ~no_lidar
    frames["has_image"][:count] &= ~no_camera
    frames["motion"][:count][blind < hiding.motion] = torch.nan
    past = frames["ranges"][:count, 1:]
    past[forgetful < hiding.past] = torch.nan
    if hiding.beams:
        blind = torch.from_numpy(random.random((len(frames["ranges"]), SCANS, BEAMS)) < hiding.beams)
        blind &= torch.from_numpy(random.random(len(blind)) < 0.5)[:, None, None]
        frames["ranges"][blind] = torch.nan
    repeats = len(frames["has_scan"]) // count - 1
    blinded = no_lidar & torch.from_numpy(random.random(count) < hiding.target_lidar)
    frames["has_scan"][count:] &= ~(blinded.repeat(repeats) & frames["has_image"][count:])
    targets = frames["has_image"][count:]
    targets &= ~(torch.from_numpy(random.random(len(targets)) < hiding.target_camera) & frames["has_scan"][count:])


def sector_labels(ranges: Tensor) -> Tensor:
    """Log of the nearest range in each of 36 sectors [n, 36] of canonical ranges [n, 180]; NaN where nothing is known."""
    nearest = torch.nan_to_num(ranges, nan=torch.inf).view(len(ranges), SECTORS, -1).amin(-1)
    return torch.where(torch.isinf(nearest), torch.nan, torch.log(nearest.clamp(min=0.05)))
