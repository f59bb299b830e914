"""The noise of the searches: as much of it at every step, and over time as correlated as the settings say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_problems import DoubleIntegrator, optimizer, reach

from objective_agent.actor.noise import colored, knots, noise_shape, shaping

KINDS = ("smooth", "colored", "knots", "white")

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 60),
    st.sampled_from([0.05, 0.2, 1.0]),
    st.floats(0.05, 20),
    st.floats(0, 6),
)
def test_every_step_has_noise_of_variance_one(kind, horizon, dt, correlation, exponent):
    shape = shaping(kind, horizon, dt, correlation, exponent)
    assert shape.shape == (horizon, horizon) and shape.dtype == torch.float32
    assert shape.norm(dim=1).numpy() == pytest.approx(np.ones(horizon), abs=1e-4)


@pytest.mark.parametrize(("dt", "correlation"), [(0.2, 0.6), (0.1, 2.0), (0.5, 0.1)])
def test_smooth_noise_forgets_as_fast_as_it_says(dt, correlation):
    shape = noise_shape(20, dt, correlation)
    apart = dt * (np.arange(20)[:, None] - np.arange(20))
    assert (shape @ shape.T).numpy() == pytest.approx(np.exp(-0.5 * (apart / correlation) ** 2), abs=2e-3)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_the_power_of_coloured_noise_falls_with_the_frequency_to_its_exponent(exponent):
    """The slope of the periodogram of many draws, in logarithms; a window keeps the ends from adding frequencies."""
    horizon, generator = 256, torch.Generator().manual_seed(7)
    draws = colored(horizon, exponent) @ torch.randn(horizon, 2000, generator=generator)
    power = torch.fft.rfft(draws * torch.hann_window(horizon)[:, None], dim=0).abs().square().mean(1)
    middle = slice(6, 100)  # neither what is slower than the horizon nor the highest, which meets its mirror image
    frequency = torch.fft.rfftfreq(horizon)
    slope = np.polyfit(frequency[middle].log().numpy(), power[middle].log().numpy(), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)


@pytest.mark.parametrize(
    ("horizon", "dt", "spacing", "steps"), [(13, 0.2, 0.6, 3), (15, 0.2, 0.7, 3.5), (21, 0.1, 0.5, 5), (9, 0.5, 0.1, 1)]
)
def test_knots_are_joined_by_straight_lines(horizon, dt, spacing, steps):
    """Before it is brought to the same variance everywhere; a knot every `steps` steps, and nothing free between them."""
    shape = knots(horizon, dt, spacing)
    mixed = (shape / shape.sum(1, keepdim=True)).double().numpy()
    times, at = np.arange(horizon), steps * np.arange(1 + math.ceil((horizon - 1) / steps))
    for seed in range(3):
        values = np.random.default_rng(seed).normal(size=horizon)
        assert mixed @ values == pytest.approx(np.interp(times, at, values[: len(at)]), abs=1e-5)


def test_knots_are_never_farther_apart_than_they_may_be():
    for horizon, spacing in ((15, 0.6), (12, 0.9), (30, 1.1), (4, 10.0)):
        free = int((knots(horizon, 0.2, spacing).abs().sum(0) > 0).sum())
        assert free >= 2 and (horizon - 1) * 0.2 / (free - 1) <= spacing + 1e-9
        assert free == 2 or (horizon - 1) * 0.2 / (free - 2) > spacing


def test_white_noise_is_left_as_it_is():
    assert torch.equal(shaping("white", 7, 0.2, 0.6, 2.0), torch.eye(7))


class Recording(DoubleIntegrator):
    """Notes the plans it is asked to imagine."""

    def rollout(self, state, actions, futures=1, dt=0.2):
        self.seen = actions.clone()
        return super().rollout(state, actions, futures, dt)


@pytest.mark.parametrize("name", ["random_shooting", "predictive_sampling", "cem", "icem", "mppi", "hybrid"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_plans_that_are_imagined_are_so_correlated(name, kind):
    """Wide limits leave the noise as it is; the previous plan is all zeros here, so that a plan is its noise."""
    horizon, world_model, noise = 12, Recording(), 0.1
    about = {"noise": noise, "noise_kind": kind, "correlation": 0.6, "exponent": 2.0}
    made = optimizer(name, samples=6000, iterations=1, rescue=0, use_library=False, **about)
    made.solve(reach(horizon=horizon, world_model=world_model), math.inf)
    plans = world_model.seen[0]
    drawn = plans[plans.abs().amax((1, 2)) > 0].double()
    assert len(drawn) == 5999
    common = torch.einsum("nha,nga->hg", drawn, drawn) / (2 * len(drawn))
    sizes = common.diagonal().sqrt()
    shape = shaping(kind, horizon, 0.2, 0.6, 2.0)
    assert (common / sizes / sizes[:, None]).numpy() == pytest.approx((shape @ shape.T).numpy(), abs=0.05)
    widths = torch.linspace(1.0, made.narrowest, 5999)
    assert sizes.numpy() == pytest.approx(noise * 20.0 * widths.square().mean().sqrt().item(), rel=0.05)
