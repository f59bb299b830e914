"""How candidates are ranked, and where the first ones come from."""

import math

import numpy as np
import pytest
import torch
from toy_problems import reach

from objective_agent.actor.evaluation import Evaluation, evaluate
from objective_agent.actor.noise import noise_shape
from objective_agent.actor.problem import as_tensors
from objective_agent.actor.proposals import library, within_limits


def ranked(energy, violation):
    evaluation = Evaluation(torch.tensor([energy]), torch.tensor([violation]), {}, {}, None)
    return evaluation, evaluation.score()[0]


def test_feasible_candidates_rank_first_then_the_least_violation_then_nonsense():
    _, score = ranked([50.0, 0.1, 3.0, math.nan, 0.2], [0.0, 0.4, 0.0, 0.0, 0.3])
    assert score.argsort().tolist() == [2, 0, 4, 1, 3]
    assert score[2] == 3.0


def test_a_nan_is_not_feasible():
    evaluation, score = ranked([1.0, math.nan, math.inf, 1.0], [0.0, 0.0, 0.0, math.inf])
    assert evaluation.feasible[0].tolist() == [True, False, False, False]
    assert not torch.isnan(score).any()


def test_energy_is_the_weighted_mean_over_the_whole_trajectory_and_violation_the_worst():
    height = torch.tensor([[1.0, 2.0, 6.0], [3.0, 3.0, 3.0]])  # [K, H]

    def level(trajectory, goal=None):
        return height.expand(*trajectory.poses.shape[:2], 2, 3)

    problem = as_tensors(reach(horizon=3, futures=2, objectives={"level": level}, guardrails=[lambda t: 4 - level(t)]))
    found = evaluate(problem, torch.zeros(1, 2, 3, 2))
    torch.testing.assert_close(found.energies["level"], torch.full((1, 2), 3.0))
    torch.testing.assert_close(found.violation, torch.full((1, 2), 2.0))
    torch.testing.assert_close(found.margins["rail0"], torch.full((1, 2), -2.0))


def test_limits_hold_where_they_can_and_the_rate_wins_where_they_cannot():
    low, high, change = torch.tensor([-0.1, -1.0]), torch.tensor([0.3, 1.0]), torch.tensor([0.2, 0.5])
    wild = 5 * torch.randn(2, 40, 8, 2, generator=torch.Generator().manual_seed(0))
    last = torch.tensor([[0.0, 0.0], [0.6, 0.0]])  # the second one is too fast for bounds that were just tightened
    actions = within_limits(wild, low, high, change, last)
    steps = torch.diff(torch.cat([last[:, None, None].expand(-1, 40, -1, -1), actions], 2), dim=2)
    assert (steps.abs() <= change + 1e-6).all()
    assert ((actions[0] >= low) & (actions[0] <= high + 1e-6)).all()
    assert (actions[1, :, 0, 0] >= 0.4 - 1e-6).all()
    assert (actions[1, :, 2:, 0] <= 0.3 + 1e-6).all()
    gentle = torch.tensor([0.1, 0.2]).expand(2, 1, 8, 2)
    torch.testing.assert_close(within_limits(gentle, low, high, change, last)[0], gentle[0])


def test_the_library_has_what_a_robot_needs():
    arcs = library(15, 0.2, torch.tensor([-0.15, -1.8]), torch.tensor([0.6, 1.8]))
    assert 30 <= len(arcs) <= 64

    def has(test):
        return any(test(arc[:, 0], arc[:, 1]) for arc in arcs)

    assert has(lambda v, w: (v == 0.6).all() and (w == 0).all())  # full speed ahead
    assert has(lambda v, w: (v == 0).all() and (w == 1.8).all())  # turning on the spot, both ways
    assert has(lambda v, w: (v == 0).all() and (w == -1.8).all())
    assert has(lambda v, w: (v == -0.15).all())  # backwards
    assert has(lambda v, w: v[0] == 0 and abs(w[0]) == 1.8 and v[-1] == 0.6 and w[-1] == 0)  # turn, then go
    assert has(lambda v, w: (v > 0).all() and w[0] * w[-1] < 0)  # round an obstacle
    mirrored = arcs * torch.tensor([1.0, -1.0])
    assert all(any(torch.equal(one, other) for other in arcs) for one in mirrored)


def test_a_body_that_cannot_reverse_gets_no_reversing_arcs():
    arcs = library(10, 0.2, torch.tensor([0.0, -1.8]), torch.tensor([0.6, 1.8]))
    assert arcs[..., 0].min() == 0


@pytest.mark.parametrize("correlation", [0.2, 0.6, 2.0])
def test_noise_has_unit_variance_and_the_stated_correlation(correlation):
    white = torch.randn(20_000, 15, generator=torch.Generator().manual_seed(1))
    noise = white @ noise_shape(15, 0.2, correlation).T
    found = np.corrcoef(noise.numpy().T)
    assert noise.std(0).numpy() == pytest.approx(np.ones(15), abs=0.05)
    assert found[4, 6] == pytest.approx(math.exp(-0.5 * (0.4 / correlation) ** 2), abs=0.03)
