"""`gym:ID`: environments that aren't ours as benchmark tasks; the small ones here show what the adapter must cope with."""

import json

import gymnasium
import numpy as np
import pytest

from objective_agent.simulation import benchmarks
from objective_agent.types import InputError


class Dot(gymnasium.Env):
    """A bright square on a dark 48 x 40 picture; the observation is the picture, the position stands in info, or nowhere."""

    observation_space = gymnasium.spaces.Box(0, 255, (40, 48, 3), np.uint8)
    action_space = gymnasium.spaces.Box(np.array([-2, 0], np.float32), np.array([2, np.inf], np.float32))

    def __init__(self, truth=True, kind="box", frozen=False, image=True, render_mode=None):
        self.truth, self.frozen, self.image = truth, frozen, image
        if kind == "discrete":
            self.action_space = gymnasium.spaces.Discrete(3, start=5)
        elif kind == "odd":
            self.action_space = gymnasium.spaces.MultiBinary(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.taken, self.count = self.np_random.uniform(15, 25, 2), [], 0
        return self.look()

    def look(self):
        picture = np.full((40, 48, 3), 20, np.uint8)
        x, y = self.place.astype(int)
        picture[y - 3 : y + 4, x - 3 : x + 4] = 230
        info = {"state": self.place.astype(np.float32)} if self.truth else {}
        return (picture if self.image else np.zeros((2, 2))), info

    def step(self, action):
        self.taken.append(action)
        self.count += 1
        if isinstance(self.action_space, gymnasium.spaces.Discrete):
            move = np.array([[-2, 0], [2, 0], [0, 2]])[action - 5]
        else:
            move = np.array([action[0], 4 * action[1] - 2])
        if not self.frozen:
            self.place = np.clip(self.place + move, 5, 34)
        image, info = self.look()
        return image, float(self.count), bool(self.place[0] > 33.5), False, info


for name, settings in {
    "Dot-v0": {},
    "DotBlind-v0": {"truth": False},
    "DotDiscrete-v0": {"kind": "discrete"},
    "DotOdd-v0": {"kind": "odd"},
    "DotFrozen-v0": {"frozen": True},
    "DotUnseen-v0": {"image": False},
}.items():
    if f"tests/{name}" not in gymnasium.registry:
        gymnasium.register(f"tests/{name}", entry_point=Dot, kwargs=settings)


def begin(environment, index=0, seed=3, split="test"):
    return environment.reset(seed=seed, options={"split": split, "index": index})


@pytest.mark.parametrize("name", ["Dot", "DotBlind", "DotDiscrete"])
def test_any_environment_with_images_becomes_a_task(name):
    environment = benchmarks.make(f"gym:tests/{name}-v0")
    image, info = begin(environment)
    assert image.shape == info["goal_image"].shape == (64, 64, 3) and image.dtype == np.uint8
    assert environment.observation_space.contains(image)
    assert environment.action_space.shape == ((3,) if name == "DotDiscrete" else (2,))
    assert info["state"].dtype == np.float32 and info["distance"] == pytest.approx(1) and not info["success"]
    assert info["budget"] == 50 and 1 <= info["shortest"] <= 25
    _, reward, _, truncated, info = environment.step(environment.action_space.sample())
    assert (reward, truncated) == (0.0, False) and info["task_reward"] > 0
    protocol = json.loads(json.dumps(environment.protocol))
    assert protocol["image_source"] == "the observation"
    assert protocol["state_source"] == ("the image, averaged to 8x8" if name == "DotBlind" else "info's state")


def test_a_test_episode_depends_on_seed_and_index_alone_and_training_has_other_ones():
    one, other = benchmarks.make("gym:tests/Dot-v0"), benchmarks.make("gym:tests/Dot-v0")
    image, info = begin(one, 2)
    other.reset(seed=1, options={"goal": False})
    other.step([1, 1])
    again, same = begin(other, 2)
    np.testing.assert_array_equal(image, again)
    for key in ("state", "goal_state", "goal_image"):
        np.testing.assert_array_equal(info[key], same[key])
    assert not np.array_equal(begin(one, 3)[1]["state"], info["state"])
    assert not np.array_equal(begin(one, 2, split="train")[1]["state"], info["state"])


def test_boxes_are_scaled_and_discrete_actions_are_the_largest_entry():
    environment = benchmarks.make("gym:tests/Dot-v0")
    begin(environment)
    for action, theirs in (([-1, -1], [-2, 0]), ([1, 1], [2, 1]), ([0, 0], [0, 0.5]), ([9, -9], [2, 0])):
        environment.step(action)
        np.testing.assert_allclose(environment._world.unwrapped.taken[-1], theirs)
    environment = benchmarks.make("gym:tests/DotDiscrete-v0")
    begin(environment)
    for action, theirs in (([1, 0, 0], 5), ([-1, -0.5, -0.8], 6), ([0.1, 0.2, 0.3], 7)):
        environment.step(action)
        assert environment._world.unwrapped.taken[-1] == theirs
    random = np.random.default_rng(0)
    policy = environment.explore(random)
    chosen = [int(np.argmax(policy(None, {}))) for _ in range(200)]
    assert {0, 1, 2} == set(chosen) and np.mean(np.diff(chosen) == 0) > 0.4, "held for some steps"


@pytest.mark.parametrize("name", ["Dot", "DotBlind"])
def test_who_goes_to_the_goal_succeeds_and_who_stays_away_does_not(name):
    environment = benchmarks.make(f"gym:tests/{name}-v0")
    for index in range(3):
        _, info = begin(environment, index)
        target = np.argwhere(info["goal_image"][..., 0] > 128).mean(0)[::-1]  # where the square is in the goal's image
        ended = False
        while not ended:
            gap = (target - np.argwhere(environment.render()[..., 0] > 128).mean(0)[::-1]) * [48 / 64, 40 / 64]
            _, reward, success, truncated, info = environment.step(np.clip([gap[0] / 2, gap[1] / 2], -1, 1))
            ended = success or truncated
        assert info["success"] and reward == 1 and info["distance"] < 0.2, (index, info["distance"])
        _, info = begin(environment, index)
        for _ in range(3):
            *_, info = environment.step([0, 0])
        assert not info["success"] and info["distance"] == pytest.approx(1, abs=1e-3)


def test_an_episode_that_ends_by_itself_ends_and_says_so():
    environment = benchmarks.make("gym:tests/Dot-v0")
    environment.reset(seed=0, options={"goal": False})
    for _ in range(20):
        _, _, terminated, _, info = environment.step([1, 0])
        if terminated:
            break
    assert terminated and "success" not in info
    with pytest.raises(gymnasium.error.ResetNeeded):
        environment.step([1, 0])


def test_a_vector_observation_is_the_state_and_render_the_image():
    pytest.importorskip("pygame", reason="gymnasium draws CartPole with pygame")
    environment = benchmarks.make("gym:CartPole-v1")
    image, info = begin(environment)
    assert environment.protocol["image_source"] == "render()" and environment.protocol["state_source"] == "the observation"
    assert image.shape == (64, 64, 3) and image.std() > 5 and info["state"].shape == (4,)
    environment.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tests/Nothing-v0", "doesn't exist"),
        ("tests/DotOdd-v0", "can't use its action space"),
        ("tests/DotUnseen-v0", "shows no image"),
        ("tests/DotFrozen-v0", "changes nothing"),
    ],
)
def test_what_cannot_be_a_task_says_why(name, message):
    with pytest.raises(InputError, match=message):
        begin(benchmarks.make(f"gym:{name}"))


def test_bad_actions_and_wishes_are_refused():
    environment = benchmarks.make("gym:tests/Dot-v0")
    _, info = begin(environment)
    for action in ([np.nan, 0], [0, 0, 0], "left"):
        with pytest.raises(InputError, match="an action has 2"):
            environment.step(action)
    np.testing.assert_array_equal(environment.read_state(), info["state"])
    for options in ({"start": [1, 2]}, {"goal": [1.0, 2.0]}, {"layot": 3}):
        with pytest.raises(InputError, match="can't be put into a given state"):
            environment.reset(options=options)
    with pytest.raises(InputError, match="can't be put into"):
        environment.render_states(info["state"][None])
