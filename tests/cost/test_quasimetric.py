"""The quasimetric is one whatever its weights, and the same on NumPy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reachability_head import random_weights

from objective_agent.cost.quasimetric import Quasimetric, QuasimetricShape
from objective_agent.types import InputError

SHAPE = QuasimetricShape(features=12, hidden=16, groups=4, size=3)


def metric(seed: int) -> Quasimetric:
    return Quasimetric(SHAPE, random_weights(SHAPE, seed))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_with_any_weights_it_is_a_quasimetric_in_the_light_of_one_goal(seed):
    found = metric(seed)
    a, b, c, goal = np.random.default_rng(seed).normal(size=(4, 20, SHAPE.features)).astype(np.float32)
    context = found.context(goal)
    a, b, c = (found.embed(moment, context) for moment in (a, b, c))
    assert (found.distance(a, a) == 0).all()
    assert (found.distance(a, b) >= 0).all()
    assert (found.distance(a, c) <= found.distance(a, b) + found.distance(b, c) + 1e-4).all()
    assert (np.abs(found.distance(a, b) - found.distance(b, a)) > 1e-3).any()


def test_numpy_and_torch_give_the_same_folded_or_not():
    arrays = random_weights(SHAPE, 3)
    plain, tensors = Quasimetric(SHAPE, arrays), Quasimetric(SHAPE, {n: torch.as_tensor(v) for n, v in arrays.items()})
    rng = np.random.default_rng(0)
    moments, goals = rng.normal(size=(2, 50, 12)).astype(np.float32), rng.normal(size=(2, 12)).astype(np.float32)
    expected = np.stack([plain.steps(m, g) for m, g in zip(moments, goals, strict=True)])
    context = plain.context(goals)
    end = plain.embed(goals, context)[:, None]
    np.testing.assert_allclose(plain.distance(plain.embed_many(moments, context), end), expected, rtol=1e-4, atol=1e-4)
    found = tensors.steps(torch.as_tensor(moments), torch.as_tensor(goals)[:, None])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(tensors.lift(torch.as_tensor(goals)).numpy(), plain.lift(goals), rtol=1e-4, atol=1e-4)


def test_weights_of_another_size_are_refused():
    arrays = random_weights(SHAPE, 0)
    with pytest.raises(InputError, match=r"lift\.bias"):
        Quasimetric(SHAPE, {**arrays, "lift.bias": np.zeros(3, np.float32)})
