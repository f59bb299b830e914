"""The benchmark tasks on grid layouts: gymnasium's contract, held-out layouts and pairs, physics, drawings, solvability."""

import json
import subprocess
import sys
from collections import Counter

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from objective_agent.simulation import benchmarks
from objective_agent.simulation.benchmarks import grid
from objective_agent.simulation.benchmarks.base import TEST_LAYOUTS, TRAIN_LAYOUTS
from objective_agent.simulation.benchmarks.grid_world import SPEED
from objective_agent.simulation.benchmarks.maze import spanning_tree
from objective_agent.types import InputError

TASKS = ("two_room", "two_room_random", "maze", "maze_random", "wall", "wall_random")
RANDOM = tuple(task for task in TASKS if task.endswith("_random"))
every_task = pytest.mark.parametrize("task", TASKS)
random_tasks = pytest.mark.parametrize("task", RANDOM)


def test_start(environment, index=0, seed=3, **options):
    return environment.reset(seed=seed, options={"split": "test", "index": index, **options})


test_start.__test__ = False


@every_task
def test_it_keeps_gymnasiums_contract_under_its_registered_name(task):
    environment = gymnasium.make(benchmarks.BENCHMARKS[task])
    check_env(environment.unwrapped, skip_render_check=True)
    image, info = environment.reset(seed=1)
    assert image.shape == info["goal_image"].shape == (64, 64, 3) and image.dtype == np.uint8
    assert environment.action_space == gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    np.testing.assert_array_equal(environment.unwrapped.render(), image)


@every_task
def test_a_test_pair_depends_on_task_seed_and_index_alone(task):
    one, other = benchmarks.make(task), benchmarks.make(task)
    image, info = test_start(one, 7)
    for number in range(3):  # a history that must not matter
        other.reset(seed=number)
        other.step([1, 0.5])
    again, same = test_start(other, 7)
    np.testing.assert_array_equal(image, again)
    for name in ("state", "goal_state", "goal_image"):
        np.testing.assert_array_equal(info[name], same[name])
    assert {name: info[name] for name in ("layout", "shortest", "detour", "budget")} == {
        name: same[name] for name in ("layout", "shortest", "detour", "budget")
    }
    assert not np.array_equal(test_start(one, 8)[1]["state"], info["state"])
    assert not np.array_equal(test_start(one, 7, seed=4)[1]["state"], info["state"])


@random_tasks
def test_no_layout_is_on_both_sides(task):
    """Not the same number, and not the same content under two numbers."""
    environment = benchmarks.make(task)
    train = [environment.train_layout(seed, number) for seed in (0, 1) for number in range(150)]
    test = [test_start(environment, index)[1]["layout"] for index in range(100)]
    assert all(number in TRAIN_LAYOUTS for number in train) and all(number in TEST_LAYOUTS for number in test)
    assert len(set(train)) == 300
    contents = [{environment.layout(number).occupied.tobytes() for number in numbers} for numbers in (train, test)]
    assert not contents[0] & contents[1]
    assert min(len(content) for content in contents) > 50, "the layouts hardly differ"
    for split, layout in (("train", test[0]), ("test", train[0])):
        with pytest.raises(InputError, match="isn't one of split"):
            environment.reset(options={"split": split, "layout": layout})


@every_task
def test_every_test_pair_is_unsolved_and_a_robot_that_knows_the_way_solves_it_in_the_budget(task):
    environment = benchmarks.make(task)
    for index in range(40):
        _, info = test_start(environment, index)
        assert not info["success"] and np.isfinite(info["shortest"]) and info["shortest"] * SPEED >= 0.99 * info["distance"]
        ways = environment.layout(info["layout"]).ways
        points = list(ways.path(info["state"], info["goal_state"])[1:])
        ended = False
        while not ended:
            while len(points) > 1 and np.linalg.norm(points[0] - info["state"]) < 0.012:
                points.pop(0)
            action = environment.toward(info["state"], points[0])
            _, reward, success, truncated, info = environment.step(action)
            ended = success or truncated
        assert success and reward == 1.0, f"{task} {index}: {info}"


@pytest.mark.parametrize("task", ["two_room", "two_room_random", "wall", "wall_random"])
def test_start_and_goal_are_in_opposite_rooms_and_a_straight_line_rarely_leads_there(task):
    environment, solved = benchmarks.make(task), 0
    for index in range(60):
        _, info = test_start(environment, index)
        x = environment.layout(info["layout"]).facts["x"]
        assert (info["state"][0] - x) * (info["goal_state"][0] - x) < 0 and info["detour"]
        for _ in range(info["budget"]):
            *_, info = environment.step(environment.toward(info["state"], info["goal_state"]))
            if info["success"]:
                solved += 1
                break
    assert solved < 24, solved


@pytest.mark.parametrize("task", ["maze", "maze_random"])
def test_about_half_of_the_pairs_in_mazes_are_detours(task):
    environment = benchmarks.make(task)
    pairs = [test_start(environment, index)[1] for index in range(200)]
    assert 0.4 < np.mean([info["detour"] for info in pairs]) < 0.6
    for info in pairs:
        assert info["detour"] == (info["shortest"] * SPEED > 1.35 * info["distance"])


def test_mazes_are_trees_over_all_cells_and_every_tree_is_equally_likely():
    random = np.random.default_rng(0)
    drawn = Counter(spanning_tree(3, random) for _ in range(6000))
    assert len(drawn) == 192  # Kirchhoff's number for 3 x 3
    assert all(len(tree) == 8 and len(frozenset.union(*tree)) == 9 for tree in drawn)
    expected = 6000 / 192
    chi_squared = sum((count - expected) ** 2 / expected for count in drawn.values())
    assert chi_squared < 191 + 4 * (2 * 191) ** 0.5


@every_task
def test_a_bad_action_is_refused_and_nothing_moves(task):
    environment = benchmarks.make(task)
    with pytest.raises(gymnasium.error.ResetNeeded):
        environment.step([0, 0])
    _, info = test_start(environment)
    for action in ([np.nan, 0], [0, np.inf], [0, 0, 0], 1.0, "left", None, [[0, 0]]):
        with pytest.raises(InputError, match="an action has 2"):
            environment.step(action)
    np.testing.assert_array_equal(environment.read_state(), info["state"])
    *_, after = environment.step([9, 0])  # finite, out of range: clipped
    assert abs(after["state"] - info["state"]).max() <= SPEED + 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"splitt": "test"}, "knows no option 'splitt'"),
        ({"split": "validation"}, "no split"),
        ({"layout": -1}, "no layout -1"),
        ({"layout": 2_000_000_000}, "no layout"),
        ({"layout": 3, "start": [0.001, 0.5]}, "no robot fits"),
        ({"layout": 3, "start": [2.0, 0.5]}, "no robot fits"),
        ({"layout": 3, "start": [0.5]}, "2 finite numbers"),
        ({"layout": 3, "goal": [np.nan, 0.5]}, "2 finite numbers"),
        ({"index": -2}, "0 or more"),
    ],
)
def test_bad_options_get_one_clear_line_and_leave_the_episode_alone(options, words):
    environment = benchmarks.make("two_room_random")
    _, info = environment.reset(seed=2)
    with pytest.raises(InputError, match=words) as caught:
        environment.reset(options=options)
    assert "\n" not in str(caught.value)
    *_, after = environment.step([0, 0])
    np.testing.assert_array_equal(after["goal_state"], info["goal_state"])
    np.testing.assert_array_equal(after["state"], info["state"])


def test_unknown_tasks_and_missing_packages_are_named_with_the_mend(monkeypatch):
    with pytest.raises(InputError, match=r"two_room, two_room_random, .*gym:ID"):
        benchmarks.make("tworoom")
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    monkeypatch.setitem(benchmarks.CLASSES, "push_t", "gym_pusht:Anything")
    with pytest.raises(InputError, match=r"push_t: needs gym_pusht; pip install .*objective_agent\[pusht\]"):
        benchmarks.make("push_t")


@every_task
def test_full_speed_is_an_eighth_of_the_width_and_walls_stop_it(task):
    environment = benchmarks.make(task)
    random = np.random.default_rng(0)
    free_moves = 0
    for episode in range(30):
        _, info = environment.reset(seed=episode, options={"goal": False})
        layout = environment.layout(info["layout"])
        for _ in range(10):
            before, action = info["state"], random.uniform(-1, 1, 2)
            *_, info = environment.step(action)
            moved = info["state"] - before
            assert layout.free(info["state"])
            assert (abs(moved) <= abs(action) * SPEED + 1e-6).all()
            free_moves += np.allclose(moved, action * SPEED, atol=1e-6)
    assert free_moves > 100


@every_task
def test_a_rollout_is_what_steps_do_and_leaves_the_episode_alone(task):
    environment = benchmarks.make(task)
    _, info = test_start(environment)
    actions = np.random.default_rng(0).uniform(-1, 1, (12, 2))
    states = environment.rollout(info["state"].astype(float), actions, info["layout"])
    environment.reset(options={"layout": info["layout"], "start": info["state"].astype(float), "goal": False})
    for action, expected in zip(actions, states[1:], strict=True):
        np.testing.assert_array_equal(environment.step(action)[4]["state"], expected)
    np.testing.assert_array_equal(environment.render_empty([info["layout"]])[0], environment.layout(info["layout"]).picture)


@every_task
def test_the_picture_shows_the_robot_where_it_is_and_is_the_same_from_every_way_of_drawing(task):
    environment = benchmarks.make(task)
    layouts = [test_start(environment, index)[1]["layout"] for index in range(4)]
    states = np.stack([environment.draw_state(layout, np.random.default_rng(layout)) for layout in layouts])
    images = environment.render_states(states, layouts)
    for state, layout, image in zip(states, layouts, images, strict=True):
        drawn, _ = environment.reset(options={"layout": layout, "start": state, "goal": False})
        np.testing.assert_array_equal(drawn, image)
        rows, columns = np.nonzero((image[..., 0] > 180) & (image[..., 1] < 80))
        centre = (np.array([columns.mean(), rows.mean()]) + 0.5) / 64
        assert np.abs(centre - state).max() < 0.5 / 64
        empty = environment.layout(layout).picture
        far = np.abs(np.indices((64, 64)) - (state[::-1, None, None] * 64 - 0.5)).max(0) > 4.5
        np.testing.assert_array_equal(image[far], empty[far])


@every_task
def test_exploration_reaches_the_whole_layout_and_all_directions(task):
    environment = benchmarks.make(task)
    seen, actions, changed = np.zeros((8, 8), bool), [], 0
    for episode in range(120):
        image, info = environment.reset(seed=episode, options={"goal": False})
        act = environment.explore(np.random.default_rng(episode))
        truncated = False
        steps = 0
        while not truncated:
            action = act(image, info)
            assert environment.action_space.contains(action)
            actions.append(action)
            image, _, success, truncated, info = environment.step(action)
            assert not success
            steps += 1
            column, row = (info["state"] * 8).astype(int)
            changed += not seen[row, column]
            seen[row, column] = True
        assert steps == environment.episode_steps
    assert seen.mean() > 0.95
    angles = np.histogram(np.arctan2(*np.transpose(actions)), 8, (-np.pi, np.pi))[0]
    assert angles.min() > 0.7 * angles.mean()


@pytest.mark.parametrize("task", ["two_room", "two_room_random", "maze_random", "wall_random"])
def test_pushes_are_pushes_at_walls_of_held_out_layouts(task):
    environment = benchmarks.make(task)
    for blocked in (True, False):
        pushes = environment.pushes(40, seed=1, blocked=blocked)
        assert len(pushes) == 40
        for push in pushes:
            assert push["layout"] == 0 if environment.fixed else push["layout"] in TEST_LAYOUTS
            _, info = environment.reset(options={"layout": push["layout"], "start": push["start"], "goal": False})
            assert not push["crossed"](info["state"])
            for _ in range(push["steps"]):
                *_, info = environment.step(push["action"])
            np.testing.assert_allclose(info["state"], push["end"], atol=1e-6)
            assert push["crossed"](info["state"]) != blocked
            through = push["start"] + push["steps"] * SPEED * push["action"]
            assert push["crossed"](through), "a robot that sees no wall would have crossed"
    again = environment.pushes(40, seed=1, blocked=False)
    assert all(np.array_equal(one["start"], other["start"]) for one, other in zip(pushes, again, strict=True))


def test_a_goal_can_be_given_as_a_state():
    environment = benchmarks.make("two_room")
    _, info = environment.reset(options={"start": [0.2, 0.3], "goal": [0.4, 0.3]})
    assert info["shortest"] == pytest.approx(0.2 / SPEED) and not info["detour"]
    steps = 0
    success = False
    while not success:
        _, reward, success, truncated, info = environment.step([0.5, 0])
        steps += 1
        assert reward == float(success) and not truncated
    assert steps == 3  # 3 x .0625 leaves .0125, two leave .075 of a tolerance of .06


def test_the_budget_truncates():
    environment = benchmarks.make("wall")
    _, info = test_start(environment)
    assert info["budget"] == int(np.ceil(4 * info["shortest"]))
    ends = [environment.step([0, 0])[3] for _ in range(info["budget"])]
    assert ends == [False] * (info["budget"] - 1) + [True]


@every_task
def test_the_protocol_is_json_and_says_what_a_result_needs(task):
    protocol = benchmarks.make(task).protocol
    assert json.loads(json.dumps(protocol)) == protocol
    assert {"task", "tolerance", "tolerance_units", "budget", "held_out", "pairs", "action_repeat"} <= set(protocol)


def test_the_door_of_the_wall_is_as_wide_for_the_robots_centre_as_the_originals():
    environment = benchmarks.make("wall")
    layout = environment.layout(0)
    column = int(layout.facts["x"] * grid.CELLS)
    assert (~layout.blocked[:, column]).mean() == pytest.approx(8 / 65, abs=1.5 / grid.CELLS)


def test_the_tasks_load_no_torch():
    code = (
        "import sys\nfrom objective_agent.simulation import benchmarks\nbenchmarks.make('maze')\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
