"""Gradients through the world models: what optimizers that differentiate rely on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from learned_model import write_untrained

from objective_agent import plugins
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.types import Goal, NamedGuardrail, Problem, WeightedObjective, WorldState

ROBOT = RobotParameters()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_untrained(tmp_path_factory.mktemp("models") / "untrained")


def make(folder, name):
    spec = PluginSpec(plugin=name, **({"model": str(folder)} if name == "jepa" else {}))
    return plugins.create("world_model", spec, ROBOT)


def state() -> WorldState:
    rng = np.random.default_rng(1)
    return WorldState(
        stamp=5.0,
        representation=rng.normal(size=(1, 1, 32)).astype(np.float32),
        pose=np.array([[0.3, -0.2, 0.5]]),
        velocity=np.array([[0.2, 0.1]]),
        model="m",
        points=np.array([[[2.0, 1.0], [1.5, -1.0]]]),
        sent_stamps=np.array([4.9]),
        sent=np.array([[[0.2, 0.1]]]),
    ).to_torch()


ACTIONS = torch.tensor([0.31, 0.23]) + 0.05 * torch.randn(1, 3, 5, 2, generator=torch.Generator().manual_seed(0))


def parts(found) -> dict[str, torch.Tensor]:
    return {"poses": found.poses, "velocities": found.velocities, "representations": found.representations, **found.readouts}


def test_the_learned_models_two_ways_of_imagining_agree(folder):
    model = make(folder, "jepa")
    plain, kept = model.rollout(state(), ACTIONS, 3), model.rollout(state(), ACTIONS.clone().requires_grad_(), 3)
    assert not plain.poses.requires_grad
    for name, value in parts(kept).items():
        assert value.requires_grad, name
        torch.testing.assert_close(value.detach(), parts(plain)[name], atol=2e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("name", ["unicycle", "jepa"])
def test_the_gradient_says_what_a_small_change_does(folder, name):
    model, futures = make(folder, name), 2
    generator = torch.Generator().manual_seed(2)
    plain = parts(model.rollout(state(), ACTIONS, futures))
    ask = {key: torch.randn(value.shape, generator=generator) for key, value in plain.items() if key != "people_expected"}

    def asked(actions):
        found = parts(model.rollout(state(), actions, futures))
        return sum((found[key].double() * weights).sum() for key, weights in ask.items())

    actions = ACTIONS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(asked(actions), actions)
    way = torch.randn(ACTIONS.shape, generator=generator)
    change = 2e-3 * way
    measured = float(asked(ACTIONS + change) - asked(ACTIONS - change)) / 4e-3
    assert measured == pytest.approx(float((gradient * way).sum()), rel=0.03, abs=0.03)


@pytest.mark.parametrize("world_model", ["unicycle", "jepa"])
@pytest.mark.parametrize("optimizer", ["gradient", "augmented_lagrangian"])
def test_the_robots_whole_problem_can_be_differentiated_even_inside_inference_mode(folder, world_model, optimizer):
    model = make(folder, world_model)
    names = ("goal_pose", "smooth", "effort", "bump", "courtesy")
    with torch.inference_mode():
        problem = Problem(
            state=model.advance(state(), 5.25),
            goal=Goal(position=torch.tensor([[1.5, 0.4]])),
            world_model=model,
            objectives=[WeightedObjective(n, 1.0, plugins.create("objective", PluginSpec(plugin=n), ROBOT)) for n in names],
            guardrails=[NamedGuardrail("clearance", plugins.create("guardrail", PluginSpec(plugin="clearance"), ROBOT))],
            horizon=6,
            dt=0.2,
            futures=2,
            action_low=torch.tensor([-0.15, -1.8]),
            action_high=torch.tensor([0.6, 1.8]),
            rate_limit=torch.tensor([1.0, 3.0]),
            last_action=torch.tensor([[0.2, 0.1]]),
        )
        once = plugins.create("optimizer", PluginSpec(plugin=optimizer, iterations=1), ROBOT).solve(problem, math.inf)
        plan = plugins.create("optimizer", PluginSpec(plugin=optimizer, iterations=12), ROBOT).solve(problem, math.inf)
        plain = plugins.create("optimizer", PluginSpec(plugin="mppi"), ROBOT).solve(problem, math.inf)
    assert plan.feasible.all()
    assert plan.energy[0] < once.energy[0]
    assert torch.isfinite(plain.energy).all()
