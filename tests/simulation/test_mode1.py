"""Mode-1 on a benchmark: plans are collected, distilled, and act, with eyes that can't err and a model that knows no walls."""

import argparse
import json

import numpy as np
import pytest
import torch
import yaml
from policy_models import write_policy

from objective_agent.actor.policy_network import PolicyShape
from objective_agent.learning.policy import PolicyConfig, add_policy
from objective_agent.memory.plans import read_plans
from objective_agent.simulation import benchmarks
from objective_agent.simulation.benchmarks.controller import BenchmarkController, ControllerSettings, Mind, settings_of
from objective_agent.simulation.benchmarks.evaluation import BenchmarkProtocol, summarize
from objective_agent.simulation.benchmarks.plans import Imagined, PlanSettings, collect_plans, stride
from objective_agent.types import ConfigurationError, InputError

NAMES = {"encoder": "seeing_eyes:Eyes", "world_model": "seeing_eyes:FreeSpace", "reachability": 0.0}
SETTINGS = ControllerSettings(**NAMES, stuck_share=0.35)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    (folder / "card.yaml").write_text(yaml.safe_dump({"kind": "frames", "sha256": {"encoder": "eyes"}}))
    return folder


@pytest.fixture(scope="module")
def log(folder):
    path = folder / "plans.db"
    found = collect_plans(PlanSettings("two_room", str(folder), seed=3, controller=SETTINGS), path, 24)
    assert found["episodes"] == 24 and found["decisions"] > 200
    return path


@pytest.fixture(scope="module")
def trained(folder, log):
    plans = read_plans([log], "eyes")
    config = PolicyConfig(steps=250, hidden=64, learning_rate=5e-3, members=3)
    energies = Imagined(str(folder), plans, SETTINGS)
    add_policy(folder, plans, config, energies=energies, about={"stride": stride(plans)})
    return folder


def settings(**changes) -> ControllerSettings:
    return SETTINGS.model_copy(update=changes)


def test_the_log_is_of_training_episodes_and_does_not_depend_on_processes(folder, log, tmp_path):
    plans = read_plans([log], "eyes")
    assert plans.state.shape[1:] == (1, 2) and plans.plan.shape[1:] == (4, 2)
    env, tests = benchmarks.make("two_room"), set()
    for index in range(40):
        _, info = env.reset(seed=3, options={"split": "test", "index": index})
        tests.add(tuple(np.round(info["state"], 3)))
    assert not tests & {tuple(np.round(plans.state[row, 0].astype(float), 3)) for row in np.unique(plans.first)}
    followed = np.abs(plans.done - plans.plan[:, 0]).max(-1) < 1e-6
    assert 0.4 < followed.mean() < 0.95
    again = collect_plans(PlanSettings("two_room", str(folder), seed=3, controller=SETTINGS), tmp_path / "again.db", 9)
    same = read_plans([tmp_path / "again.db"])
    assert again["decisions"] == len(same) and np.array_equal(same.plan, plans.plan[: len(same)])
    with pytest.raises(InputError, match="exists"):
        collect_plans(PlanSettings("two_room", str(folder), controller=SETTINGS), log, 1)


def test_the_energies_of_a_log_are_those_that_the_search_saw(folder, log):
    plans = read_plans([log], "eyes")
    rows = np.arange(0, len(plans), 23)
    found = Imagined(str(folder), plans, SETTINGS)(rows, torch.from_numpy(plans.plan[rows])[:, None])
    np.testing.assert_allclose(found[:, 0], plans.energy[rows], rtol=0.02, atol=0.02)  # the log keeps states in half precision


def drive(controller, start, goal, steps=40):
    env = benchmarks.make("two_room")
    image, info = env.reset(options={"start": start, "goal": goal})
    controller.reset(info["goal_image"], seed=0)
    for _ in range(steps):
        image, _, done, _, info = env.step(controller.act(image))
        if done:
            break
    return info["success"]


def test_the_policy_finds_the_goal_without_a_search_and_a_surprise_makes_it_think(trained):
    mind = Mind(str(trained), SETTINGS)
    alone = BenchmarkController(mind, settings(mode="policy"))
    assert drive(alone, [0.1, 0.9], [0.4, 0.2])
    assert set(alone.notes.modes) == {"policy"} and alone.plan.iterations == 0
    adaptive = BenchmarkController(mind, settings(mode="adaptive", confidence=0.0))
    drive(adaptive, [0.25, 0.5], [0.8, 0.5])  # the wall between them: who runs into it is stuck
    assert adaptive.notes.stuck > 0 and adaptive.notes.modes["optimizer"] == adaptive.notes.stuck
    assert adaptive.notes.modes["policy"] > 0
    careful = BenchmarkController(mind, settings(mode="adaptive", confidence=1.0))
    drive(careful, [0.1, 0.9], [0.4, 0.2])
    assert set(careful.notes.modes) == {"optimizer"}


def test_what_was_hardly_ever_moved_farther_is_not_imagined_to_be_stuck(trained):
    found = {}
    for reach in (None, 0.0):
        controller = BenchmarkController(Mind(str(trained), SETTINGS), settings(mode="policy"))
        controller._stride = controller._stride if reach is None else np.inf
        drive(controller, [0.25, 0.5], [0.8, 0.5])
        found[reach] = controller.notes.stuck, [tokens[0].tolist() for tokens in controller.notes.seen]
    assert found[None] == found[0.0] and found[None][0] > 0


def test_rows_of_an_evaluation_say_who_acted_and_what_it_took(trained):
    protocol = BenchmarkProtocol("two_room", 1, str(trained), SETTINGS, ("propose", "adaptive", "policy"), ())
    evaluator = protocol.evaluator()
    records = [json.loads(json.dumps(evaluator.run(index))) for index in range(3)]
    result = summarize(protocol, records, "m", {}, None)
    rows = result["rows"]
    modes = {name: row["modes"] for name, row in rows.items() if name != "adaptive"}
    assert modes == {"agent": {"optimizer": 1.0}, "propose": {"optimizer": 1.0}, "policy": {"policy": 1.0}}
    assert rows["policy"]["planning_share"] > 0 and "planning_share" not in rows["agent"]
    for row in rows.values():
        assert row["per_episode_ms"]["planning"] > 0 and row["per_episode_ms"]["encoder"] > 0
    steps = sum(record["rows"]["policy"]["steps"] for record in records)
    assert sum(record["rows"]["policy"]["modes"]["policy"] for record in records) == steps
    assert "planning_ms" not in result["per_episode"][0]["timing"]["policy"]
    assert settings_of("adaptive", SETTINGS).mode == "adaptive" and settings_of("agent", SETTINGS).mode == "plan"


def test_rounds_driven_by_the_policy_log_what_the_search_would_have_done(trained, tmp_path):
    drawn = PlanSettings("two_room", str(trained), seed=4, noise=0.0, policy=1.0, controller=SETTINGS)
    collect_plans(drawn, tmp_path / "dagger.db", 2)
    plans = read_plans([tmp_path / "dagger.db"], "eyes")
    assert set(plans.mode) == {"policy"} and np.isfinite(plans.energy).all()
    assert (np.abs(plans.done - plans.plan[:, 0]).max(-1) > 1e-3).mean() > 0.5


def test_a_model_without_a_policy_says_how_to_train_one(tmp_path):
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({"kind": "frames", "sha256": {"encoder": "eyes"}}))
    with pytest.raises(ConfigurationError, match="train --head policy"):
        BenchmarkController(Mind(str(tmp_path), SETTINGS), settings(mode="adaptive"))


def test_a_policy_that_answers_nan_is_an_error_not_an_action(tmp_path):
    write_policy(tmp_path / "model", PolicyShape(features=2, hidden=16))
    mind = Mind(str(tmp_path / "model"), SETTINGS)
    mind.policy.network.bias2.data.fill_(torch.nan)
    for mode, acts in (("policy", False), ("adaptive", True)):
        controller = BenchmarkController(mind, settings(mode=mode))
        image, info = benchmarks.make("two_room").reset(seed=0)
        controller.reset(info["goal_image"])
        if acts:  # no confidence: the search
            assert np.isfinite(controller.act(image)).all() and controller.plan.mode == "optimizer"
        else:
            with pytest.raises(InputError, match="policy answers with NaN"):
                controller.act(image)


def test_collect_says_what_plans_need():
    from objective_agent.cli import collect

    parser = argparse.ArgumentParser()
    collect.add_arguments(parser)
    with pytest.raises(InputError, match="go together"):
        collect.main(parser.parse_args(["--out", "x", "--task", "two_room", "--plans"]))
    with pytest.raises(InputError, match="give --plans as well"):
        collect.main(parser.parse_args(["--out", "x", "--task", "two_room", "--policy", "0.5"]))


def test_a_log_is_refused_before_anything_is_driven(folder, tmp_path):
    (tmp_path / "old.db").touch()
    with pytest.raises(InputError, match="exists; remove it, or give another --out"):
        collect_plans(PlanSettings("two_room", str(folder), controller=SETTINGS), tmp_path / "old.db", 2)
    with pytest.raises(InputError, match="plans of one: give --params with deadline: false"):
        collect_plans(PlanSettings("two_room", str(folder), controller=settings(deadline=True)), tmp_path / "new.db", 2)
    assert not (tmp_path / "new.db").exists()
