"""Distilling a planner with known answers: straight to the goal, but in one half of the world, where it is of two minds."""

import dataclasses

import numpy as np
import pytest
import torch
import yaml

from objective_agent import weights
from objective_agent.cli.main import main
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.learning.loop import CollapseError
from objective_agent.learning.policy import PolicyConfig, Rows, add_policy, inputs, shape_of, split, targets, train
from objective_agent.learning.policy_confidence import area, isotonic
from objective_agent.memory.plans import PlanLog, PlanRow, read_plans
from objective_agent.plugins import create
from objective_agent.types import Goal, InputError, WorldState

HORIZON, SPEED = 3, 0.1
CONFIG = PolicyConfig(steps=250, hidden=32, batch=128, learning_rate=5e-3, members=3, reach=6)


def walk(place, goal):
    """The plan [H, 2] straight from a place to a goal, and the places on the way."""
    plan = []
    for _ in range(HORIZON):
        step = np.clip((goal - place) / SPEED, -1, 1)
        plan.append(step)
        place = place + SPEED * step
    return np.array(plan)


def write_log(path, episodes=60, steps=8, seed=0, every=1, two_minds=True, **about):
    """A log of `episodes`; left of x = 0 plans are right, right of it they are turned to either side at random."""
    random = np.random.default_rng(seed)
    with PlanLog(path, "eyes", {"dt": 1.0, **about}) as log:
        for episode in range(episodes):
            place, goal = random.uniform(-1, 1, 2), random.uniform(-1, 1, 2)
            for step in range(steps * every):
                plan = walk(place, goal)
                if two_minds and place[0] > 0:
                    plan = np.stack([plan[:, 1], -plan[:, 0]], -1) * random.choice([-1, 1])
                done = plan[0]
                log.append(
                    PlanRow(
                        run="toy", episode=episode, step=step, stamp=step / every, state=place[None], goal=goal[None],
                        plan=plan, done=done, energy=float(np.linalg.norm(goal - place)),
                        pose=np.append(place, 0), position=goal, velocity=np.zeros(2),
                    )
                )  # fmt: skip
                place = place + SPEED * done / every
    return path


@pytest.fixture(scope="module")
def plans(tmp_path_factory):
    torch.set_num_threads(1)
    return read_plans([write_log(tmp_path_factory.mktemp("log") / "plans.db")])


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({"name": "toy", "sha256": {"encoder": "eyes"}}))
    return tmp_path


def test_hindsight_asks_for_what_was_done_on_the_way_to_what_was_reached(plans):
    data = Rows.of(plans)
    rows = np.arange(len(plans))
    target, weight, goals = targets(data, rows, CONFIG.model_copy(update={"hindsight": 1.0}), np.random.default_rng(0))
    again = goals >= 0
    assert again.mean() > 0.8 and (goals[again] > rows[again]).all()
    assert (plans.episode[goals[again]] == plans.episode[again]).all() and (goals[again] - rows[again] <= CONFIG.reach).all()
    soon = again & (goals - rows <= HORIZON)
    reached = plans.pose[soon, :2] + SPEED * target[soon].sum(1)
    np.testing.assert_allclose(reached, plans.pose[goals[soon], :2], atol=1e-5)
    assert (weight[again] == 1).all()
    _, goal, _, position = inputs(plans, rows[again], shape_of(plans, CONFIG), goals[again])
    torch.testing.assert_close(goal[:, 0], torch.from_numpy(plans.state[goals[again], 0]).float())
    np.testing.assert_allclose(position, plans.pose[goals[again], :2] - plans.pose[rows[again], :2], atol=1e-5)


def test_steps_of_a_plan_are_told_by_time_where_decisions_come_more_often(tmp_path):
    data = Rows.of(read_plans([write_log(tmp_path / "often.db", episodes=2, steps=4, every=4)]))
    assert data.later[0].tolist() == [0, 4, 8] and data.later[14].tolist() == [14, 15, 15] and data.later[16].tolist()[0] == 16


def test_ways_on_which_the_plan_was_not_followed_teach_nothing_by_hindsight(tmp_path):
    path = write_log(tmp_path / "plans.db", episodes=1, two_minds=False)
    plans = read_plans([path])
    plans.done[3] += 0.5
    data = Rows.of(plans)
    assert data.until.tolist() == [3, 3, 3, 3, 7, 7, 7, 7]


def test_plans_that_break_a_guardrail_are_not_cloned_and_those_that_led_nowhere_less(tmp_path):
    plans = read_plans([write_log(tmp_path / "plans.db", episodes=20, two_minds=False)])
    plans.feasible[5] = False
    plans.energy[10:13] = 9.0, 9.0, 0.1
    weight = Rows.of(plans).weight
    assert weight[5] == 0 and weight[10] < 0.8 < weight[11]
    target, _, goals = targets(
        Rows.of(plans), np.array([10]), CONFIG.model_copy(update={"hindsight": 0.0}), np.random.default_rng(0)
    )
    assert goals[0] == -1 and np.array_equal(target[0], plans.plan[10])


def test_it_does_what_the_planner_would_and_knows_where_it_can_not_tell(plans, folder):
    section = add_policy(folder, plans, CONFIG, seed=1)
    policy = create("policy", PluginSpec(plugin="distilled", model=str(folder)), RobotParameters())
    random = np.random.default_rng(5)
    place, goal = random.uniform(-1, 1, (400, 2)), random.uniform(-1, 1, (400, 2))
    state = WorldState(0.0, place[:, None], np.c_[place, np.zeros(400)], np.zeros((400, 2)), "eyes")
    found = policy.answer(state, Goal(position=goal, representation=goal[:, None]))
    wanted = np.stack([walk(*each) for each in zip(place, goal, strict=True)])
    error = np.abs(found.plan[:, 0].numpy() - wanted[:, 0]).max(-1)
    left = place[:, 0] < -0.1
    assert np.median(error[left]) < 0.3 < np.median(error[place[:, 0] > 0.1])
    sure = found.confidence.numpy()
    assert sure[left].mean() > sure[place[:, 0] > 0.1].mean() + 0.2
    told = section["confidence"]
    assert told["means"] == "agreement" and told["auc"]["agreement"] > 0.8 and told["expected_calibration_error"] < 0.2
    assert sum(at["rows"] for at in told["reliability"]) == section["rows"]["test"]
    assert section["encoder"] == "eyes" and section["logs"][0]["rows"] == len(plans)


def test_energies_say_what_no_better_means(plans, folder):
    def energies(rows, candidates):  # how far from the goal each plan ends
        end = torch.from_numpy(plans.pose[rows, :2])[:, None] + SPEED * candidates.sum(2)
        return (torch.from_numpy(plans.position[rows])[:, None] - end).norm(dim=-1)

    told = add_policy(folder, plans, CONFIG.model_copy(update={"steps": 60}), energies=energies)["confidence"]
    assert told["means"] == "regret" and {"regret", "agreement"} <= set(told["auc"])
    assert told["good"]["test"] > 0.5  # of two minds, Mode-2 does worse than the mean of both


def test_steps_data_and_seed_decide_the_weights(plans):
    rows, short = split(plans)["train"], CONFIG.model_copy(update={"steps": 12})
    first, again, other = (train(plans, rows, short, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["weight0"], other["weight0"])


def test_episodes_are_held_out_whole_and_too_few_are_refused(plans, tmp_path):
    parts = split(plans)
    episodes = [set(plans.episode[rows].tolist()) for rows in parts.values()]
    assert sum(map(len, episodes)) == len(set.union(*episodes)) == 60 and all(len(each) >= 4 for each in episodes)
    with pytest.raises(InputError, match="5 episodes; 20 are needed"):
        split(read_plans([write_log(tmp_path / "few.db", episodes=5)]))


def test_a_log_of_single_decisions_is_one_line(tmp_path, folder, capsys):
    path = write_log(tmp_path / "single.db", episodes=30, steps=1)
    for kind in ({}, {"kind": "frames", "task": "two_room"}):
        (folder / "card.yaml").write_text(yaml.safe_dump({"sha256": {"encoder": "eyes"}} | kind))
        assert main(["train", "--head", "policy", "--model", str(folder), "--data", str(path), "--steps", "3"]) == 2
        error = capsys.readouterr().err.strip()
        assert "single.db: every episode" in error and "log whole episodes" in error and "\n" not in error
    with pytest.raises(InputError, match="one decision"):
        add_policy(folder, read_plans([path]), CONFIG)
    plans = read_plans([write_log(tmp_path / "more.db", episodes=30, steps=1), write_log(tmp_path / "two.db", steps=2)])
    assert len(split(plans)["train"]) > 60, "some episodes that go on are enough"


def test_a_model_that_was_replaced_meanwhile_is_left_alone(plans, folder):
    def replaced(_):
        (folder / "card.yaml").write_text(yaml.safe_dump({"name": "toy", "sha256": {"encoder": "mind"}}))

    with pytest.raises(InputError, match="replaced by another model"):
        add_policy(folder, plans, CONFIG.model_copy(update={"steps": 30}), report=replaced)
    assert not (folder / "policy.safetensors").exists() and "policy" not in weights.read_card(folder)


def test_probabilities_rise_with_the_score_and_are_those_observed():
    random = np.random.default_rng(0)
    score = random.normal(size=4000)
    good = random.random(4000) < 1 / (1 + np.exp(-2 * score))
    scores, probabilities = isotonic(score, good)
    assert (np.diff(scores) > 0).all() and (np.diff(probabilities) > 0).all()
    at = np.interp(np.array([-1.0, 0.0, 1.0]), scores, probabilities)
    np.testing.assert_allclose(at, 1 / (1 + np.exp([2.0, 0.0, -2.0])), atol=0.08)
    assert area(score, good) == pytest.approx(0.85, abs=0.03) and area(np.zeros(4000), good) == pytest.approx(0.5)
    assert 0 < isotonic(np.arange(50.0), np.ones(50, bool))[1].max() < 1


def test_a_log_that_has_nothing_to_learn_or_wild_values_is_one_line(plans, folder):
    broken = dataclasses.replace(plans, feasible=plans.step < -1)
    with pytest.raises(InputError, match="no feasible plan to learn from"):
        add_policy(folder, broken, CONFIG)
    held_out = np.isin(plans.episode, np.unique(plans.episode[split(plans)["calibration"]]))
    with pytest.raises(InputError, match="hardly a feasible plan in the held-out"):
        add_policy(folder, dataclasses.replace(plans, feasible=~held_out), CONFIG.model_copy(update={"steps": 3}))
    wild = dataclasses.replace(plans, plan=np.where(plans.plan > 0, np.float32(np.inf), plans.plan))
    with pytest.raises(CollapseError, match="the loss is not finite; lower learning_rate"):
        train(wild, np.arange(len(plans)), CONFIG)
    assert "policy" not in weights.read_card(folder)["sha256"]
