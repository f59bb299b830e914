"""What a decision may never do in its inner loop: wait for single numbers, or check limits that bind nothing.

What it moves between devices is counted in `test_device_habits.py`.
"""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from toy_problems import optimizer, reach

from objective_agent.actor.proposals import within_limits

FIXED = {"iterations": 4, "rescue": 0, "patience": 1000, "use_library": False}


class Calls(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        with self:  # in inference mode `item`, `to` and others come whole
            found = function.decompose(*args, **(kwargs or {}))
        if found is not NotImplemented:
            return found
        self.count[function.overloadpacket.__name__] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["mppi", "cem", "icem"])
@pytest.mark.parametrize("guardrails", [(), (lambda trajectory: 0.3 - trajectory.poses[..., 1],)])
@pytest.mark.parametrize("settings", [FIXED, {"iterations": 2}, {"iterations": 4, "patience": 1000}])
def test_a_decision_reads_back_one_number_at_most(name, guardrails, settings):
    """A fixed number of iterations; a robot's, which may stop early and whose search for anything feasible may be prolonged."""
    search, problem = optimizer(name, **settings), reach(goals=((1.0, 0.5), (0.5, -1.0)), guardrails=guardrails)
    search.solve(problem, math.inf)
    with Calls() as calls:
        plan = search.solve(problem, math.inf)
    assert plan.iterations == settings["iterations"] and bool(plan.feasible.all())
    assert calls.count["_local_scalar_dense"] <= 1


def test_limits_that_bind_nothing_are_skipped_without_changing_an_action():
    random = torch.Generator().manual_seed(0)
    actions = 3 * torch.randn((2, 50, 6, 2), generator=random)
    low, high, last = torch.tensor([-1.0, -0.5]), torch.tensor([1.0, 2.0]), torch.tensor([[0.3, 0.1], [-1.0, 2.0]])
    assert torch.equal(within_limits(actions, low, high, torch.tensor([9.0, 9.0]), last), actions.clamp(low, high))
    outside = within_limits(actions, low, high, torch.tensor([9.0, 9.0]), last + 20)
    assert bool((outside[:, :, 0] > high).all())  # from there the bounds aren't within reach in one step
    tight = within_limits(actions, low, high, torch.tensor([0.1, 0.1]), last)
    before = torch.cat([last[:, None, None].expand(-1, 50, -1, -1), tight[:, :, :-1]], 2)
    assert float((tight - before).abs().max()) <= 0.1 + 1e-6
