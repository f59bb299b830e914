"""Policies with weights that a test chooses, in folders as training writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml

from objective_agent.actor.policy import PART, PREDICTORS
from objective_agent.actor.policy_network import PolicyNetwork, PolicyShape
from objective_agent.learning.card import add_part

CALIBRATED = {
    "mean": np.zeros(len(PREDICTORS), np.float32),
    "scale": np.ones(len(PREDICTORS), np.float32),
    "weight": np.array([-1.0, 0, 0, 0, 0, 0], np.float32),  # the more the members disagree, the less confidence
    "bias": np.zeros(1, np.float32),
    "scores": np.array([0.0, 10.0], np.float32),
    "probabilities": np.array([0.1, 0.9], np.float32),
}


def policy_arrays(shape: PolicyShape, seed: int = 0) -> dict[str, np.ndarray]:
    """A new network's weights and a calibration by disagreement alone."""
    torch.manual_seed(seed)
    network = {name: value.numpy() for name, value in PolicyNetwork(shape).state_dict().items()}
    return network | {f"confidence.{name}": value for name, value in CALIBRATED.items()}


def write_policy(
    folder: Path, shape: PolicyShape, arrays: dict | None = None, encoder: str = "eyes", about: dict | None = None
):
    """A model folder (its card is made where there is none) with a policy; returns the folder."""
    folder.mkdir(exist_ok=True)
    if not (folder / "card.yaml").exists():
        (folder / "card.yaml").write_text(yaml.safe_dump({"kind": "frames", "sha256": {"encoder": encoder}}))
    section = {"encoder": encoder, **(about or {})}
    add_part(folder, PART, policy_arrays(shape) if arrays is None else arrays, shape.model_dump(), section)
    return folder
