"""Figures that can be trusted: probes find what is linear, hard windows are those with contacts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from frame_data import one_layout, small

from objective_agent.learning.frames.batches import Frames, Windows
from objective_agent.learning.frames.dataset import FrameData
from objective_agent.learning.frames.metrics import Judge, Probe, r2
from objective_agent.learning.frames.trainer import FrameTrainer


@pytest.mark.parametrize("tokens", [1, 40], ids=["more frames than features", "more features than frames"])
def test_a_probe_finds_a_linear_map(tokens):
    generator = torch.Generator().manual_seed(0)
    code = torch.randn(400, 3, generator=generator)
    x = (code @ torch.randn(3, tokens * 16, generator=generator)).unflatten(1, (tokens, 16))
    y = torch.stack(
        [code[:, 0] + 5, code[:, 1] - code[:, 2], torch.full((400,), 2.0), torch.randn(400, generator=generator)], 1
    )
    probe = Probe.fit(x[:300], y[:300])
    told = r2(probe(x[300:]), y[300:])
    assert told[0] > 0.99 and told[1] > 0.99 and told[2] == 1.0, "a number that never varies is told"
    assert told[3] < 0.2, "noise can't be told"


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> FrameData:
    return FrameData.open(one_layout(tmp_path_factory.mktemp("room") / "data", steps=6000))


def test_hard_windows_are_those_in_which_something_is_touched(room):
    train, held = (Windows(room, 8, 1, split) for split in ("train", "calibration"))
    judge = Judge(Frames(room), held, train, 1, seed=0, most=256, probes=100)
    states = judge.states.numpy()
    free = 0.125 * judge.clips.actions.numpy()
    blocked = np.abs(np.diff(states, axis=1) - free).max((1, 2)) > 0.05
    hard = judge.hard.numpy()
    assert 0.05 < hard.mean() < 0.2
    assert blocked[hard].mean() > 0.95 and blocked[~hard].mean() < blocked[hard].mean()


def test_figures_are_the_same_every_time_and_leave_the_model_as_it_was(room, tmp_path):
    made = FrameTrainer(small(steps=4, predictor={"hidden": 32, "heads": 2, "latent": 2}), room, tmp_path)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    first, second = (made._judge.figures(made.model, made.model.predictor) for _ in range(2))
    assert first == second and len(first["probe_r2"]) == room.states
    assert all(torch.equal(before[name], value) for name, value in made.model.state_dict().items())
    assert first["position_1"] > 0 and "position_8" not in first, "the horizon of this training is 3"
