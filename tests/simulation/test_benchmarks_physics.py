"""The benchmark tasks with physics: point_maze (MuJoCo) and push_t (gym-pusht), their protocols, data policies and drawings."""

import json
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from objective_agent.simulation import benchmarks
from objective_agent.types import InputError

TASKS = ("point_maze", "push_t")
every_task = pytest.mark.parametrize("task", TASKS)


def make(task):
    if task == "push_t":
        pytest.importorskip("gym_pusht", reason="gym-pusht isn't installed (make environment brings it)")
    return benchmarks.make(task)


def begin(environment, index=0, seed=3, **options):
    return environment.reset(seed=seed, options={"split": "test", "index": index, **options})


def episode(environment, act, index, seed=3):
    """The last info of test episode `index` under `act(info)`."""
    _, info = begin(environment, index, seed)
    ended = False
    while not ended:
        _, _, success, truncated, info = environment.step(act(info))
        ended = success or truncated
    return info


def collected(environment, episodes, seed=0):
    """States [episodes, steps + 1, S] and actions of episodes under the task's own exploration."""
    states, actions = [], []
    for number in range(episodes):
        image, info = environment.reset(seed=number, options={"goal": False})
        policy = environment.explore(np.random.default_rng([seed, number]))
        rows, done, acts = [info["state"]], False, []
        while not done:
            acts.append(policy(image, info))
            image, _, terminated, done, info = environment.step(acts[-1])
            assert not terminated
            rows.append(info["state"])
        states.append(rows)
        actions.append(acts)
    return np.array(states), np.array(actions)


@every_task
def test_they_keep_gymnasiums_contract(task):
    make(task)
    environment = gymnasium.make(benchmarks.BENCHMARKS[task])
    check_env(environment.unwrapped, skip_render_check=True)
    image, info = environment.reset(seed=1)
    assert image.shape == info["goal_image"].shape == (64, 64, 3) and image.dtype == np.uint8
    assert not np.array_equal(image, info["goal_image"])
    json.dumps(environment.unwrapped.protocol)


@every_task
def test_a_test_pair_depends_on_seed_and_index_alone(task):
    one, other = make(task), make(task)
    image, info = begin(one, 4)
    other.reset(seed=9)
    other.step([1, 0.5])
    again, same = begin(other, 4)
    np.testing.assert_array_equal(image, again)
    for name in ("state", "goal_state", "goal_image", "budget", "shortest", "detour"):
        np.testing.assert_array_equal(info[name], same[name])
    assert not np.array_equal(begin(one, 5)[1]["goal_state"], info["goal_state"])
    assert not np.array_equal(begin(one, 4, seed=4)[1]["goal_state"], info["goal_state"])


@every_task
def test_state_and_action_decide_what_comes_next_whatever_was_before(task):
    """So a state is all of the truth: two worlds in the same state go the same way."""
    one, other = make(task), make(task)
    states, _ = collected(one, 2)
    random = np.random.default_rng(1)
    for state in states[1, ::7]:
        if task == "point_maze" and not one.layout.free(state[:2]):
            continue
        other.reset(seed=int(random.integers(100)))
        for _ in range(3):
            other.step(random.uniform(-1, 1, 2))
        ends = []
        for environment in (one, other):
            environment.reset(options={"goal": False, "start": state.astype(float)})
            np.testing.assert_allclose(environment.read_state(), state, atol=1e-4)
            for action in ([0.6, -0.4], [0.5, 0.9], [-1, 0]):
                _, _, _, _, info = environment.step(action)
            ends.append(info["state"])
        np.testing.assert_array_equal(*ends)


@every_task
def test_bad_actions_and_states_are_refused_and_nothing_moves(task):
    environment = make(task)
    _, info = begin(environment)
    for action in ([np.nan, 0], [0, np.inf], [0, 0, 0], 1.0, "left", None):
        with pytest.raises(InputError, match="an action has 2"):
            environment.step(action)
    np.testing.assert_array_equal(environment.read_state(), info["state"])
    bad = {
        "point_maze": ([0.3, 0.5, 0, 0], [0.1, 0.1, 9, 0]),
        "push_t": ([0.5, 0.5, 0.5, 0.5, 1, 0], [0.1, 0.1, 0.5, 0.5, 1, 1]),
    }
    for state in (*bad[task], [0.5, np.nan] * (environment.state_size // 2), [0.5]):
        with pytest.raises(InputError, match=f"task {task}"):
            environment.reset(options={"start": state})


@every_task
def test_drawings_of_states_are_those_of_the_world(task):
    environment = make(task)
    _, info = begin(environment, 2)
    for _ in range(5):
        image, _, _, _, info = environment.step([0.4, -0.6])
    drawn = environment.render_states(np.stack([info["state"], info["goal_state"]]), np.zeros(2, int))
    assert np.abs(drawn[0].astype(int) - image).max() <= 12  # a rounded state
    np.testing.assert_array_equal(environment.read_state(), info["state"])
    assert np.abs(drawn[0].astype(int) - drawn[1]).max() > 50


@every_task
def test_doing_nothing_never_and_acting_blindly_rarely_succeeds(task):
    environment, random = make(task), np.random.default_rng(0)
    count = 40 if task == "push_t" else 100
    zero = [episode(environment, lambda info: np.zeros(2), index)["success"] for index in range(count)]
    blind = [episode(environment, lambda info: random.uniform(-1, 1, 2), index)["success"] for index in range(count)]
    assert np.mean(zero) == 0
    assert np.mean(blind) < {"push_t": 0.2, "point_maze": 0.45}[task]


def test_the_ball_has_inertia():
    """At rest a force of two steps brings it to full speed; without any it rolls on; the opposite force stops it."""
    environment = benchmarks.make("point_maze")
    environment.reset(options={"goal": False, "start": [0.15, 0.2, 0, 0]})
    moves = []
    for force in (1, 1, 1, 0, -1, -1, -1):
        before = environment.read_state()
        environment.step([force, 0])
        moves.append(float((environment.read_state() - before)[0]))
    assert moves[0] < 0.45 * moves[1] and moves[1] < moves[2], "it takes up speed gradually"
    assert moves[3] > 0.9 * moves[2], "it rolls on without force"
    assert moves[4] > 0.4 * moves[2] and moves[6] < 0, "it can't stop at once"
    assert abs(environment.read_state()[1] - 0.2) < 1e-3


def test_the_ball_stays_in_the_maze_and_walls_hold_it():
    environment = benchmarks.make("point_maze")
    states, _ = collected(environment, 30)
    places = states[..., :2].reshape(-1, 2)
    inside = (places * 128).astype(int)
    assert not environment.layout.occupied[inside[:, 1], inside[:, 0]].any()
    environment.reset(options={"goal": False, "start": [0.4, 0.2, 0, 0.1]})
    for _ in range(8):
        environment.step([0, 1])  # down, into the wall
    assert 0.25 < environment.read_state()[1] < 0.36
    cells = {(int((y - 0.0546) / 0.297), int((x - 0.0546) / 0.297)) for x, y in places}
    assert cells == {(0, 0), (0, 1), (0, 2), (1, 2), (2, 0), (2, 1), (2, 2)}, "exploration doesn't get everywhere"


def test_a_ball_that_knows_the_way_solves_every_pair_and_a_straight_line_hardly_a_detour():
    environment = benchmarks.make("point_maze")
    detours, lucky = [], []
    for index in range(60):
        _, info = begin(environment, index)
        points = list(environment.layout.ways.path(info["state"][:2], info["goal_state"][:2])[1:])
        assert info["distance"] >= 2 * environment.tolerance
        assert info["budget"] == np.ceil(4 * info["shortest"])
        detours.append(info["detour"])

        def act(info, points=points):
            while len(points) > 1 and np.linalg.norm(points[0] - info["state"][:2]) < 0.06:
                points.pop(0)
            return environment.toward(info["state"], points[0])

        assert episode(environment, act, index)["success"], index
        straight = episode(environment, lambda info: environment.toward(info["state"], info["goal_state"]), index)
        lucky += [straight["success"]] if info["detour"] else []
    assert 0.3 < np.mean(detours) < 0.7 and np.mean(lucky) < 0.15


def test_push_t_goals_follow_from_actions_that_exist_and_ask_the_block_to_move():
    environment = make("push_t")
    from objective_agent.simulation.benchmarks import push_t

    for index in range(12):
        _, info = begin(environment, index)
        start, goal = info["state"].astype(float), info["goal_state"].astype(float)
        move = np.linalg.norm(start[2:4] - goal[2:4]) * 512
        turn = np.degrees(np.arccos(np.clip(start[4:] @ goal[4:], -1, 1)))
        assert move >= 29.9 or turn >= 29.9
        assert info["distance"] >= 1 and info["budget"] == 10 and info["shortest"] == 5
    # The same trajectory again, by the policy that made it: its own actions lead from a pair's start to its goal.
    replayed = 0
    for number in range(6):
        random = np.random.default_rng(number)
        environment.place(environment.draw_state(0, random), 0)
        policy, states, actions = environment.explore(random), [environment.read_state()], []
        for _ in range(30):
            actions.append(policy(None, {"state": states[-1]}))
            environment.advance(np.asarray(actions[-1], float))
            states.append(environment.read_state())
        for first in range(0, 25, 5):
            environment.place(states[first], 0)
            for action in actions[first : first + push_t.GOAL_STEPS]:
                environment.advance(np.asarray(action, float))
            replayed += environment.reached(environment.read_state(), states[first + push_t.GOAL_STEPS])
    assert replayed == 30


def test_push_ts_success_is_the_fields():
    """Position of agent and block together within 20 px of 512, and the turn within 20 degrees."""
    environment = make("push_t")
    goal = np.array([0.2, 0.2, 0.5, 0.5, 1.0, 0.0])

    def moved(agent=0.0, block=0.0, turn=0.0):
        angle = np.radians(turn)
        return np.array([0.2 + agent / 512, 0.2, 0.5, 0.5 + block / 512, np.cos(angle), np.sin(angle)])

    for near in (moved(), moved(agent=19.5), moved(block=19.5), moved(turn=-19.5), moved(14, 14, 19)):
        assert environment.reached(near, goal)
    for far in (moved(agent=20.5), moved(block=20.5), moved(turn=20.5), moved(turn=180), moved(15, 15)):
        assert not environment.reached(far, goal)
    assert environment.distance(moved(block=40), goal) == pytest.approx(2)
    assert environment.distance(moved(turn=-50), goal) == pytest.approx(2.5)


def test_the_pusher_touches_moves_and_turns_the_block_and_keeps_it_in_the_field():
    environment = make("push_t")
    states, actions = collected(environment, 30)
    assert np.abs(actions).max() <= 1 and 0.05 < np.abs(actions).mean() < 0.9
    move = np.linalg.norm(np.diff(states[..., 2:4], axis=1), axis=-1) * 512
    turn = np.degrees(np.arccos(np.clip((states[:, 1:, 4:] * states[:, :-1, 4:]).sum(-1), -1, 1)))
    assert (move > 1).mean() > 0.15, "hardly any contact"
    assert (turn > 2).mean() > 0.1
    assert (move < 0.1).mean() > 0.3, "no free motion"
    assert ((states[..., :4] > 0.0) & (states[..., :4] < 1.0)).all()
    spread = states.reshape(-1, 6).std(axis=0)
    assert (spread[:2] > 0.15).all() and (spread[2:4] > 0.1).all() and (spread[4:] > 0.4).all()


def test_a_step_of_push_t_is_five_of_gym_pushts():
    environment = make("push_t")
    from gym_pusht.envs import PushTEnv

    environment.place(np.array([0.55, 0.3, 0.5, 0.4, 1, 0]), 0)
    theirs = PushTEnv()
    theirs.reset(seed=0)
    theirs.block.angle, theirs.block.position, theirs.agent.position = 0.0, (256, 0.4 * 512), (0.55 * 512, 0.3 * 512)
    for action in np.array([[0.3, 0.9], [-0.5, 0.7], [0.1, 1.0], [1, -1]]):
        theirs.agent.velocity = 0, 0
        target = np.array(theirs.agent.position) + 64 * action
        for _ in range(5):
            observation, *_ = theirs.step(target)
        environment.advance(action)
        np.testing.assert_allclose(environment.read_state()[:4] * 512, observation[:4], atol=1e-3)
    assert abs(theirs.block.angle) > 0.05 and observation[3] > 0.45 * 512, "they never touched"


def test_a_push_moves_the_block_the_way_it_is_pushed():
    environment = make("push_t")
    environment.place(np.array([0.5, 0.3, 0.5, 0.4, 1, 0]), 0)  # above the bar's middle
    for _ in range(3):
        environment.advance(np.array([0.0, 0.8]))
    *_, x, y, cosine, _ = environment.read_state()
    assert y > 0.5 and abs(x - 0.5) < 0.02 and cosine > 0.99


def test_without_gym_pusht_push_t_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    monkeypatch.setitem(sys.modules, "gym_pusht.envs", None)
    monkeypatch.delitem(sys.modules, "objective_agent.simulation.benchmarks.push_t", raising=False)
    with pytest.raises(InputError, match=r"task push_t: needs gym_pusht; pip install .*gym-pusht"):
        benchmarks.make("push_t")
