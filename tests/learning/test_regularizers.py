"""Both regularizers tell a healthy batch from a collapsed one, and pull the right way."""

from __future__ import annotations

import pytest
import torch

from objective_agent.learning.regularizers import effective_rank, regularize, vicreg


def random_numbers() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def healthy(count: int = 512, features: int = 16) -> torch.Tensor:
    return torch.randn(count, features, generator=random_numbers())


BATCHES = {
    "one point": torch.zeros(512, 16),
    "a line": torch.randn(512, 1, generator=random_numbers()) * torch.ones(16),
    "a small cloud": 0.05 * healthy(),
}


@pytest.mark.parametrize("name", ["vicreg", "sigreg"])
@pytest.mark.parametrize("bad", BATCHES)
def test_a_collapsed_batch_costs_more_than_a_healthy_one(name, bad):
    good = regularize(name, healthy(), 0.04, random_numbers())
    assert regularize(name, BATCHES[bad], 0.04, random_numbers()) > 4 * good + 0.05


@pytest.mark.parametrize("name", ["vicreg", "sigreg"])
def test_following_the_gradient_spreads_a_collapsed_batch(name):
    representations = (0.1 * BATCHES["a line"] + 0.02 * healthy()).clone().requires_grad_()
    optimizer = torch.optim.Adam([representations], 0.05)
    before = effective_rank(representations.detach())
    for _ in range(150):
        optimizer.zero_grad()
        regularize(name, representations, 1.0, random_numbers()).backward()
        optimizer.step()
    assert effective_rank(representations.detach()) > 2 * before
    assert representations.detach().std(0).mean() > 0.5


def test_sigreg_has_its_least_at_a_standard_normal():
    values = {
        scale: float(regularize("sigreg", scale * healthy(2048), 0, random_numbers())) for scale in (0.5, 0.8, 1.0, 1.25, 2.0)
    }
    assert min(values, key=values.get) == 1.0


def test_vicreg_asks_for_unit_variance_and_no_redundancy():
    variance, redundancy = vicreg(2 * healthy(4096))
    assert variance == 0 and redundancy < 0.2
    assert vicreg(BATCHES["one point"])[0] > 0.98


def test_the_meter_counts_directions():
    assert effective_rank(healthy(4096)) > 15
    assert effective_rank(BATCHES["a line"]) < 1.1
    assert effective_rank(BATCHES["one point"]) == 0
    assert effective_rank(torch.full((8, 4), torch.nan)) == 0
