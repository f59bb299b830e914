"""The predictor's way for planning gives the numbers of the way for training."""

from __future__ import annotations

import pytest
import torch

from objective_agent.world_model.frame_network import FramePredictorShape, build_predictor


@pytest.mark.parametrize(("history", "horizon", "batch", "heads"), [(1, 5, 1, 1), (3, 5, 2, 1), (3, 2, 2, 2), (4, 1, 1, 1)])
def test_all_steps_at_once_are_the_steps_one_by_one(history, horizon, batch, heads):
    torch.manual_seed(0)
    network = build_predictor(FramePredictorShape(features=16, hidden=32, history=history, heads=heads))
    frames, past = torch.randn(batch, history, 1, 16), torch.randn(batch, history - 1, 2)
    actions = torch.randn(batch, 7, horizon, 2)
    kept = [value.clone() for value in (frames, past, actions)]
    with torch.no_grad():
        slow = network.rollout(frames, past, actions, heads)
    with torch.inference_mode():
        fast = network.rollout(frames, past, actions, heads)
    assert not slow.is_inference() and fast.is_inference()
    assert torch.allclose(slow, fast, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(kept, (frames, past, actions), strict=True))
