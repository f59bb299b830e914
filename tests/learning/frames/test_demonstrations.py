"""Recorded images as plans: with eyes that can't err it is known what every row must say."""

import numpy as np
import pytest
import torch
from frame_data import one_layout
from torch import nn

from objective_agent.learning.frames.batches import Frames
from objective_agent.learning.frames.dataset import FrameData
from objective_agent.learning.frames.demonstrations import plans_of
from objective_agent.learning.policy import PolicyConfig, split, train
from objective_agent.types import InputError

HORIZON, SPEED = 4, 0.125


class Eyes(nn.Module):
    """Tokens [n, 1, 2]: x and y of the red disc."""

    tokens = dynamic = 1

    def forward(self, images):
        red = (images[..., 0].float() - images[..., 2].float() - 60).clamp(min=0)
        at, mass = (torch.arange(64) + 0.5) / 64, red.sum((1, 2))
        return torch.stack([red.sum(1) @ at / mass, red.sum(2) @ at / mass], -1)[:, None]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    torch.set_num_threads(1)
    return FrameData.open(one_layout(tmp_path_factory.mktemp("made") / "data", steps=3000))


def test_a_row_holds_where_it_was_what_was_done_and_where_that_led(data):
    plans = plans_of(Eyes(), Frames(data), history=2, horizon=HORIZON)
    assert plans.state.shape[1:] == (2, 2) and plans.plan.shape[1:] == (HORIZON, 2) and plans.goal.shape[1:] == (1, 2)
    kept = np.isin(data.episode, np.unique(data.episode[data.mask("train")]))
    rows = data.starts(HORIZON)
    rows = rows[kept[rows]]
    assert len(plans) == len(rows)
    places = data.take("state", rows)[:, :2]
    np.testing.assert_allclose(plans.state[:, -1], places, atol=0.01)
    np.testing.assert_allclose(plans.goal[:, 0], data.take("state", rows + HORIZON)[:, :2], atol=0.01)
    np.testing.assert_array_equal(plans.plan[:, 1], data.take("action", rows + 1))
    np.testing.assert_array_equal(plans.done, plans.plan[:, 0])
    begin = plans.step == 0
    np.testing.assert_array_equal(plans.state[begin, 0], plans.state[begin, 1])
    assert (np.diff(plans.stamp)[np.diff(plans.episode) == 0] == 1).all()


def test_a_policy_learns_from_them_to_go_where_the_goal_is(data):
    plans = plans_of(Eyes(), Frames(data), history=1, horizon=HORIZON)
    config = PolicyConfig(steps=250, hidden=32, batch=128, learning_rate=5e-3, members=2, hindsight=0.5, reach=HORIZON)
    network = train(plans, split(plans)["train"], config)
    places = torch.tensor([[0.2, 0.5], [0.2, 0.5], [0.8, 0.5], [0.8, 0.5]])
    goals = places + torch.tensor([[0.0, 0.3], [0.0, -0.3], [0.0, 0.3], [0.0, -0.3]])
    mean, _ = network(places[:, None], goals[:, None])
    moved = network.actions(mean.mean(1)).sum(1) * SPEED
    assert ((moved - (goals - places)).norm(dim=-1) < 0.2).all(), moved


def test_what_has_a_map_or_is_too_short_is_refused(data):
    eyes = Eyes()
    eyes.tokens = 65
    with pytest.raises(InputError, match="has no map"):
        plans_of(eyes, Frames(data), 1, HORIZON)
    with pytest.raises(InputError, match="no episode has 50 steps"):
        plans_of(Eyes(), Frames(data), 1, 50)
