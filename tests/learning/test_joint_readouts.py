"""Frozen read-outs: they learn from the representations, which learn nothing from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from objective_agent.learning.batches import generator, make_batch
from objective_agent.learning.model import JepaModel
from objective_agent.learning.windows import Sequences
from objective_agent.perception.jepa_network import EncoderShape
from objective_agent.world_model.jepa_network import PredictorShape

SAID = ("motion", "path", "velocity", "clearance", "people", "whereabouts", "ranges")


def gradient(network: torch.nn.Module) -> float:
    return sum(float(value.grad.abs().sum()) for value in network.parameters() if value.grad is not None)


@pytest.mark.parametrize("joint", [True, False])
def test_only_joint_read_outs_teach_the_representation(toy_data, joint):
    torch.manual_seed(0)
    data = Sequences(toy_data)
    starts = data.starts(5, "train")[:16]
    batch = make_batch(data, starts, 5, np.array([2, 5]), None, generator(0))
    model = JepaModel(EncoderShape(features=16, hidden=32), PredictorShape(features=16, hidden=32, heads=2))
    step = model.step(batch, torch.ones(2, 1, 16), "vicreg", 0.04, torch.Generator().manual_seed(0), False, joint)
    sum(step.losses[name] for name in SAID).backward(retain_graph=True)
    learns = gradient(model.encoder.join) + gradient(model.encoder.lidar) + gradient(model.predictor.heads)
    assert (learns > 0) == joint
    for reader in (model.predictor.readouts.clearance_head, model.predictor.readouts.motion_out, model.encoder.ranges_head):
        assert gradient(reader) > 0, "the read-outs themselves learn either way"
    step.losses["latent"].backward()
    assert gradient(model.encoder.join) > 0, "the JEPA's own loss teaches the representation either way"
