"""Mode-1: what it proposes, how sure it is, when it may act, and which files it refuses."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_problems
from policy_models import policy_arrays, write_policy
from toy_problems import ROBOT, optimizer, reach

from objective_agent.actor.habits import Habits, fitted
from objective_agent.actor.policy import DistilledPolicy
from objective_agent.actor.policy_network import PolicyNetwork, PolicyShape
from objective_agent.config import PluginSpec
from objective_agent.plugins import create
from objective_agent.types import ConfigurationError, Goal, InputError, WorldState

SHAPE = PolicyShape(features=3, horizon=4, hidden=16)


def load(folder) -> DistilledPolicy:
    return create("policy", PluginSpec(plugin="distilled", model=str(folder)), ROBOT)


def seen(batch=2, tokens=1, features=3, **changes) -> WorldState:
    random = np.random.default_rng(0)
    values = {"pose": np.zeros((batch, 3)), "velocity": np.zeros((batch, 2))} | changes
    return WorldState(0.0, random.normal(size=(batch, tokens, features)), model="eyes", **values)


@pytest.fixture
def folder(tmp_path):
    return write_policy(tmp_path / "model", SHAPE)


def test_it_proposes_the_mean_the_members_and_draws_that_repeat(folder):
    policy, state = load(folder), seen()
    goal = Goal(representation=np.ones((2, 1, 3)))
    found = policy.propose(state, goal, 9)
    assert found.shape == (2, 9, 4, 2) and bool((found.abs() <= 1).all())
    torch.testing.assert_close(found[:, 1:5].mean(1), found[:, 0])
    assert len({tuple(each) for each in found[0].flatten(1).tolist()}) == 9
    torch.testing.assert_close(policy.propose(seen(), goal, 9), found)
    torch.testing.assert_close(policy.propose(state, goal, 3), found[:, :3])
    alone = policy.propose(replace(state, representation=state.representation[1:], pose=state.pose[1:]),
                           Goal(representation=np.ones((1, 1, 3))), 9)  # fmt: skip
    torch.testing.assert_close(alone[0], found[1])


def test_confidence_falls_with_disagreement_and_stays_a_probability(tmp_path):
    arrays = policy_arrays(SHAPE)
    found = []
    for apart in (0.0, 0.1, 1.0, 3.0):
        arrays["bias2"] = np.zeros_like(arrays["bias2"])
        arrays["bias2"][:, 0, :8] = apart * np.linspace(-1, 1, SHAPE.members)[:, None]
        arrays["weight2"] = np.zeros_like(arrays["weight2"])
        policy = load(write_policy(tmp_path / f"model{apart}", SHAPE, arrays))
        found.append(float(policy.confidence(seen(1), Goal(representation=np.ones((1, 1, 3))))[0]))
    assert found == sorted(found, reverse=True) and found[0] == pytest.approx(0.9) and found[-1] == pytest.approx(0.1, abs=0.05)


def test_the_position_of_a_goal_is_seen_from_the_robot(tmp_path):
    shape = PolicyShape(features=3, goal_tokens=0, position=True, velocity=True, horizon=4, hidden=16)
    policy = load(write_policy(tmp_path / "robot", shape))
    here = seen(1, pose=np.array([[1.0, 2.0, math.pi / 2]]), velocity=np.array([[0.3, 0.1]]))
    origin = replace(here, pose=np.zeros((1, 3)))
    found = policy.propose(here, Goal(position=np.array([[1.0, 4.0]])), 2)
    torch.testing.assert_close(found, policy.propose(origin, Goal(position=np.array([[2.0, 0.0]])), 2))


@pytest.mark.parametrize(
    ("state", "goal", "message"),
    [(seen(features=4), Goal(representation=np.ones((2, 1, 4))), "state has shape"),
     (seen(), Goal(representation=np.ones((2, 1, 4))), "goal's representation has shape"),
     (seen(), Goal(position=np.ones((2, 2))), "goal's representation is missing")],
)  # fmt: skip
def test_what_it_was_not_trained_with_is_refused(folder, state, goal, message):
    with pytest.raises(InputError, match=message):
        load(folder).propose(state, goal, 2)


def test_models_that_have_no_policy_or_a_broken_one_are_refused(tmp_path):
    write_policy(tmp_path / "other", SHAPE, encoder="eyes")
    card = tmp_path / "other" / "card.yaml"
    card.write_text(
        card.read_text()
        .replace("encoder: eyes\nsha256", "encoder: mind\nsha256")
        .replace("policy:\n  encoder: eyes", "policy:\n  encoder: mind")
    )
    with pytest.raises(ConfigurationError, match=r"trained for encoder mind.*train --head policy"):
        load(tmp_path / "other")
    for name, change, message in (
        ("weight1", lambda a: np.full_like(a, np.nan), "weight1: NaN"),
        ("weight1", lambda a: a[:, :-1], "do not fit"),
        ("confidence.scores", lambda a: a[::-1].copy(), "not calibrated"),
        ("confidence.weight", lambda a: a[:2], "not calibrated"),
    ):
        arrays = policy_arrays(SHAPE)
        arrays[name] = change(arrays[name])
        folder = write_policy(tmp_path / f"{name}{message[:3]}", SHAPE, arrays)
        with pytest.raises(ConfigurationError, match=message):
            load(folder)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "card.yaml").write_text("sha256: {encoder: eyes}\n")
    with pytest.raises(ConfigurationError, match="has no policy; train one"):
        load(tmp_path / "none")
    path = write_policy(tmp_path / "damaged", SHAPE) / "policy.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ConfigurationError, match="sha256"):
        load(tmp_path / "damaged")


def test_the_scene_and_many_tokens_are_read():
    torch.manual_seed(0)
    for shape in (PolicyShape(features=4, places=9), PolicyShape(features=64, dynamic=20, goal_tokens=20, frames=2)):
        network = PolicyNetwork(shape).eval()
        state = torch.randn(3, shape.frames * shape.tokens, shape.features)
        goal = torch.randn(3, shape.goal_tokens, shape.features)
        mean, log_std = network(state, goal)
        assert mean.shape == log_std.shape == (3, 4, 4, 2)
        for token in (0, shape.frames * shape.tokens - 1):
            changed = state.clone()
            changed[:, token] += 1
            assert (network(changed, goal)[0] - mean).abs().amax() > 1e-5


class Sure:
    """A policy that goes straight, as sure as it is told."""

    def __init__(self, action=(5.0, 2.5), confidence=0.95, horizon=6):
        self.plan, self.sure = torch.tensor(action).expand(1, horizon, 2), confidence

    def answer(self, state, goal):
        from objective_agent.actor.policy import Answer

        return Answer(self.plan, self.plan[:, None], torch.zeros_like(self.plan), torch.tensor([self.sure]))

    def propose(self, state, goal, n):
        return self.plan[:, None].expand(-1, n, -1, -1)

    def confidence(self, state, goal):
        return torch.tensor([self.sure])


def habits(mode, policy=None, **search) -> Habits:
    return Habits(optimizer("cem", samples=64, use_library=False, **search), policy or Sure(), mode, confidence=0.9)


def test_who_acts_is_the_modes_matter_and_the_plan_says_it():
    problem = reach()
    acted = {mode: habits(mode).solve(problem, math.inf).mode for mode in ("plan", "propose", "adaptive", "policy")}
    assert acted == {"plan": "optimizer", "propose": "optimizer", "adaptive": "policy", "policy": "policy"}
    unsure, sure = habits("adaptive", Sure(confidence=0.85)), habits("adaptive")
    assert unsure.solve(problem, math.inf).mode == "optimizer"
    assert sure.solve(problem, math.inf, surprised=True).mode == "optimizer"
    plan = habits("policy", Sure(confidence=0.2)).solve(problem, math.inf)
    assert plan.mode == "policy" and float(plan.confidence) == pytest.approx(0.2) and plan.iterations == 0


def test_plan_alone_decides_as_the_optimizer_does():
    problem = reach()
    alone, beside = optimizer("cem").solve(problem, math.inf), Habits(optimizer("cem"), None, "plan").solve(problem, math.inf)
    torch.testing.assert_close(alone.actions, beside.actions, rtol=0, atol=0)
    assert beside.confidence is None


def test_proposals_join_the_search():
    wanted, energy = toy_problems.best_plan((1.0, 0.5))
    policy = Sure()
    policy.plan = torch.tensor(wanted, dtype=torch.float32)[None]
    few = habits("propose", policy, iterations=1, noise=0.01).solve(reach(), math.inf)
    assert float(few.energy) == pytest.approx(energy, rel=1e-3)
    assert float(habits("plan", iterations=1, noise=0.01).solve(reach(), math.inf).energy) > 1.1 * energy


def test_without_time_for_the_search_the_policy_answers():
    slow = reach(world_model=toy_problems.DoubleIntegrator(lambda: time.sleep(0.03)))
    mind = habits("adaptive", Sure(confidence=0.1), iterations=2)
    assert mind.solve(slow, math.inf).mode == "optimizer"
    late = mind.solve(slow, time.perf_counter() + 0.005)
    assert late.mode == "fallback" and late.stop_reason == "habit"


def test_a_guardrail_is_no_habits_matter():
    def left(trajectory):  # nothing may come farther than x = 0.4
        return 0.4 - trajectory.poses[..., 0]

    rushing = reach(guardrails=[left])
    assert habits("adaptive").solve(rushing, math.inf).mode == "optimizer"
    held = habits("policy").solve(rushing, math.inf)
    assert held.mode == "braking" and bool((held.actions == 0).all())
    slow = habits("adaptive", Sure((0.2, 0.2))).solve(rushing, math.inf)
    assert slow.mode == "policy" and bool(slow.feasible.all()) and float(slow.margins["rail0"]) > 0


def test_a_policy_that_has_become_nan_does_not_act():
    policy = Sure((math.nan, 0.0), confidence=0.99)
    assert habits("adaptive", policy).solve(reach(guardrails=[lambda t: 1 + 0 * t.poses[..., 0]]), math.inf).mode == "optimizer"
    assert habits("adaptive", policy).solve(reach(), math.inf).mode == "optimizer"
    held = habits("policy", policy).solve(reach(), math.inf)
    assert held.mode == "braking" and bool((held.actions == 0).all()) and not bool(held.feasible.any())
    mean, log_std = torch.full((1, 4, 4, 2), torch.nan), torch.zeros(1, 4, 4, 2)
    from policy_models import CALIBRATED

    from objective_agent.actor.policy import Confidence, predictors_of

    sure = Confidence(**CALIBRATED)
    assert sure(predictors_of(mean, log_std))[0] == 0


def test_plans_of_another_length_are_cut_or_end_standing():
    plan = torch.ones(1, 2, 4, 2)
    assert fitted(plan, 3).shape == (1, 2, 3, 2)
    longer = fitted(plan, 6)
    assert longer.shape == (1, 2, 6, 2) and bool((longer[:, :, 4:] == 0).all()) and bool((longer[:, :, :4] == 1).all())
