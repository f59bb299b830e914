"""What each loss asks for, on values whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from objective_agent.learning import losses


def test_unknown_labels_count_for_nothing():
    predicted = (torch.tensor([0.2, 5.0]), torch.tensor([0.1, 4.0]))
    one = losses.distance((predicted[0][:1], predicted[1][:1]), torch.tensor([0.3]), 0.5, 0.05)
    both = losses.distance(predicted, torch.tensor([0.3, torch.nan]), 0.5, 0.05)
    assert float(one) == pytest.approx(float(both)) and one > 0
    assert losses.distance(predicted, torch.tensor([torch.nan, torch.nan]), 0.5, 0.05) == 0


def test_the_quantile_that_costs_least_is_the_fifth_percentile():
    found = torch.linspace(0, 1, 1001)
    costs = {
        q: float(losses.distance((found, torch.full_like(found, q)), found, near=-1.0, beta=0.05))
        for q in (0.0, 0.02, 0.05, 0.1, 0.5)
    }
    assert min(costs, key=costs.get) == 0.05


def test_near_distances_count_more():
    predicted = (torch.tensor([0.4, 0.9]), torch.tensor([0.0, 0.0]))
    at_near = losses.distance(predicted, torch.tensor([0.2, 0.9]), 0.5, 0.05)
    at_far = losses.distance(predicted, torch.tensor([0.4, 0.7]), 0.5, 0.05)
    assert at_near > 1.5 * at_far


def test_relative_pose_is_seen_from_the_first():
    origin = torch.tensor([[1.0, 2.0, math.pi / 2]])
    found = losses.relative_pose(origin, torch.tensor([[1.0, 3.0, -math.pi / 2]]))
    torch.testing.assert_close(found[0, :2], torch.tensor([1.0, 0.0]), atol=1e-6, rtol=0)
    assert abs(float(found[0, 2])) == pytest.approx(math.pi, abs=1e-5)


def test_each_head_answers_for_its_own_bootstrap_weights():
    found, predicted = torch.zeros(1, 2, 4), torch.zeros(2, 1, 2, 4)
    predicted[1, 0, 0] = 1.0  # head 1 is wrong on window 0
    blind = torch.tensor([[[1.0, 1.0]], [[0.0, 2.0]]])
    assert losses.latent(predicted, found, blind) == 0
    assert losses.latent(predicted, found, torch.ones(2, 1, 2)) > 0


def test_ranges_that_are_sure_and_wrong_cost_most():
    label = torch.zeros(1, 36)
    right, wrong = torch.zeros(1, 36), torch.ones(1, 36)
    sure, unsure = torch.full((1, 36), -2.0), torch.zeros(1, 36)
    order = [losses.ranges(right, sure, label), losses.ranges(right, unsure, label),
             losses.ranges(wrong, unsure, label), losses.ranges(wrong, sure, label)]  # fmt: skip
    assert [float(value) for value in order] == sorted(float(value) for value in order)
    assert losses.ranges(wrong, sure, torch.full((1, 36), torch.nan)) == 0
