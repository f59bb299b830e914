"""Predictors of frames: causal, the same for a candidate whoever stands beside it, and able to learn what they are for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from frame_models import write_frame_model

from objective_agent import plugins
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.types import ConfigurationError, InputError, WorldState
from objective_agent.world_model.frame_network import FramePredictor, FramePredictorShape, build_predictor

KINDS = {
    "mlp": {"kind": "mlp"},
    "mlp_tokens": {"kind": "mlp", "history": 2, "tokens": 4, "dynamic": 4},
    "gru": {"kind": "gru", "history": 3},
    "transformer": {"kind": "transformer", "history": 3, "depth": 2},
    "transformer_tokens": {"kind": "transformer", "history": 3, "depth": 2, "tokens": 4, "dynamic": 4},
    "transformer_scene": {"kind": "transformer", "history": 2, "depth": 2, "tokens": 5},
    "place": {"kind": "place", "tokens": 17},
    "place_ahead": {"kind": "place", "tokens": 17, "ahead": True},
    "place_history": {"kind": "place", "tokens": 17, "history": 3},
    "ensemble": {"kind": "mlp", "heads": 3, "history": 2},
    "latent": {"kind": "gru", "latent": 4, "heads": 2, "history": 2},
}


pytestmark = pytest.mark.usefixtures("one_thread")


def network(name: str, **more) -> FramePredictor:
    torch.manual_seed(0)
    return build_predictor(FramePredictorShape(features=12, hidden=24, actions=2, **{**KINDS[name], **more}))


def problem(predictor: FramePredictor, batch: int = 2, candidates: int = 3, horizon: int = 5):
    shape, random = predictor.shape, torch.Generator().manual_seed(1)
    history = torch.randn(batch, shape.history, shape.tokens, shape.features, generator=random)
    past = torch.rand(batch, shape.history - 1, shape.actions, generator=random) * 2 - 1
    actions = torch.rand(batch, candidates, horizon, shape.actions, generator=random) * 2 - 1
    return history, past, actions


@pytest.mark.parametrize("name", KINDS)
def test_a_rollout_is_causal_and_each_candidate_stands_for_itself(name):
    predictor = network(name).eval()
    history, past, actions = problem(predictor)
    futures = predictor.shape.heads
    with torch.no_grad():
        found = predictor.rollout(history, past, actions, futures)
        assert found.shape == (2, 3, futures, 5, predictor.shape.dynamic, 12)
        alone = predictor.rollout(history[1:], past[1:], actions[1:, 2:], futures)
        changed = actions.clone()
        changed[0, 1, 3] += 0.5
        other = predictor.rollout(history, past, changed, futures)
    torch.testing.assert_close(alone[0, 0], found[1, 2], atol=1e-5, rtol=1e-4)
    moved = (other - found).abs().amax((2, 4, 5)) > 1e-6  # [B, N, H]
    expected = torch.zeros(2, 3, 5, dtype=torch.bool)
    expected[0, 1, 3:] = True
    assert torch.equal(moved, expected)


@pytest.mark.parametrize("name", ["gru", "transformer", "transformer_tokens", "mlp_tokens", "place_history"])
def test_the_history_and_the_actions_in_it_count(name):
    predictor = network(name).eval()
    history, past, actions = problem(predictor)
    with torch.no_grad():
        found = predictor.rollout(history, past, actions)
        older = history.clone()
        older[:, 0, : predictor.shape.dynamic] += 1
        assert not torch.allclose(predictor.rollout(older, past, actions), found, atol=1e-4)
        assert not torch.allclose(predictor.rollout(history, -past, actions), found, atol=1e-6)


@pytest.mark.parametrize("name", ["mlp_tokens", "transformer", "transformer_tokens", "transformer_scene", "place_history"])
def test_going_on_from_an_imagined_frame_is_going_on_with_the_rollout(name):
    """A state that holds imagined frames and the actions to them is as good as the rollout that imagined them."""
    predictor = network(name, depth=1).eval()
    shape = predictor.shape
    history, past, actions = problem(predictor, candidates=1)
    with torch.no_grad():
        whole = predictor.rollout(history, past, actions)[:, 0, 0]
        frames = torch.cat([whole[:, :2], history[:, -1:, shape.dynamic :].expand(-1, 2, -1, -1)], 2)
        later = torch.cat([history, frames], 1)[:, -shape.history :]
        sent = torch.cat([past, actions[:, 0, :2]], 1)
        sent = sent[:, len(sent[0]) - (shape.history - 1) :]
        rest = predictor.rollout(later, sent, actions[:, :, 2:])[:, 0, 0]
    torch.testing.assert_close(rest, whole[:, 2:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_all_weights_learn_from_the_loss_of_a_rollout(name):
    predictor = network(name)
    history, past, actions = problem(predictor)
    targets = torch.randn(2, 3, 5, predictor.shape.dynamic, 12)
    optimizer = torch.optim.Adam(predictor.parameters(), 1e-2)
    for _ in range(3):  # what begins at zero learns from the second step on
        optimizer.zero_grad()
        found, divergence = predictor.follow(history, past, actions, targets)
        ((found - targets[:, :, None]) ** 2).mean().add(divergence).backward()
        optimizer.step()
    assert found.shape == (2, 3, predictor.shape.heads, 5, predictor.shape.dynamic, 12)
    assert [name for name, weight in predictor.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_members_of_an_ensemble_disagree_and_each_future_follows_one():
    predictor = network("ensemble").eval()
    with torch.no_grad():
        found = predictor.rollout(*problem(predictor), futures=3)
        assert (found[:, :, 0] - found[:, :, 1]).abs().mean() > 0.01
        torch.testing.assert_close(predictor.rollout(*problem(predictor), futures=2), found[:, :, :2])


def test_a_latent_variable_tells_apart_what_the_action_leaves_open():
    """A coin decides where the world goes: the mean of both is never right, draws of the prior are, in equal shares."""
    torch.manual_seed(0)
    predictor = build_predictor(FramePredictorShape(features=2, hidden=32, latent=1, actions=1))
    optimizer = torch.optim.Adam(predictor.parameters(), 5e-3)
    start, past = torch.zeros(256, 1, 1, 2), torch.zeros(256, 0, 1)
    for _ in range(500):
        side = torch.randint(0, 2, (256, 1, 1, 1, 1)) * 2.0 - 1
        targets = torch.cat([side, torch.ones_like(side)], -1)
        found, divergence = predictor.follow(start, past, torch.zeros(256, 1, 1, 1), targets)
        loss = ((found - targets[:, :, None]) ** 2).mean() + 0.02 * divergence
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        ends = predictor.rollout(start[:1], past[:1], torch.zeros(1, 1, 1, 1), futures=200)[0, 0, :, 0, 0]
    assert ((ends[:, 0].abs() - 1).abs() < 0.35).float().mean() > 0.8
    assert 0.3 < (ends[:, 0] > 0).float().mean() < 0.7
    torch.testing.assert_close(ends[:, 1].mean(), torch.tensor(1.0), atol=0.1, rtol=0)


def test_draws_are_the_same_in_every_call_and_for_every_candidate():
    predictor = network("latent").eval()
    history, past, actions = problem(predictor, batch=1, candidates=2)
    actions[:, 1] = actions[:, 0]
    with torch.no_grad():
        first, again = (predictor.rollout(history, past, actions, futures=4) for _ in range(2))
        torch.testing.assert_close(first, again)
        torch.testing.assert_close(first[:, 0], first[:, 1])
        torch.testing.assert_close(predictor.rollout(history, past, actions[:, :, :2], futures=4), first[:, :, :, :2])


def test_a_reader_of_places_learns_that_walls_stop_it():
    """An agent on a line, a wall in another place in each problem: what happens depends on the map where the agent is."""
    torch.manual_seed(0)
    predictor = build_predictor(FramePredictorShape(kind="place", features=8, tokens=17, hidden=64, actions=2))
    for member in predictor.members:
        member.set_where(torch.eye(8)[:, :2], torch.zeros(2))
    grid = (torch.arange(4) + 0.5) / 4
    random = torch.Generator().manual_seed(0)

    def batch(count: int):
        column = torch.randint(1, 4, (count,), generator=random)  # the wall stands left of this column
        wall = torch.zeros(count, 4, 4, 8)
        wall[torch.arange(count), :, column, 2] = 1.0
        action = torch.zeros(count, 1, 1, 2)
        action[..., 0] = torch.rand(count, 1, 1, generator=random) * 0.3
        border = grid[column] - 1 / 8
        position = torch.rand(count, 2, generator=random)
        position[:, 0] = border - 0.25 + 0.3 * position[:, 0]
        end = position.clone()
        end[:, 0] += action[:, 0, 0, 0]
        blocked = (position[:, 0] < border) & (end[:, 0] > border)
        end[:, 0] = torch.where(blocked, border, end[:, 0])
        token = torch.zeros(count, 1, 8)
        token[:, 0, :2] = position
        return torch.cat([token, wall.flatten(1, 2)], 1)[:, None], action, end, blocked

    optimizer = torch.optim.Adam(predictor.parameters(), 3e-3)
    past = torch.zeros(64, 0, 2)
    for step in range(500):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 500) + 1e-5
        history, action, end, _ = batch(64)
        found = predictor.rollout(history, past, action)[:, 0, 0, 0, 0, :2]
        optimizer.zero_grad()
        ((found - end) ** 2).sum(-1).mean().backward()
        optimizer.step()
    history, action, end, blocked = batch(2000)
    with torch.no_grad():
        found = predictor.rollout(history, torch.zeros(2000, 0, 2), action)[:, 0, 0, 0, 0, :2]
    free = history[:, 0, 0, 0] + action[:, 0, 0, 0]
    overshoot = (free - end[:, 0])[blocked].mean()
    error = (found[:, 0] - end[:, 0]).abs()[blocked].mean()
    assert blocked.sum() > 100 and error < 0.3 * overshoot, (error, overshoot)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"kind": "mlp", "tokens": 65}, "reads no scene"),
        ({"kind": "gru", "tokens": 65}, "reads no scene"),
        ({"kind": "place", "tokens": 64, "dynamic": 64}, "reads a square map"),
        ({"kind": "place", "tokens": 8}, "reads a square map"),
        ({"kind": "transformer", "hidden": 30, "attention_heads": 4}, "do not divide"),
    ],
)
def test_a_kind_that_can_not_read_such_representations_says_so(settings, match):
    with pytest.raises(InputError, match=match):
        build_predictor(FramePredictorShape(**settings))


def test_wrong_shapes_are_refused():
    predictor = network("ensemble")
    history, past, actions = problem(predictor)
    for wrong in ((history[:, :1], past, actions), (history, past[:, :0], actions), (history, past, actions[..., :1])):
        with pytest.raises(InputError, match="the predictor needs"):
            predictor.rollout(*wrong)
    with pytest.raises(InputError, match="1 to 3"):
        predictor.rollout(history, past, actions, futures=4)


# --- the plugin --------------------------------------------------------------------------------------------------------------


def made(folder, plugin: str = "frame_jepa"):
    return plugins.create("world_model", PluginSpec(plugin=plugin, model=str(folder)), RobotParameters())


def state(model, batch: int = 2, seed: int = 0, **more) -> WorldState:
    random = np.random.default_rng(seed)
    frames = random.normal(size=(batch, model.history * model.tokens, model.features)).astype(np.float32)
    sent = random.uniform(-1, 1, (batch, 5, 2)).astype(np.float32)
    known = {"sent": sent, "sent_stamps": np.arange(5) - 5.0, **more}
    return WorldState(0.0, frames, np.zeros((batch, 3)), np.zeros((batch, 2)), model.representation_model, **known)


def test_the_plugin_imagines_what_its_network_says_and_keeps_the_scene(tmp_path):
    folder = write_frame_model(
        tmp_path / "model", {"kind": "cnn_map", "features": 16, "width": 8}, {"kind": "place", "history": 2, "heads": 2}
    )
    model = made(folder)
    begin = state(model)
    actions = np.random.default_rng(1).uniform(-1, 1, (2, 7, 4, 2)).astype(np.float32)
    found = model.rollout(begin, actions, futures=2, dt=1.0)
    assert found.representations.shape == (2, 7, 2, 4, 1, 16)
    assert found.poses.shape == (2, 7, 2, 4, 3) and found.velocities.shape == (2, 7, 2, 4, 2) and not found.poses.any()
    history = torch.from_numpy(begin.representation).view(2, 2, 65, 16)
    with torch.no_grad():
        expected = model.network.rollout(history, torch.from_numpy(begin.sent[:, -1:]), torch.from_numpy(actions), 2)
    torch.testing.assert_close(found.representations, expected)


@pytest.mark.parametrize("kind", ["mlp", "place", "transformer"])
def test_the_plugin_can_be_differentiated_by_actions(tmp_path, kind):
    encoder = {"kind": "cnn_map" if kind == "place" else "cnn", "features": 16, "width": 8}
    model = made(write_frame_model(tmp_path / "model", encoder, {"kind": kind}))
    actions = (torch.rand(1, 2, 3, 2, generator=torch.Generator().manual_seed(0)) - 0.5).requires_grad_()

    def energy(actions):
        return model.rollout(begin, actions).representations[:, 0].square().sum()

    begin = state(model, batch=1)
    (slope,) = torch.autograd.grad(energy(actions), actions)
    assert not slope[:, 1].any()  # the other candidate is another plan
    nudge, length = torch.zeros_like(slope), 1e-2
    nudge[0, 0, 1, 0] = length
    with torch.no_grad():
        difference = (energy(actions + nudge) - energy(actions - nudge)) / (2 * length)
    torch.testing.assert_close(slope[0, 0, 1, 0], difference, rtol=0.02, atol=2e-3)
    assert not model.rollout(begin, actions.detach()).representations.requires_grad


def test_advancing_under_the_actions_already_sent_is_a_rollout_of_them(tmp_path):
    folder = write_frame_model(tmp_path / "model", None, {"history": 3})
    model = made(folder)
    begin = state(model, sent_stamps=np.arange(5) - 3.0)  # two of the five were sent since
    later = model.advance(begin, 1.4)
    assert later.stamp == 2.0 and later.representation.shape == begin.representation.shape
    known = state(model, sent=begin.sent[:, :3], sent_stamps=np.arange(3) - 3.0)
    found = model.rollout(known, begin.sent[:, None, 3:]).representations[:, 0, 0, :, 0]
    torch.testing.assert_close(later.representation[:, 1:], found)
    assert model.advance(begin, 0.0) is begin
    with pytest.raises(InputError, match="3 steps ahead, but 2 actions"):
        model.advance(begin, 2.2)
    actions = np.random.default_rng(1).uniform(-1, 1, (2, 1, 2, 2)).astype(np.float32)
    whole = np.concatenate([begin.sent[:, None, 3:], actions], 2)
    torch.testing.assert_close(
        model.rollout(later, actions).representations, model.rollout(known, whole).representations[:, :, :, 2:]
    )


def test_states_and_actions_of_another_model_are_refused(tmp_path):
    model = made(write_frame_model(tmp_path / "model", None, {"history": 3}))
    actions = np.zeros((2, 4, 3, 2), np.float32)
    with pytest.raises(ConfigurationError, match=r"steps by 1 s"):
        model.rollout(state(model), actions, dt=0.2)
    with pytest.raises(ConfigurationError, match="has 1 to 1"):
        model.rollout(state(model), actions, futures=2)
    with pytest.raises(InputError, match="actions: shape"):
        model.rollout(state(model), actions[..., :1])
    with pytest.raises(InputError, match="sent actions"):
        model.rollout(state(model, sent=None), actions)
    with pytest.raises(InputError, match="3 frames of 1 tokens"):
        model.rollout(
            state(model, batch=2).__class__(0.0, np.zeros((2, 1, 16)), np.zeros((2, 3)), np.zeros((2, 2)), "x"), actions
        )
