"""The estimator's arithmetic against the posterior of the whole trajectory, computed at once."""

from __future__ import annotations

import numpy as np
import pytest

from objective_agent.memory.fusion import Belief, Measure, corrected, predicted, started

D = 3


def random_covariance(rng, scale=1.0):
    root = rng.normal(size=(D, D))
    return scale * (root @ root.T + 0.3 * np.eye(D))


def posterior(first, noises, offset, shifts, process, measured):
    """Mean and covariance of the last of x[0..T] where x[k+1] = x[k] + shift[k] + w: all normal equations in one."""
    count = len(measured)
    information, vector = np.zeros((count * D, count * D)), np.zeros(count * D)

    def add(rows, target, covariance):
        nonlocal information, vector
        weight = np.linalg.inv(covariance)
        information += rows.T @ weight @ rows
        vector += rows.T @ weight @ target

    def pick(k):
        rows = np.zeros((D, count * D))
        rows[:, k * D : (k + 1) * D] = np.eye(D)
        return rows

    add(pick(0), first - offset, noises[0])
    for k in range(1, count):
        add(pick(k) - pick(k - 1), shifts[k - 1], process)
        add(pick(k), measured[k] - offset, noises[k])
    covariance = np.linalg.inv(information)
    return (covariance @ vector)[-D:], covariance[-D:, -D:]


@pytest.mark.parametrize("steps", [1.0, 0.5, 2.5])
def test_prediction_and_correction_are_the_posterior_of_the_whole_past(steps):
    rng = np.random.default_rng(1)
    process, noise, offset = random_covariance(rng, 0.1), random_covariance(rng), rng.normal(size=D)
    measured, shifts = rng.normal(size=(6, D)), rng.normal(size=(5, D))
    measure = Measure(offset, noise)
    belief = started(measured[0], measure)
    for came, shift in zip(measured[1:], shifts, strict=True):
        belief, _ = corrected(predicted(belief, belief.mean + shift, process, steps), came, measure, steps)
    noises = [noise] + [noise / min(steps, 1.0)] * 5
    mean, covariance = posterior(measured[0], noises, offset, shifts, steps * process, measured)
    np.testing.assert_allclose(belief.mean, mean, atol=1e-9)
    np.testing.assert_allclose(belief.covariance, covariance, atol=1e-9)


def test_all_senses_are_believed_as_they_are():
    exact = Measure(np.zeros(D), None)
    belief, surprise = corrected(Belief(np.ones(D), np.eye(D)), np.full(D, 7.0), exact)
    assert (belief.mean == 7.0).all() and (belief.covariance == 0).all() and surprise == 0


def test_twice_as_many_encodings_a_second_tell_no_more():
    rng = np.random.default_rng(2)
    process, measure = random_covariance(rng, 0.005), Measure(np.zeros(D), random_covariance(rng))
    uncertain = {}
    for steps in (1.0, 0.5):
        belief = started(np.zeros(D), measure)
        for _ in range(int(200 / steps)):
            belief, _ = corrected(predicted(belief, belief.mean, process, steps), np.zeros(D), measure, steps)
        uncertain[steps] = np.trace(belief.covariance)
    assert uncertain[0.5] == pytest.approx(uncertain[1.0], rel=0.1)


def test_what_is_unusual_is_believed_as_quickly_as_it_is_unusual():
    sure, far = Belief(np.zeros(D), 0.01 * np.eye(D)), np.array([9.0, 0.0, 0.0])
    stubborn, surprise = corrected(sure, far, Measure(np.zeros(D), np.eye(D)))
    assert stubborn.mean[0] < 0.1 * far[0]
    for ratio in (1.5, 3.0, 10.0):
        doubting, same = corrected(sure, far, Measure(np.zeros(D), np.eye(D), alarm=surprise / ratio))
        assert same == surprise
        assert doubting.mean[0] >= (1 - 1 / ratio) * far[0]
        assert np.trace(doubting.covariance) > np.trace(stubborn.covariance)


def test_the_usual_does_not_shake_a_belief():
    sure, near = Belief(np.zeros(D), 0.01 * np.eye(D)), np.full(D, 0.5)
    calm, surprise = corrected(sure, near, Measure(np.zeros(D), np.eye(D), alarm=2.0))
    plain, _ = corrected(sure, near, Measure(np.zeros(D), np.eye(D)))
    assert surprise < 2.0
    np.testing.assert_array_equal(calm.mean, plain.mean)


def test_covariances_stay_covariances_for_hours():
    rng = np.random.default_rng(3)
    process, measure = random_covariance(rng, 1e-4), Measure(np.zeros(D), random_covariance(rng), alarm=0.5)
    belief = started(np.zeros(D), measure)
    for _ in range(20_000):
        belief, _ = corrected(predicted(belief, belief.mean, process, 0.5), rng.normal(size=D), measure, 0.5)
    assert np.array_equal(belief.covariance, belief.covariance.T)
    assert np.linalg.eigvalsh(belief.covariance).min() > 0
