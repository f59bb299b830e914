"""Many futures, one number: CVaR and quantiles with known answers, what they change in a plan, and who may change them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from toy_problems import DoubleIntegrator, optimizer, reach

from objective_agent.actor.evaluation import evaluate
from objective_agent.actor.problem import as_tensors
from objective_agent.actor.risk import excused, tail_weights
from objective_agent.config import ActorParameters, RobotParameters, Task
from objective_agent.configurator.merge import Merge
from objective_agent.planner import Planner
from objective_agent.surprise import cautious
from objective_agent.types import Trajectory, WorldState


def futures(values):
    """A term that says `values` [K, H] whatever the trajectory."""
    values = torch.tensor(values, dtype=torch.float32)
    return lambda trajectory, goal=None: values.expand(*trajectory.poses.shape[:2], *values.shape)


def worth(objectives, guardrails=(), count=4, **risk):
    problem = reach(horizon=1, futures=count, objectives=objectives, guardrails=guardrails)
    return evaluate(replace(as_tensors(problem), **risk), torch.zeros(1, 2, 1, 2))


@pytest.mark.parametrize(
    ("tail", "expected"),
    [(1.0, 3.0), (0.75, 11 / 3), (0.5, 4.5), (0.375, (6 + 0.5 * 3) / 1.5), (0.25, 6.0), (0.01, 6.0)],
)
def test_cvar_is_the_mean_of_the_costly_share(tail, expected):
    found = worth({"cost": futures([[1.0], [6.0], [2.0], [3.0]])}, tail=tail)
    torch.testing.assert_close(found.energy, torch.full((1, 2), expected))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=9), st.floats(0.02, 1.0))
def test_it_is_the_minimum_of_rockafellar_and_uryasev(energies, tail):
    values = torch.tensor(energies, dtype=torch.float64)
    thresholds = torch.cat([values, torch.zeros(1, dtype=torch.float64)])
    least = min(float(t + (values - t).clamp(min=0).mean() / tail) for t in thresholds)
    weights = tail_weights(values, tail)
    assert float((weights * values).sum()) == pytest.approx(least, rel=1e-4, abs=1e-4)
    assert float(weights.sum()) == pytest.approx(1) and float(weights.max()) <= 1 / (tail * len(energies)) + 1e-6


def test_futures_are_compared_as_wholes_and_the_objectives_add_up():
    """Each objective alone is worst in a future in which the other costs nothing; the whole is worst in the third."""
    found = worth({"a": futures([[6.0], [0.0], [4.0]]), "b": futures([[0.0], [6.0], [4.0]])}, count=3, tail=1 / 3)
    assert found.energy[0, 0] == pytest.approx(8.0)
    assert (found.energies["a"][0, 0], found.energies["b"][0, 0]) == (pytest.approx(4.0), pytest.approx(4.0))


def test_a_nan_in_any_future_is_never_feasible():
    assert not worth({"a": futures([[1.0], [2.0], [math.nan], [0.0]])}, tail=0.25).feasible.any()
    rail = futures([[1.0], [1.0], [math.nan], [1.0]])
    assert not worth({"a": futures([[1.0]] * 4)}, [rail], quantile=0.5).feasible.any()


def test_cvar_passes_gradients_to_the_futures_that_count():
    energy = torch.tensor([1.0, 5.0, 3.0, 2.0], requires_grad=True)
    (tail_weights(energy, 0.5) * energy).sum().backward()
    assert energy.grad.tolist() == [0.0, 0.5, 0.5, 0.0]


@pytest.mark.parametrize(("quantile", "violation"), [(1.0, 3.0), (0.76, 3.0), (0.75, 2.0), (0.5, 0.0)])
def test_guardrails_hold_in_the_stated_share_of_the_futures(quantile, violation):
    rail = futures([[1.0, 0.5], [-2.0, 1.0], [0.2, 0.0], [1.0, -3.0]])
    found = worth({"a": futures([[1.0, 1.0]] * 4)}, [rail], quantile=quantile)
    assert found.violation[0, 0] == violation
    assert found.margins["rail0"][0, 0] == -violation or (violation == 0 and found.margins["rail0"][0, 0] == 0.0)


def test_two_guardrails_share_what_may_be_excused():
    """Each holds in three of four futures, both together only in two."""
    one, other = futures([[-1.0], [1.0], [1.0], [1.0]]), futures([[1.0], [-0.5], [1.0], [1.0]])
    energy = {"a": futures([[1.0]] * 4)}
    assert worth(energy, [one], quantile=0.75).feasible.all() and worth(energy, [other], quantile=0.75).feasible.all()
    assert not worth(energy, [one, other], quantile=0.75).feasible.any()
    assert worth(energy, [one, other], quantile=0.5).feasible.all()
    assert excused([torch.tensor([[[[-1.0], [1.0], [1.0], [1.0]]]])], 0.75)[0, 0].tolist() == [True, False, False, False]


# --- what it changes in a plan ----------------------------------------------------------------------------------------------


class Shortcut(DoubleIntegrator):
    """In one of four futures the ground right of x = 0.3 is bad; the pose's third number says so."""

    model = "shortcut"

    def rollout(self, state, actions, futures=1, dt=0.2):
        imagined = super().rollout(state, actions, futures, dt)
        poses = imagined.poses.clone()
        poses[:, :, 0, :, 2] = (poses[:, :, 0, :, 0] > 0.3).float()
        return Trajectory(state, actions, poses, imagined.velocities, dt)


def away(trajectory, goal):
    return (trajectory.poses[..., 0] - 0.6).abs()


def bad(trajectory, goal=None):
    return 0.6 * trajectory.poses[..., 2]


def last(name, risk, objectives, guardrails=()) -> float:
    problem = reach(futures=4, objectives=objectives, guardrails=guardrails, world_model=Shortcut(), bound=4.0)
    plan = optimizer(name, iterations=12, patience=12, tolerance=0.0).solve(replace(problem, **risk), math.inf)
    assert bool(plan.feasible)
    return float(plan.poses[0, 1, -1, 0])


@pytest.mark.parametrize("name", ["mppi", "cem", "predictive_sampling"])
def test_the_mean_takes_a_risk_that_cvar_does_not(name):
    """At the goal: 0.15 on average, 0.6 in the costly quarter; where the ground is good: 0.3."""
    objectives = {"away": away, "bad": bad}
    assert last(name, {}, objectives) > 0.4
    assert 0.15 < last(name, {"tail": 0.25}, objectives) <= 0.3


@pytest.mark.parametrize("name", ["mppi", "random_shooting", "gradient", "hybrid", "augmented_lagrangian"])
def test_a_quantile_excuses_one_future_of_four_and_the_worst_none(name):
    rails = [lambda trajectory: 0.5 - bad(trajectory)]
    assert last(name, {"quantile": 0.75}, {"away": away}, rails) > 0.4
    assert last(name, {"quantile": 0.76}, {"away": away}, rails) <= 0.3
    assert last(name, {}, {"away": away}, rails) <= 0.3


# --- who may change it ------------------------------------------------------------------------------------------------------


class Recorder:
    """Keeps the problem that it is given."""

    def solve(self, problem, deadline):
        self.problem = problem
        return self.optimizer.solve(problem, deadline)


def asked(actor: ActorParameters, task: Task, surprise: float = 0.0):
    """(tail, quantile) of the problem that the actor's step hands to the search."""
    merge = Merge(Merge.Config(), RobotParameters())
    merge.set_parameters(actor=actor)
    snapshot = cautious(merge.configure(task, {"stamp": 1.0, "pose": np.zeros(3)}), surprise)
    planner, recorder = Planner(RobotParameters()), Recorder()
    planner.prepare(snapshot)
    recorder.optimizer, planner.optimizer = planner.optimizer, recorder
    zeros = [np.zeros(shape, np.float32) for shape in ((1, 1, 1), (1, 3), (1, 2))]
    state = WorldState(1.0, *zeros, "test", np.full((1, 4, 2), 9.0, np.float32))
    planner.decide(snapshot, state, None, 1.0, 0.0)
    return recorder.problem.tail, recorder.problem.quantile


def goal(**rest) -> Task:
    return Task(kind="goal_pose", position=(1.0, 0.0), **rest)


def test_parameters_reach_the_search_and_the_defaults_are_the_mean_and_the_worst():
    assert asked(ActorParameters(), goal()) == (1.0, 1.0)
    assert asked(ActorParameters(risk="cvar", cvar=0.2, guardrail_quantile=0.8, futures=5), goal()) == (0.2, 0.8)
    assert asked(ActorParameters(cvar=0.2), goal()) == (1.0, 1.0)


def test_a_task_can_tighten_the_quantile_and_never_loosen_it():
    loose = ActorParameters(guardrail_quantile=0.6)
    assert asked(loose, goal(guardrail_quantile=0.9))[1] == 0.9
    assert asked(ActorParameters(), goal(guardrail_quantile=0.1))[1] == 1.0
    assert asked(loose, goal(guardrail_quantile=0.1))[1] == 0.6
    for bad_value in (1.2, -0.1, math.nan):
        with pytest.raises(ValidationError):
            goal(guardrail_quantile=bad_value)


def test_a_surprised_robot_excuses_nothing():
    assert asked(ActorParameters(guardrail_quantile=0.6), goal(), surprise=2.0)[1] == 1.0


def test_while_the_robot_runs_the_quantile_stays_as_it_was_configured():
    field = ActorParameters.model_fields["guardrail_quantile"]
    assert field.default == 1.0 and field.json_schema_extra == {"read_only": True}
    with pytest.raises(ValidationError):
        ActorParameters(guardrail_quantile=0.3)
