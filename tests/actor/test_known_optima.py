"""All optimizers on problems whose answers are known by other means, and what every one of them owes its caller."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_problems import optimizer, reach

from benchmarks.optimizer_tasks import DT, NAMES, Picker, bandit, clearances, course, decision, lqr, planar, riccati, wall
from objective_agent.actor.gradient import Gradient
from objective_agent.actor.problem import as_tensors
from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.plugins import BUILTIN, create
from objective_agent.types import ConfigurationError, InputError

FOREVER = math.inf
GRADIENTS = ("gradient", "hybrid", "augmented_lagrangian")
ALL = pytest.mark.parametrize("name", NAMES)
PATIENT = {"iterations": 40, "tolerance": 0.0, "patience": 1000, "use_library": False, "samples": 128}


pytestmark = pytest.mark.usefixtures("one_thread")


def test_every_optimizer_is_here():
    assert set(NAMES) == set(BUILTIN["optimizer"])


def test_riccati_agrees_with_least_squares():
    task = lqr(start=(1.0, 0.0), velocity=(0.0, 0.0), horizon=4)
    steps = np.arange(4)
    position = np.where(steps[:, None] >= steps, DT**2 * (steps[:, None] - steps + 0.5), 0.0)
    speed = np.where(steps[:, None] >= steps, DT, 0.0)
    rows = np.concatenate([position, math.sqrt(0.2) * speed, math.sqrt(0.05) * np.eye(4)])
    wanted = np.concatenate([-np.ones(4), np.zeros(8)])
    solution = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    assert ((rows @ solution - wanted) ** 2).mean() * 12 / 4 == pytest.approx(task.optimum, rel=1e-9)
    assert riccati(np.zeros(2), 5) == 0


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("augmented_lagrangian", 1.0005),
        ("gradient", 1.01),
        ("hybrid", 1.001),
        ("icem", 1.06),
        ("cem", 1.06),
        ("predictive_sampling", 1.08),
        ("mppi", 1.25),
        ("random_shooting", 1.8),
    ],
)
def test_comes_near_riccatis_optimum_and_never_below_it(name, share):
    task = lqr()
    energy = float(optimizer(name, **PATIENT).solve(task.problem, FOREVER).energy[0])
    assert task.optimum * (1 - 1e-5) <= energy <= share * task.optimum


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("augmented_lagrangian", 1.01),
        ("gradient", 1.06),
        ("hybrid", 1.02),
        ("icem", 1.05),
        ("cem", 1.06),
        ("predictive_sampling", 1.06),
        ("mppi", 1.1),
        ("random_shooting", 1.25),  # standing still: 1.5
    ],
)
def test_comes_near_brute_forces_optimum_before_a_wall(name, share):
    task = wall()
    plan = optimizer(name, **PATIENT).solve(task.problem, FOREVER)
    assert task.optimum * (1 - 1e-3) <= plan.energy[0] <= share * task.optimum
    assert plan.feasible.all()
    assert plan.margins["limit0"][0] >= 0


@ALL
def test_the_best_of_many_modes_is_found_wherever_it_is(name):
    for best in range(6):
        task = bandit(best=best)
        plan = optimizer(name, seed=best, **PATIENT).solve(task.problem, FOREVER)
        assert plan.energy[0] < 0.15, f"best well {best}: another one is worth 0.2 at least"


@ALL
def test_no_plan_breaks_a_limit_that_can_be_kept_and_with_none_to_keep_it_brakes(name):
    """Against brute force over 15,625 plans; margins are computed anew without the world model."""
    possible = 0
    for seed in range(20):
        case = course(seed)
        plan = optimizer(name, use_library=False, **({"iterations": 25} if name in GRADIENTS else {})).solve(
            case.problem, FOREVER
        )
        clear = clearances(case.discs, case.problem.state.velocity[0].numpy(), plan.actions.numpy().astype(float))[0]
        possible += case.exists
        if case.exists:
            assert plan.feasible.all(), f"problem {seed}: brute force finds an allowed plan"
        if plan.feasible.all():
            assert plan.mode == "optimizer"
            assert plan.violation[0] == 0
            assert clear >= -1e-5
        else:
            assert plan.mode == "braking"
            assert not plan.actions.any()
            assert plan.violation[0] == pytest.approx(-clear, abs=1e-5)
    assert 5 < possible < 18


@settings(deadline=None, max_examples=24)
@given(st.sampled_from(NAMES), st.floats(0.5, 2.5), st.floats(0.3, 1.5), st.integers(0, 50))
def test_braking_as_hard_as_possible_is_found_where_nothing_less_will_do(name, speed, strength, seed):
    """Rolling towards a wall that hard braking alone stops before: by 2 % of the way, or not even so."""
    steps, end = np.arange(1, 7), 0.0
    hardest = speed * DT * steps - 0.5 * strength * (DT * steps) ** 2
    nearest = float(np.maximum.accumulate(hardest)[-1])
    for share, allowed in ((1.02, True), (0.97, False)):
        end = share * nearest
        problem = planar(
            lqr().problem.world_model,
            lambda trajectory: (trajectory.poses[..., 0] - 5.0) ** 2,
            6,
            [lambda trajectory, end=end: end - trajectory.poses[..., 0]],
            velocity=(speed, 0.0),
            bound=strength,
        )
        plan = optimizer(name, seed=seed, use_library=False).solve(problem, FOREVER)
        assert plan.mode == ("optimizer" if allowed else "braking")
        assert (plan.violation[0] == 0) == allowed


@settings(deadline=None, max_examples=24)
@given(st.sampled_from(NAMES), st.floats(0.05, 2), st.floats(0, 2), st.floats(0.5, 20), st.floats(-1, 1), st.integers(1, 8))
def test_bounds_and_rates_hold_in_plans_and_modes(name, high, low, rate, last, horizon):
    last = min(max(last, -low), high)
    limits = {"action_low": [-low, -low], "action_high": [high, high], "rate_limit": [rate, rate]}
    problem = replace(reach([(9.0, -9.0)], horizon=horizon, **limits), last_action=np.array([[last, last]]))
    few = {"samples": 12, "iterations": 5, "patience": 9}
    plan = optimizer(name, **few).solve(problem, FOREVER)
    for actions in (plan.actions[0].numpy(), *plan.modes[0][torch.isfinite(plan.mode_energy[0])].numpy()):
        assert (actions <= high + 1e-5).all() and (actions >= -low - 1e-5).all()
        if actions.any():  # the braking plan may drop to zero at once
            change = np.diff(np.concatenate([[[last, last]], actions]), axis=0)
            assert (np.abs(change) <= rate * problem.dt + 1e-5).all()


@ALL
def test_the_same_seed_gives_the_same_plans_and_inference_mode_changes_nothing(name):
    problem, made = wall().problem, optimizer(name, seed=3, use_library=False)
    first = [made.solve(problem, FOREVER) for _ in range(2)]
    made.reset(3)
    with torch.inference_mode():
        hidden = replace(problem, state=problem.state.to_torch(), last_action=torch.zeros(1, 2))
        again = [made.solve(hidden, FOREVER) for _ in range(2)]
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.actions, other.actions)
        assert not one.actions.requires_grad
        assert one.energy.grad_fn is None


@ALL
def test_common_noise_makes_the_same_decision_of_the_same_problem(name):
    problem = wall().problem
    made = optimizer(name, common_noise=True, use_library=False)
    first = made.solve(problem, FOREVER).actions
    made.reset()
    if name != "icem":  # which remembers its elites
        assert torch.equal(first, made.solve(problem, FOREVER).actions)
    made.reset(1)
    assert not torch.equal(first, made.solve(problem, FOREVER).actions)


@ALL
def test_problems_in_a_batch_get_the_answers_they_would_get_alone(name):
    goals = [(1.0, 0.5), (-0.5, 0.2), (0.3, -1.0)]
    walls = [lambda t: 0.4 - t.poses[..., 0], lambda t: t.poses[..., 1] + 0.3]
    few = {"iterations": 6, "patience": 99, "tolerance": 0.0, "use_library": False}
    together = optimizer(name, **few).solve(reach(goals, guardrails=walls), FOREVER)
    for b, goal in enumerate(goals):
        alone = optimizer(name, **few).solve(reach([goal], guardrails=walls), FOREVER)
        torch.testing.assert_close(together.actions[b], alone.actions[0], atol=2e-3, rtol=1e-3)
        torch.testing.assert_close(together.energy[b], alone.energy[0], atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(together.mode_energy[b], alone.mode_energy[0], atol=1e-4, rtol=1e-3)


@ALL
def test_modes_are_other_ways_allowed_and_worse(name):
    task = bandit()
    plan = optimizer(name, modes=3, apart=0.4, **PATIENT).solve(task.problem, FOREVER)
    assert plan.modes.shape == (1, 3, 3, 2)
    assert torch.isfinite(plan.mode_energy).all()
    assert (plan.mode_energy >= plan.energy[:, None]).all()
    assert (plan.mode_energy[0].diff() >= 0).all()
    ways = torch.cat([plan.actions, plan.modes[0]])
    for i in range(4):
        for j in range(i):
            assert ((ways[i] - ways[j]) ** 2).sum(-1).mean().sqrt() > 0.4


def test_left_and_right_of_a_dead_end_are_two_modes():
    plan = optimizer("mppi", samples=128, modes=4, apart=0.2).solve(decision("dead_end").problem, FOREVER)
    sides = torch.cat([plan.actions, plan.modes[0][torch.isfinite(plan.mode_energy[0])]])[..., 1].mean(1)
    assert sides.min() < -0.05 and sides.max() > 0.05


def test_without_another_way_there_are_no_modes():
    problem = replace(reach(horizon=3), action_low=np.full(2, -0.01), action_high=np.full(2, 0.01))
    plan = optimizer("cem", modes=2, use_library=False).solve(problem, FOREVER)
    assert torch.equal(plan.modes, torch.zeros(1, 2, 3, 2))
    assert torch.isinf(plan.mode_energy).all()
    assert optimizer("cem", modes=0).solve(problem, FOREVER).modes is None


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_go_round_nan(name):
    """sqrt at 0 has no gradient: a body that stands on its goal."""

    def distance(trajectory, goal):
        return torch.sqrt((trajectory.poses[..., :2] ** 2).sum(-1))

    plan = optimizer(name, use_library=False).solve(reach([(0.0, 0.0)], objectives={"near": distance}), FOREVER)
    assert plan.feasible.all()
    assert plan.energy[0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", GRADIENTS)
def test_a_world_model_without_gradients_is_refused_by_name(name):
    class Frozen(Picker):
        model = "frozen"

        def rollout(self, state, actions, futures=1, dt=DT):
            return super().rollout(state, actions.detach(), futures, dt)

    problem = planar(Frozen(), lambda trajectory: (trajectory.poses**2).sum(-1), 3)
    with pytest.raises(ConfigurationError, match=r"frozen.*mppi"):
        optimizer(name, use_library=False).solve(problem, FOREVER)


def test_gradients_reach_the_actions_that_a_rate_limit_holds_back():
    """Only the last step pays; without the way back through the limit the first actions would never move."""
    limits = {"action_low": [-5.0] * 2, "action_high": [5.0] * 2, "rate_limit": [1.0] * 2}
    last = {"late": lambda t, goal: torch.where(torch.arange(6) == 5, (t.actions[:, :, None, :, 0] - 9) ** 2, 0.0)}
    problem = reach(objectives=last, **limits)
    plan = optimizer("gradient", iterations=60, patience=1000, noise=0.01, use_library=False).solve(problem, FOREVER)
    assert plan.actions[0, :, 0].numpy() == pytest.approx(0.2 * np.arange(1, 7), abs=0.01)


def test_icem_imagines_its_elites_again_where_time_has_taken_them():
    made = optimizer("icem", use_library=False)
    problem = as_tensors(wall().problem)
    made.solve(problem, FOREVER)
    kept = made._kept
    later = replace(problem, state=replace(problem.state, stamp=problem.state.stamp + 0.3))
    made.begin(later)
    expected = 0.5 * (kept[:, :, 1] + kept[:, :, 2])
    torch.testing.assert_close(made._kept[:, :, 0], expected)
    made.begin(replace(problem, state=replace(problem.state, stamp=60.0)))
    assert made._kept is None


def test_icems_population_shrinks_to_no_less_than_twice_its_elites():
    made = create("optimizer", PluginSpec(plugin="icem", samples=100, shrink=2.0), RobotParameters())
    assert [made.count(i) for i in range(5)] == [100, 50, 25, 20, 20]


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_soon_after_a_deadline_that_is_already_over(name):
    problem = wall().problem
    made = optimizer(name, iterations=1000, patience=1000, tolerance=0.0)
    plan = made.solve(problem, time.perf_counter())
    assert (plan.iterations, plan.stop_reason) == (1, "deadline")
    assert plan.feasible.all()


def test_a_bad_problem_is_refused_by_gradients_too():
    with pytest.raises(InputError, match="last_action"):
        Gradient(Gradient.Config(), RobotParameters()).solve(replace(reach(), last_action=np.zeros((2, 2))), FOREVER)


def test_the_first_iteration_is_done_with_fewer_candidates_where_there_is_too_little_time():
    made, problem = optimizer("cem", samples=4000, iterations=1), decision("doorway").problem
    worked = time.thread_time()
    whole = made.solve(problem, FOREVER)
    hurried = made.solve(problem, time.perf_counter() + 0.3 * (time.thread_time() - worked))
    assert hurried.evaluations < 0.7 * whole.evaluations
    assert hurried.feasible.all()
    assert made.solve(problem, FOREVER).evaluations == whole.evaluations
