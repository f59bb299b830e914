"""A complete model folder whose networks were never trained: for tests of what loads, shapes and latency, not of accuracy."""

from __future__ import annotations

from pathlib import Path

import torch

from objective_agent.learning.card import write_model
from objective_agent.learning.model import JepaModel
from objective_agent.perception.jepa_network import EncoderShape
from objective_agent.world_model.jepa_network import PredictorShape

CLEARANCE_MARGIN, PEOPLE_MARGIN = 0.1, 0.2


def write_untrained(folder: Path, seed: int = 0, heads: int = 3, features: int = 32, **encoder) -> Path:
    torch.manual_seed(seed)
    shapes = EncoderShape(features=features, hidden=64, **encoder), PredictorShape(features=features, hidden=64, heads=heads)
    model = JepaModel(*shapes)
    with torch.no_grad():
        model.predictor.readouts.motion_out.weight.mul_(10)  # so that what was learned shows
    margins = {"clearance": [CLEARANCE_MARGIN] * 10, "people": [PEOPLE_MARGIN] * 10}
    write_model(folder, model.eval(), {"calibration": {"margins": margins}})
    return folder
