"""Small data sets of images and small settings for tests."""

from __future__ import annotations

from pathlib import Path

from objective_agent.learning.frames.collection import collect
from objective_agent.learning.frames.settings import FrameTrainingConfig

SMALL = {
    "batch": 8,
    "horizon": 3,
    "warmup": 2,
    "probes": 100,
    "report_steps": 1_000_000,
    "encoder": {"features": 16, "width": 8, "hidden": 32},
    "predictor": {"hidden": 32},
    "reachability": {"hidden": 32, "groups": 2, "size": 4, "channels": 8, "layouts": 4, "moments": 8, "goals": 8},
}
MAP = {
    "encoder": {"kind": "cnn_map", "features": 16, "width": 8, "hidden": 32},
    "predictor": {"kind": "place", "hidden": 32},
    "scene": {"layouts": 4, "sequences": 2, "goals": 3},
    "regularizer": {"plugin": "vicreg", "within_layout": True},
    "more_frames": 2,
}


def small(**settings) -> FrameTrainingConfig:
    return FrameTrainingConfig(**{**SMALL, **settings})


def one_layout(folder: Path, steps: int = 1600) -> Path:
    collect("two_room", folder, steps, seed=3)
    return folder


def many_layouts(folder: Path, steps: int = 3200) -> Path:
    collect("two_room_random", folder, steps, seed=3)
    return folder
