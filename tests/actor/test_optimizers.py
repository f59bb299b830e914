"""Both optimizers on problems with known answers: optimum, constraints, deadline, determinism, and what happens to nonsense."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_problems import DoubleIntegrator, best_plan, optimizer, reach, squared_action, squared_distance

from objective_agent.actor import search
from objective_agent.types import InputError, Plan

BOTH = pytest.mark.parametrize("name", ["mppi", "cem"])
PATIENT = {"iterations": 60, "samples": 128, "tolerance": 0.0, "patience": 60, "use_library": False}
FOREVER = math.inf


def inside(limit):
    return lambda trajectory: limit - trajectory.poses[..., 0]


@BOTH
def test_finds_the_optimum_of_a_linear_quadratic_problem(name):
    goal = (1.0, 0.5)
    actions, least = best_plan(goal)
    plan = optimizer(name, noise=0.3, **PATIENT).solve(reach([goal]), FOREVER)
    assert least <= plan.energy[0] * (1 + 1e-5)
    assert plan.energy[0] < 1.03 * least
    assert np.abs(plan.actions[0].numpy() - actions).max() < 0.25 * np.abs(actions).max()
    assert plan.mode == "optimizer"
    assert plan.energies["near"][0] + plan.energies["effort"][0] == pytest.approx(float(plan.energy[0]), rel=1e-5)


@BOTH
def test_a_wall_before_the_goal_is_kept(name):
    """The goal is beyond x = 0.4, which is not allowed: the best plan goes to the wall and no farther."""
    plan = optimizer(name, noise=0.3, **PATIENT).solve(reach([(1.0, 0.0)], guardrails=[inside(0.4)]), FOREVER)
    assert plan.feasible.all()
    assert plan.margins["rail0"][0] >= 0
    assert 0.3 < plan.poses[0, 0, :, 0].max() <= 0.4
    free = optimizer(name, noise=0.3, **PATIENT).solve(reach([(1.0, 0.0)]), FOREVER)
    assert free.poses[0, 0, :, 0].max() > 0.5


@BOTH
def test_a_feasible_plan_beats_any_infeasible_one(name):
    """Whatever drives on has almost no energy, but may not be done."""
    problem = reach(
        [(5.0, 0.0)],
        objectives={"go": lambda t, goal: torch.exp(-t.poses[..., 0])},
        guardrails=[lambda t: 1e-4 - t.poses[..., :2].norm(dim=-1)],
    )
    plan = optimizer(name).solve(problem, FOREVER)
    assert plan.feasible.all()
    assert plan.energy[0] > plan.candidate_energy[0].min()
    assert plan.poses[0, 0, :, :2].norm(dim=-1).max() <= 1e-4


@BOTH
def test_with_nothing_feasible_it_brakes_and_says_by_how_much_braking_fails(name):
    problem = reach(guardrails=[lambda t: torch.full_like(t.poses[..., 0], 0.5), lambda t: -0.2 - t.poses[..., 0].abs()])
    plan = optimizer(name).solve(problem, FOREVER)
    assert plan.mode == "braking"
    assert not plan.feasible.any()
    assert torch.equal(plan.actions, torch.zeros(1, 6, 2))
    assert plan.margins["rail0"][0] == pytest.approx(0.5)
    assert plan.margins["rail1"][0] == pytest.approx(-0.2)
    assert plan.violation[0] == pytest.approx(0.2)
    assert torch.equal(plan.poses, torch.zeros(1, 1, 6, 3))


@BOTH
def test_the_worst_future_decides_what_is_allowed_and_the_mean_what_is_good(name):
    def two_futures(trajectory, goal):
        spread = torch.tensor([0.0, 4.0])[:, None]
        return torch.zeros_like(trajectory.poses[..., 0]) + spread

    def second_future_forbidden(trajectory):
        return torch.tensor([1.0, -1.0])[:, None].expand_as(trajectory.poses[..., 0])

    plan = optimizer(name).solve(reach(objectives={"two": two_futures}, futures=2), FOREVER)
    assert plan.energy[0] == pytest.approx(2.0)
    assert plan.poses.shape == (1, 2, 6, 3)
    plan = optimizer(name).solve(reach(guardrails=[second_future_forbidden], futures=2), FOREVER)
    assert plan.mode == "braking"
    assert plan.margins["rail0"][0] == -1


@BOTH
@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_candidates_without_a_finite_energy_are_never_chosen(name, nonsense):
    def broken_ahead(trajectory, goal):
        return torch.where(trajectory.poses[..., 0] > 0.1, nonsense, squared_distance(trajectory, goal))

    plan = optimizer(name, iterations=5).solve(reach(objectives={"near": broken_ahead}), FOREVER)
    assert plan.feasible.all()
    assert torch.isfinite(plan.energy).all()
    assert plan.poses[..., 0].max() <= 0.1
    assert torch.isfinite(plan.actions).all()


@BOTH
def test_all_nan_is_braking(name):
    nan_energy = {"near": lambda t, goal: t.poses[..., 0] * math.nan}
    nan_margin = [lambda t: t.poses[..., 0] * math.nan]
    for problem in (reach(objectives=nan_energy), reach(guardrails=nan_margin)):
        plan = optimizer(name).solve(problem, FOREVER)
        assert plan.mode == "braking"
        assert torch.equal(plan.actions, torch.zeros_like(plan.actions))


@BOTH
def test_a_nan_warm_start_does_no_harm(name):
    problem = replace(reach(), warm_start=np.full((1, 6, 2), math.nan))
    plan = optimizer(name).solve(problem, FOREVER)
    assert plan.feasible.all()
    assert torch.isfinite(plan.actions).all()


class TestDeadline:
    """On a clock that only a rollout moves: each takes one second."""

    @pytest.fixture
    def slow(self, monkeypatch):
        clock = SimpleNamespace(now=100.0)
        monkeypatch.setattr(search, "time", SimpleNamespace(perf_counter=lambda: clock.now, thread_time=lambda: clock.now))

        def second():
            clock.now += 1.0

        return lambda: reach(world_model=DoubleIntegrator(second))

    @BOTH
    @pytest.mark.parametrize(
        ("allowed", "iterations", "reason"),
        [(3.5, 3, "deadline"), (1.9, 1, "deadline"), (0.0, 1, "deadline"), (-50.0, 1, "deadline"), (FOREVER, 9, "iterations")],
    )
    def test_no_iteration_begins_that_would_end_too_late(self, slow, name, allowed, iterations, reason):
        made = optimizer(name, iterations=9, tolerance=0.0, patience=99)
        problem = slow()
        plan = made.solve(problem, 100.0 + allowed)
        assert (plan.iterations, plan.stop_reason) == (iterations, reason)
        assert problem.world_model.rollouts == iterations
        assert plan.seconds == pytest.approx(iterations)
        assert plan.feasible.all()

    def test_one_slow_iteration_does_not_stop_the_search_for_ever(self, slow, monkeypatch):
        made = optimizer(iterations=3, tolerance=0.0, patience=99)
        made.solve(slow(), FOREVER)
        quick = [made.solve(reach(), 101.0 + search.time.perf_counter()).iterations for _ in range(3)]
        assert quick[-1] == 3


@BOTH
def test_it_stops_once_it_has_converged(name):
    made = optimizer(name, iterations=100, tolerance=0.01, patience=2)
    plan = made.solve(reach(), FOREVER)
    assert plan.stop_reason == "converged"
    assert 2 < plan.iterations < 100
    idle = made.solve(reach([(0.0, 0.0)]), FOREVER)
    assert idle.iterations == 3
    assert torch.equal(idle.actions, torch.zeros_like(idle.actions))


def test_what_every_plan_costs_alike_need_not_end_the_search():
    """A far goal adds to every energy: measured by what the plan gains over braking, it changes nothing."""

    def iterations(whole, offset):
        objectives = {"near": lambda t, goal: squared_distance(t, goal) + offset, "effort": squared_action}
        made = optimizer("cem", iterations=100, tolerance=0.01, tolerance_of=whole, patience=2)
        return made.solve(reach(objectives=objectives), FOREVER).iterations

    assert iterations("gain", 0.0) == iterations("gain", 100.0) > iterations("energy", 100.0)


@BOTH
def test_without_a_feasible_plan_it_goes_on_searching(name):
    hopeless = reach(guardrails=[lambda t: t.poses[..., 0] * 0 - 1])
    plan = optimizer(name, iterations=7, rescue=3).solve(hopeless, FOREVER)
    assert (plan.iterations, plan.stop_reason) == (10, "iterations")
    assert optimizer(name, iterations=7, rescue=3, tolerance=0.0, patience=99).solve(reach(), FOREVER).iterations == 7


@BOTH
def test_more_thinking_is_never_worse(name):
    energies = [
        float(optimizer(name, **{**PATIENT, "iterations": n}).solve(reach(), FOREVER).energy[0]) for n in (1, 2, 4, 8, 16)
    ]
    assert energies == sorted(energies, reverse=True)
    assert energies[-1] < 0.8 * energies[0]


@BOTH
def test_the_same_seed_gives_the_same_plans(name):
    def two_plans(made):
        return torch.cat([made.solve(reach(), FOREVER).actions for _ in range(2)])

    made = optimizer(name, seed=3)
    first = two_plans(made)
    made.reset(3)
    assert torch.equal(first, two_plans(made))
    assert torch.equal(first, two_plans(optimizer(name, seed=3)))
    assert not torch.equal(first, two_plans(optimizer(name, seed=4)))
    assert not torch.equal(first[0], first[1])


@BOTH
def test_a_warm_start_and_a_proposal_save_work(name):
    actions, least = best_plan((1.0, 0.5))
    little = {"iterations": 1, "samples": 16, "use_library": False}
    cold = optimizer(name, **little).solve(reach(), FOREVER).energy[0]
    warm = optimizer(name, **little).solve(replace(reach(), warm_start=actions[None]), FOREVER).energy[0]
    proposed = optimizer(name, **little).solve(replace(reach(), proposals=np.stack([actions * 0, actions])[None]), FOREVER)
    assert warm < 1.001 * least < 0.8 * cold
    assert proposed.energy[0] < 1.001 * least


@BOTH
def test_problems_in_a_batch_get_the_answers_they_would_get_alone(name):
    goals = [(1.0, 0.5), (-0.5, 0.2), (0.0, 0.0), (0.3, -1.0)]
    few = {"iterations": 4, "patience": 99, "tolerance": 0.0}
    walls = [inside(0.4), lambda t: t.poses[..., 1] + 0.3]
    together = optimizer(name, **few).solve(reach(goals, guardrails=walls), FOREVER)
    assert together.actions.shape == (4, 6, 2)
    assert together.poses.shape == (4, 1, 6, 3)
    for b, goal in enumerate(goals):
        alone = optimizer(name, **few).solve(reach([goal], guardrails=walls), FOREVER)
        torch.testing.assert_close(together.actions[b], alone.actions[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.energy[b], alone.energy[0], atol=1e-5, rtol=1e-4)


@BOTH
def test_one_infeasible_problem_does_not_stop_the_others(name):
    forbidden = [lambda t: torch.tensor([1.0, -1.0])[:, None, None, None].expand(t.poses.shape[:-1])]
    plan = optimizer(name).solve(reach([(1.0, 0.0), (1.0, 0.0)], guardrails=forbidden), FOREVER)
    assert plan.feasible.tolist() == [True, False]
    assert plan.actions[0].abs().max() > 0
    assert plan.actions[1].abs().max() == 0


@settings(deadline=None, max_examples=25)
@given(
    st.sampled_from(["mppi", "cem"]),
    st.floats(0.05, 2),
    st.floats(0, 2),
    st.floats(0.5, 20),
    st.floats(-1, 1),
    st.integers(1, 12),
    st.integers(0, 100),
)
def test_bounds_and_rates_hold_for_every_plan(name, high, low, rate, last, horizon, seed):
    last = min(max(last, -low), high)
    problem = reach([(9.0, -9.0)], horizon=horizon, action_low=[-low, -low], action_high=[high, high], rate_limit=[rate, rate])
    problem = replace(problem, last_action=np.array([[last, last]]))
    plan = optimizer(name, seed=seed, samples=16).solve(problem, FOREVER)
    actions = plan.actions[0].numpy()
    assert (actions <= high + 1e-5).all() and (actions >= -low - 1e-5).all()
    if actions.any():  # the braking plan may drop to zero at once: nothing is allowed to forbid braking
        change = np.diff(np.concatenate([[[last, last]], actions]), axis=0)
        assert (np.abs(change) <= rate * problem.dt + 1e-5).all()


def test_the_plan_shows_what_was_searched():
    plan = optimizer(samples=20, iterations=2, tolerance=0.0, patience=9).solve(reach(), FOREVER)
    assert isinstance(plan, Plan)
    assert plan.candidates.shape == (1, 22, 6, 3)
    assert plan.candidate_energy.shape == plan.candidate_feasible.shape == (1, 22)
    assert plan.evaluations > 40
    assert (plan.stamp, plan.dt) == (4.0, 0.2)
    assert set(plan.energies) == {"near", "effort"}


def test_objectives_with_weight_zero_do_not_count():
    problem = reach(objectives={"near": squared_distance, "effort": squared_action})
    silent = replace(problem, objectives=[problem.objectives[0], replace(problem.objectives[1], weight=0.0)])
    plan = optimizer().solve(silent, FOREVER)
    assert plan.energies["effort"][0] == 0
    assert plan.energy[0] == plan.energies["near"][0]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"warm_start": np.zeros((1, 5, 2))}, "warm_start"),
        ({"proposals": np.zeros((1, 3, 6, 3))}, "proposals"),
        ({"last_action": np.zeros((2, 2))}, "last_action"),
        ({"last_action": np.full((1, 2), math.nan)}, "last_action"),
        ({"action_low": np.array([1.0, 1.0]), "action_high": np.array([-1.0, 1.0])}, "action_low"),
        ({"rate_limit": np.zeros(2)}, "rate_limit"),
    ],
)
def test_a_problem_that_makes_no_sense_is_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        optimizer().solve(replace(reach(), **wrong), FOREVER)
