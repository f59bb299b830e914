"""Memory's world model in NumPy is the world model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learned_model import write_untrained

from objective_agent import weights
from objective_agent.config import RobotParameters
from objective_agent.memory.prediction import Predictor, mean_commands
from objective_agent.types import Command, ConfigurationError, WorldState
from objective_agent.world_model.jepa import Jepa

D, STAMP = 32, 100.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("model"), features=D)


@pytest.fixture(scope="module")
def predictor(folder):
    return Predictor.of(folder, weights.read_card(folder))


@pytest.mark.parametrize("seconds", [0.03, 0.1, 0.2, 0.33, 0.6, 0.97])
@pytest.mark.parametrize("known", [0, 1, 9])
def test_it_says_what_the_world_model_says(folder, predictor, seconds, known):
    rng = np.random.default_rng(int(1000 * seconds) + known)
    world_model = Jepa(Jepa.Config(model=str(folder)), RobotParameters())
    tokens = rng.normal(size=(2, 1, D)).astype(np.float32)
    velocity = rng.normal(size=(2, 2)).astype(np.float32)
    commands = [Command(STAMP - 0.15 + 0.07 * k, *rng.normal(size=2)) for k in range(known)]
    sent = np.array([(c.v, c.w) for c in commands], np.float32).reshape(1, -1, 2).repeat(2, 0)
    stamps = np.array([c.stamp for c in commands])
    state = WorldState(STAMP, tokens, np.zeros((2, 3), np.float32), velocity, "m", sent_stamps=stamps, sent=sent)
    expected = world_model.advance(state.to_torch(), STAMP + seconds).representation[:, 0].numpy()
    found = predictor.advance(tokens[:, 0], STAMP, STAMP + seconds, commands, velocity)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert not np.allclose(found, tokens[:, 0], atol=1e-3)


def test_every_head_goes_its_own_way(folder, predictor):
    rng = np.random.default_rng(5)
    world_model = Jepa(Jepa.Config(model=str(folder)), RobotParameters())
    start, actions = rng.normal(size=(4, D)).astype(np.float32), rng.normal(size=(4, 7, 2)).astype(np.float32)
    with torch.inference_mode():
        expected = world_model.network.imagine(torch.from_numpy(start), torch.from_numpy(actions), 3).numpy()
    np.testing.assert_allclose(predictor.imagine(start, actions), expected, atol=2e-5)


def test_commands_hold_until_the_next_one():
    sent = [Command(1.0, 0.2, 0.0), Command(1.1, 0.6, 1.0)]
    means = mean_commands(sent, np.array([[0.5, -1.0]]), np.array([0.8, 1.0, 1.2, 1.4]))
    np.testing.assert_allclose(means[0], [[0.5, -1.0], [0.4, 0.5], [0.6, 1.0]], atol=1e-6)


def test_no_time_no_change(predictor):
    start = np.ones((1, D), np.float32)
    np.testing.assert_array_equal(predictor.advance(start, 5.0, 5.0, [], np.zeros((1, 2))), start)


def test_weights_that_are_none_are_refused_in_one_line():
    with pytest.raises(ConfigurationError, match="no predictor") as caught:
        Predictor({}, {}, "models/x: predictor")
    assert "\n" not in str(caught.value)
