"""The gymnasium environment."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from simulation_scenes import EXACT, room

from objective_agent.simulation import RobotEnv
from objective_agent.types import InputError

SITES = '<site name="start" pos="0 0 0"/><site name="goal" pos="2 0 0"/>'


@pytest.mark.filterwarnings("ignore:.*symmetric and normalized space", "ignore:.*RGB-array rendering")
@pytest.mark.parametrize(
    "keywords", [{"world": "apartment", "render_mode": "rgb_array"}, {"world": "generated", "camera": False}]
)
def test_it_keeps_gymnasiums_contract(keywords):
    environment = gymnasium.make("objective_agent/Robot-v0", **keywords)
    check_env(environment.unwrapped)
    environment.close()


def test_driving_to_the_goal_ends_the_episode_with_the_way_as_reward():
    environment = RobotEnv(room(sites=SITES), sensors=EXACT, camera=False)
    observation, _ = environment.reset(seed=1)
    np.testing.assert_allclose(observation["goal"], [2, 0], atol=1e-3)
    total, ended = 0.0, False
    while not ended:
        observation, reward, ended, late, info = environment.step(np.array([0.6, 0.0]))
        total += reward
        assert not late
    assert info["distance"] < 0.3
    assert info["contacts"] == 0
    assert total == pytest.approx(2 - info["distance"] + 1, abs=1e-6)


def test_a_contact_costs_and_time_runs_out():
    environment = RobotEnv(room(sites=SITES), sensors=EXACT, camera=False, time_limit=8)
    environment.reset(seed=1, options={"start": (-2.5, 0, np.pi)})
    rewards, late = [], False
    while not late:
        _, reward, ended, late, info = environment.step(np.array([0.6, 0.0]))
        rewards.append(reward)
        assert not ended
    assert min(rewards) < -0.9
    assert info["contacts"] == 1


def test_one_seed_gives_one_episode():
    def run(seed):
        environment = RobotEnv("generated", camera=False)
        first, _ = environment.reset(seed=seed)
        return np.concatenate([first["scan"], environment.step(np.array([0.3, 0.5]))[0]["scan"]])

    np.testing.assert_array_equal(run(4), run(4))
    assert not np.array_equal(run(4), run(5))


def test_a_world_without_a_goal_and_a_step_before_reset_are_refused():
    with pytest.raises(InputError, match="has no goal"):
        RobotEnv(room())
    with pytest.raises(gymnasium.error.ResetNeeded):
        RobotEnv(room(sites=SITES)).step(np.zeros(2))
