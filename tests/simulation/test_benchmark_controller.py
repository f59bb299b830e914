"""The benchmarks' agent with eyes that can't err and a world model that is right but for the walls."""

import numpy as np
import pytest
import seeing_eyes
import torch
import yaml

from objective_agent.simulation import benchmarks
from objective_agent.simulation.benchmarks.controller import BenchmarkController, ControllerSettings, Later, Mind, settings_of
from objective_agent.simulation.benchmarks.evaluation import BenchmarkProtocol, row_of, straight, summarize
from objective_agent.simulation.benchmarks.push import push_test
from objective_agent.types import ConfigurationError, InputError

NAMES = {"encoder": "seeing_eyes:Eyes", "world_model": "seeing_eyes:FreeSpace", "reachability": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    (folder / "card.yaml").write_text(yaml.safe_dump({"kind": "frames", "sha256": {}}))
    return str(folder)


def settings(**changes) -> ControllerSettings:
    return ControllerSettings(**{**NAMES, **changes})


def drive(controller, env, start, goal, steps=40):
    image, info = env.reset(options={"start": start, "goal": goal})
    controller.reset(info["goal_image"], seed=0)
    for step in range(steps):
        image, _, done, _, info = env.step(controller.act(image))
        if done:
            return step + 1, info
    return None, info


def test_with_a_right_model_it_goes_straight_to_the_goal(folder):
    env, controller = benchmarks.make("two_room"), BenchmarkController(Mind(folder, settings()))
    steps, _ = drive(controller, env, [0.1, 0.9], [0.4, 0.2])
    assert steps is not None and steps <= 1.5 * 0.7 / 0.125
    assert len(controller.notes.planning_ms) == steps == len(controller.notes.seen)


def test_who_is_stuck_gets_loose_and_without_the_rule_stays(folder):
    env = benchmarks.make("two_room")
    start, goal = [0.25, 0.5], [0.8, 0.5]  # the wall between them, the door at y = 0.3
    stays = BenchmarkController(Mind(folder, settings(stuck_share=0.0)))
    steps, info = drive(stays, env, start, goal)
    assert steps is None and stays.notes.stuck == 0 and info["state"][0] < 0.5
    loose = BenchmarkController(Mind(folder, settings()))
    _, there = drive(loose, env, start, goal)
    assert loose.notes.stuck > 3
    assert there["state"][0] > 0.5 or np.ptp([float(tokens[0, 1]) for tokens in loose.notes.seen]) > 0.15


def test_decisions_are_repeatable(folder):
    env, mind = benchmarks.make("two_room"), Mind(folder, settings())
    image, info = env.reset(seed=1, options={"split": "test", "index": 0})
    actions = []
    for seed in (3, 3, 4):
        controller = BenchmarkController(mind)
        controller.reset(info["goal_image"], seed=seed)
        actions.append(np.stack([controller.act(image) for _ in range(3)]))
    assert np.array_equal(actions[0], actions[1]) and not np.array_equal(actions[0], actions[2])
    assert np.abs(actions[0]).max() <= 1 and actions[0].dtype == np.float32


def test_the_world_model_gets_its_frames_and_the_actions_between_them(folder):
    env = benchmarks.make("two_room")
    controller = BenchmarkController(Mind(folder, settings(world_model="seeing_eyes:LongMemory")))
    seeing_eyes.LongMemory.given.clear()
    image, info = env.reset(options={"start": [0.1, 0.9], "goal": [0.4, 0.2]})
    controller.reset(info["goal_image"])
    done, places = [], []
    for _ in range(3):
        places.append(controller.mind.encode(image)[0])
        done.append(controller.act(image))
        image, *_ = env.step(done[-1])
        frames, sent = seeing_eyes.LongMemory.given[-1]
        expected = [places[max(0, len(places) - 3 + back)] for back in range(3)]
        expected = [places[0]] * (3 - len(places)) + places[-3:]
        torch.testing.assert_close(frames[0], torch.stack(expected))
        before = [np.zeros(2, np.float32)] * 2 + done[:-1]
        np.testing.assert_allclose(sent[0].numpy(), np.stack(before[-2:]))


def test_with_a_deadline_plans_end_together_and_what_is_left_of_one_begins_the_next(folder):
    env, controller = benchmarks.make("two_room"), BenchmarkController(Mind(folder, settings(horizon=3, deadline=True)))
    image, info = env.reset(options={"start": [0.1, 0.9], "goal": [0.4, 0.2]})
    controller.reset(info["goal_image"])
    lengths = []
    for _ in range(7):
        expected = controller._warm
        image, *_ = env.step(controller.act(image))
        plan = controller.plan.actions
        lengths.append(plan.shape[1])
        assert expected is None or expected.shape == plan.shape
        left = controller._warm
        torch.testing.assert_close(left[:, : plan.shape[1] - 1], plan[:, 1:])
        assert not left[:, plan.shape[1] - 1 :].any()
    assert lengths == [3, 2, 1, 3, 2, 1, 3]


def test_growth_lets_later_steps_count_more_and_prefers_the_way_round():
    class Given:
        def energy(self, trajectory, goal):
            return trajectory

    straight, round_it = [1.0, 0.9, 0.9, 0.9], [1.4, 1.6, 1.0, 0.1]  # it comes near and stays; it goes away, then gets there
    energies = torch.tensor([straight, round_it])[None, :, None]

    def chosen(growth):
        return Later(Given(), growth).energy(energies, None).mean((2, 3)).argmin().item()

    assert chosen(1) == 0 and chosen(3) == 1
    torch.testing.assert_close(Later(Given(), 2).energy(torch.ones(1, 1, 1, 4), None).mean(), torch.tensor(1.0))
    nearly_last = Later(Given(), 100).energy(energies, None).mean((2, 3))[0]
    torch.testing.assert_close(nearly_last, torch.tensor([0.9, 0.1]), atol=0.02, rtol=0)


def test_a_search_without_a_goal_term_is_refused(folder):
    with pytest.raises(ConfigurationError, match="objectives: none"):
        BenchmarkController(Mind(folder, settings(l2=0.0)))
    assert settings_of("l2", ControllerSettings()).reachability == 0 and settings_of("no_stuck", settings()).stuck_share == 0


def test_images_that_are_none_are_refused_and_not_remembered(folder):
    controller = BenchmarkController(Mind(folder, settings()))
    image, info = benchmarks.make("two_room").reset(seed=0)
    controller.reset(info["goal_image"])
    for wrong in (image.astype(np.float32), image[0]):
        with pytest.raises(InputError, match="image: shape"):
            controller.act(wrong)
    assert not controller.notes.seen and np.isfinite(controller.act(image)).all()


def test_shown_other_moments_it_acts_on_those(folder):
    env, mind = benchmarks.make("two_room"), Mind(folder, settings())
    image, info = env.reset(options={"start": [0.1, 0.5], "goal": [0.4, 0.5]})
    controller = BenchmarkController(mind, seen=[torch.tensor([[0.9, 0.5]])])
    controller.reset(info["goal_image"])
    assert controller.act(image)[0] < -0.5  # it believes to be at the right, and goes left
    assert abs(float(controller.notes.seen[0][0, 0]) - 0.1) < 0.02


@pytest.fixture(scope="module")
def evaluated(folder):
    protocol = BenchmarkProtocol("two_room", 1, folder, settings(), rows=("no_stuck", "shuffled"))
    evaluator = protocol.evaluator()
    return protocol, [evaluator.run(index) for index in range(6)]


def test_an_evaluation_has_every_row_on_the_same_episodes(evaluated):
    protocol, records = evaluated
    result = summarize(protocol, records, "m", {}, None)
    assert list(result["rows"]) == ["agent", "no_stuck", "shuffled", "zero", "random", "straight_line"]
    assert result["rows"]["zero"]["success_rate"] == 0 and result["rows"]["zero"]["detours"]["episodes"] == 6
    assert result["rows"]["agent"]["planning_ms"]["p50"] > 0 and "paired" in result["rows"]["random"]
    for record in records:
        for row in record["rows"].values():
            assert (
                row["success"] == (row["distance"] < 0.06)
                and row["steps"] <= record["budget"]
                and row["nearest"] <= row["distance"]
            )


def test_an_episode_depends_on_its_number_alone(evaluated):
    protocol, records = evaluated
    again = protocol.evaluator().run(4)
    for key in ("start", "goal", "rows", "shortest"):
        assert again[key] == records[4][key]
    less = {**records[4], "rows": {name: row for name, row in records[4]["rows"].items() if name != "random"}}
    assert protocol.missing(less) == ("random",)
    assert protocol.evaluator().run(4, less)["rows"] == records[4]["rows"]


def test_starts_that_are_solved_already_are_left_out(evaluated):
    protocol, records = evaluated
    result = summarize(protocol, [{**records[0], "already_solved": True}, *records[1:]], "m", {}, None)
    assert result["already_solved"] == 1 and result["episodes"] == 5
    assert row_of(records[:2], "agent")["interval"][1] <= 1


def test_straight_on_reaches_what_a_straight_line_reaches():
    env = benchmarks.make("two_room")
    _, info = env.reset(options={"start": [0.1, 0.9], "goal": [0.4, 0.2]})
    done = False
    for _ in range(8):
        _, _, done, _, info = env.step(straight(env, info))
        if done:
            break
    assert done


def test_the_push_test_finds_out_who_knows_no_walls(folder):
    found = push_test(benchmarks.make("two_room_random"), Mind(folder, settings()), count=20, seed=0)
    assert found["crossed"] == 1.0 == found["passed"] and found["probe_r2"] > 0.99
    assert found["pushes"] == 20 and found["error"] > 0.2
