"""Small models of frames with new weights, in folders as training writes them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import yaml

from objective_agent.learning.checkpoint import write_weights
from objective_agent.perception.frame_network import FrameEncoderShape, build_encoder
from objective_agent.world_model.frame_network import FramePredictorShape, build_predictor


def write_frame_model(folder: Path, encoder: dict | None = None, predictor: dict | None = None, seed: int = 0) -> Path:
    """A model whose predictor fits its encoder; extra settings as given."""
    torch.manual_seed(seed)
    eyes = build_encoder(FrameEncoderShape(**(encoder or {"features": 16, "width": 8, "hidden": 32})))
    about = {"features": eyes.features, "tokens": eyes.tokens, "dynamic": eyes.dynamic, "hidden": 32, "dt": 1.0}
    thoughts = build_predictor(FramePredictorShape(**{**about, **(predictor or {})}))
    sha = {}
    for name, network in (("encoder", eyes), ("predictor", thoughts)):
        data = write_weights(folder / f"{name}.safetensors", network, network.shape.model_dump())
        sha[name] = hashlib.sha256(data).hexdigest()
    card = {"name": folder.name, "kind": "frames", "sha256": sha}
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    return folder
