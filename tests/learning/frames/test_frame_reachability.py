"""Two rooms whose tokens are the place itself, so that nothing but the head can fail."""

import numpy as np
import pytest
import torch
from frame_models import write_frame_model

from objective_agent import plugins, weights
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.cost.frame_reachability import FrameReachability
from objective_agent.learning.frames.batches import Frames
from objective_agent.learning.frames.collection import collect
from objective_agent.learning.frames.gate import figures, spearman
from objective_agent.learning.frames.latents import Latents, latents_of
from objective_agent.learning.frames.reachability import FrameReachabilityConfig, Pairs, pairwise, train
from objective_agent.learning.frames.reachability_part import add_reachability
from objective_agent.learning.frames.where import fit_where
from objective_agent.simulation import benchmarks
from objective_agent.types import ConfigurationError, Goal, InputError, Trajectory, WorldState

SMALL = {"hidden": 96, "size": 8, "layouts": 12, "moments": 24, "goals": 24, "learning_rate": 4e-3}
WAVES = np.random.default_rng(0).normal(size=(2, 14))


def tokens_of(states: np.ndarray) -> torch.Tensor:
    """[n, 1, 16]: the place, and waves of it."""
    places = 6 * np.asarray(states, float) - 3
    return torch.from_numpy(np.concatenate([places, np.sin(places @ WAVES)], -1).astype(np.float32))[:, None]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def walks():
    """(states [n, 2], follows [n]) of exploration in the fixed two rooms."""
    env, states, follows = benchmarks.make("two_room"), [], []
    for episode in range(300):
        random = np.random.default_rng(episode)
        image, info = env.reset(seed=episode, options={"goal": False})
        act, ended = env.explore(random), False
        states.append(info["state"])
        while not ended:
            image, _, done, cut, info = env.step(act(image, info))
            ended = done or cut
            states.append(info["state"])
            follows.append(True)
        follows.append(False)
    return np.stack(states), np.array(follows)


@pytest.fixture(scope="module")
def trained(walks):
    states, follows = walks
    latents = Latents(tokens_of(states), np.zeros(len(states), int), follows)
    return train(latents, FrameReachabilityConfig(steps=160, **SMALL), seed=0)


def test_it_learns_that_the_way_goes_through_the_door(trained):
    env = benchmarks.make("two_room")
    pairs = [env.reset(seed=5, options={"split": "test", "index": index})[1] for index in range(200)]
    starts, goals = (np.stack([info[name] for info in pairs]) for name in ("state", "goal_state"))
    shortest = np.array([info["shortest"] for info in pairs])
    with torch.no_grad():
        learned = trained.quasimetric().steps(tokens_of(starts)[:, None], tokens_of(goals)[:, None])[:, 0].numpy()
    straight = spearman(np.linalg.norm(starts - goals, axis=1), shortest)
    assert spearman(learned, shortest) > 0.9 > straight + 0.1


def test_one_step_costs_about_one_at_most(trained, walks):
    states, follows = walks
    here = np.flatnonzero(follows)[:2000]
    tokens = tokens_of(states)
    with torch.no_grad():
        steps = trained.quasimetric().steps(tokens[here][:, None], tokens[here + 1][:, None])[:, 0]
    assert float((steps - 1).clamp(min=0).square().mean().sqrt()) < 0.5


def test_with_one_seed_the_result_is_the_same(walks):
    states, follows = walks
    latents = Latents(tokens_of(states), np.zeros(len(states), int), follows)
    made = [train(latents, FrameReachabilityConfig(steps=3, **SMALL), seed).first_weight for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_pairs_stay_within_a_layout():
    layout = np.repeat(np.arange(5), 20)
    follows = np.tile(np.r_[np.ones(9, bool), False], 10)
    tokens = torch.stack([torch.from_numpy(layout), torch.arange(100)], -1).float()[:, None]
    maps = torch.arange(5.0)[:, None, None, None].expand(5, 2, 4, 2)
    config = FrameReachabilityConfig(layouts=3, moments=7, goals=4)
    moments, successors, goals, places = Pairs(Latents(tokens, layout, follows, maps), config).draw(np.random.default_rng(0))
    own = moments[:, :1, 0, 0]
    assert (moments[:, :, 0, 0] == own).all() and (goals[:, :, 0, 0] == own).all() and (places[:, 0, 0] == own[:, 0]).all()
    assert (successors[..., 1] == moments[..., 1] + 1).all() and follows[moments[..., 1].long()].all()


def test_the_cheap_distance_of_all_pairs_is_the_same_one_with_the_same_gradient(trained):
    a, b = torch.randn(2, 5, 64, requires_grad=True), torch.randn(2, 3, 64, requires_grad=True)
    metric = trained.quasimetric()
    found = []
    for distance in (pairwise(a, b, 8), metric.distance(a[:, :, None], b[:, None])):
        found.append((distance, *torch.autograd.grad(distance.square().sum(), (a, b))))
    for cheap, plain in zip(*found, strict=True):
        torch.testing.assert_close(cheap, plain, rtol=1e-4, atol=1e-4)


def test_the_place_of_the_agent_is_told_by_what_moves():
    env, random = benchmarks.make("two_room_random"), np.random.default_rng(0)
    layouts = np.repeat([env.train_layout(0, number) for number in range(8)], 40)
    states = np.stack([env.draw_state(int(number), random) for number in layouts])
    hidden = np.concatenate([states, np.sin(3 * states)], 1) @ random.normal(size=(4, 8))
    tokens = torch.from_numpy(hidden).float()
    weight, bias = fit_where(tokens, env.render_states(states, layouts), layouts)
    assert np.abs((tokens @ weight + bias).numpy() - states).mean() < 0.02


def test_latents_that_are_broken_are_refused():
    tokens = torch.zeros(10, 1, 2)
    tokens[0] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        Latents(tokens, np.zeros(10, int), np.ones(10, bool))
    with pytest.raises(InputError, match="successor"):
        Pairs(Latents(torch.zeros(10, 1, 2), np.zeros(10, int), np.zeros(10, bool)), FrameReachabilityConfig())


def test_ranks_share_ties_and_say_nothing_of_few_pairs():
    assert spearman(np.arange(10), np.arange(10) ** 3) == pytest.approx(1)
    assert spearman(np.arange(10), -np.arange(10)) == pytest.approx(-1)
    assert spearman(np.array([0, 0, 1, 1] * 3), np.array([0, 1, 0, 1] * 3)) == pytest.approx(0)
    assert spearman(np.arange(3), np.arange(3)) is None and spearman(np.ones(20), np.arange(20)) is None


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """(folder of a model with a map and a barely trained head, its encoder, its data)."""
    root = tmp_path_factory.mktemp("reach")
    data, _ = collect("two_room_random", root / "data", 1200, 0)
    folder = write_frame_model(root / "model", {"kind": "cnn_map", "features": 16, "width": 8}, {"kind": "place"})
    encoder = plugins.create("encoder", PluginSpec(plugin="frame_jepa", model=str(folder)), RobotParameters()).network
    config = FrameReachabilityConfig(steps=4, layouts=6, moments=4, goals=4, hidden=32, size=4, channels=8)
    about = add_reachability(folder, encoder, Frames(data), config, gate_pairs=30)
    return folder, encoder, data, about


def test_the_head_becomes_part_of_the_model(model):
    folder, _, data, about = model
    card = weights.read_card(folder)
    assert card["reachability"]["gate"]["pairs"] == 30 == card["reachability"]["gate"]["detours"]
    assert about["data"] == data.digest() and about["encoder"] == card["sha256"]["encoder"] and about["spread"] > 0


def test_latents_follow_the_data(model):
    _, encoder, data, _ = model
    latents = latents_of(encoder, Frames(data), "train")
    rows = np.flatnonzero(data.mask("train"))
    assert len(latents.tokens) == len(rows) and latents.maps.shape[1:] == (3, 64, 16)
    assert np.array_equal(latents.follows[:-1], data.episode[rows][1:] == data.episode[rows][:-1])
    with torch.inference_mode():
        token = encoder(torch.from_numpy(data.take("image", rows[7:8])))[0, :1]
    torch.testing.assert_close(latents.tokens[7], token)
    fewer = latents_of(encoder, Frames(data), "train", most_rows=len(rows) // 2)
    assert 0 < len(fewer.tokens) <= len(rows) // 2


def test_the_objective_counts_what_the_metric_counts(model):
    folder, encoder, data, _ = model
    objective = FrameReachability(FrameReachability.Config(model=str(folder), scale=2.0), RobotParameters())
    with torch.inference_mode():
        state, goal = (encoder(torch.from_numpy(data.take("image", np.array([row])))) for row in (0, 40))
        moments = torch.randn(1, 3, 2, 4, 1, 16)
        history = torch.cat([torch.randn_like(state), state], 1)  # the newest frame last
        nothing = torch.zeros(1, 3)
        now = WorldState(0.0, history, nothing, nothing[:, :2], "m")
        imagined = Trajectory(now, torch.zeros(1, 3, 4, 2), nothing, nothing, 1.0, moments)
        energy = objective.energy(imagined, Goal(representation=goal[:, :1]))
        metric = objective.head.metric(state)
        expected = metric.steps(moments.reshape(1, -1, 1, 16), goal[:, None, :1], state[:, 1:])
    assert energy.shape == (1, 3, 2, 4)
    torch.testing.assert_close(energy.flatten(), 2 * expected.flatten())
    assert objective.steps(state, state)[0] == 0 and objective.steps(history, goal)[0] > 0
    with pytest.raises(InputError, match="too few tokens"):
        objective.steps(state[:, :30], goal)


def test_a_head_of_another_encoder_is_refused(model, tmp_path):
    import shutil

    import yaml

    folder = shutil.copytree(model[0], tmp_path / "other")
    card = yaml.safe_load((folder / "card.yaml").read_text())
    card["reachability"]["encoder"] = "0" * 64
    (folder / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False))
    with pytest.raises(ConfigurationError, match="was trained for encoder 000000000000"):
        FrameReachability(FrameReachability.Config(model=str(folder)), RobotParameters())


def test_the_gate_tells_a_good_metric_from_a_bad_one(trained):
    class Eyes(torch.nn.Module):
        """Reads the place out of the picture: a perfect encoder of two rooms."""

        tokens = dynamic = 1

        def forward(self, images):
            red = (images[..., 0].float() - images[..., 2].float()).clamp(min=100) - 100
            at = (torch.arange(64) + 0.5) / 64
            mass = red.sum((1, 2)).clamp(min=1)
            place = torch.stack([red.sum(1) @ at / mass, red.sum(2) @ at / mass], -1)
            return tokens_of(place.numpy())

    env = benchmarks.make("two_room")
    found = [env.reset(seed=2, options={"split": "test", "index": index}) for index in range(60)]
    starts, goals = np.stack([image for image, _ in found]), np.stack([info["goal_image"] for _, info in found])
    shortest = np.array([info["shortest"] for _, info in found])
    seen = figures(trained.quasimetric(), Eyes(), starts, goals, shortest, np.arange(60) % 2 == 0)
    assert seen["pairs"] == 60 and seen["detours"] == 30
    assert seen["spearman"] > 0.85 > seen["l2"] and seen["spearman_detours"] > 0.8
