"""The guardrails on read-outs: closed when nothing is known, the worse of read-out and points, never locked in."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cost_scenes import ROBOT, straight

from objective_agent.config import CostParameters, PluginSpec
from objective_agent.planner import make_guardrails
from objective_agent.plugins import create
from objective_agent.types import ConfigurationError

STEPS, FUTURES = 5, 3
FAR = [(50.0, 50.0)]


def rail(name, **settings):
    return create("guardrail", PluginSpec(plugin=name, **settings), ROBOT)


def ahead(points=None, standing=None, candidates=2, **readouts):
    """Straight on for half a metre: `readouts` name -> value or [N, K, H]; `standing` name -> the same of standing still."""
    trajectory = straight((0.5, 0.0), steps=STEPS, points=points)
    shape = (1, candidates, FUTURES, STEPS)
    known = {name: np.array(np.broadcast_to(np.float32(value), shape)) for name, value in readouts.items()}
    still = {name: np.full((1, 1, FUTURES, STEPS), value, np.float32) for name, value in (standing or {}).items()}
    poses = np.broadcast_to(trajectory.poses, (*shape, 3))
    return replace(trajectory, poses=poses, readouts=known, standing=still)


@pytest.mark.parametrize("name", ["learned_clearance", "people"])
def test_with_nothing_known_nothing_is_allowed(name):
    assert (rail(name).margin(ahead()) < 0).all()
    assert rail(name).margin(ahead()).shape == (1, 2, FUTURES, STEPS)


def test_the_smaller_of_read_out_and_points_counts():
    wall = [(0.9, 0.0)]
    seen = rail("clearance").margin(ahead(points=wall))
    np.testing.assert_allclose(rail("learned_clearance").margin(ahead(points=wall, clearance=0.9)), seen, atol=1e-6)
    np.testing.assert_allclose(rail("learned_clearance").margin(ahead(points=wall, clearance=-0.3)), -0.3, atol=1e-6)
    np.testing.assert_allclose(rail("learned_clearance", allowance=0.0).margin(ahead(clearance=0.3)), 0.22, atol=1e-6)


def test_without_a_read_out_the_points_are_guard_enough():
    assert (rail("learned_clearance").margin(ahead(points=FAR)) > 0).all()
    assert (rail("people").margin(ahead(points=FAR)) < 0).all(), "points don't say who is a person"


@pytest.mark.parametrize("name, readout", [("learned_clearance", "clearance"), ("people", "people")])
def test_whoever_is_too_close_may_stand_and_leave_but_not_come_nearer(name, readout):
    each = np.array([-0.4, -0.2, -0.75], np.float32)[:, None, None]  # as when standing, leaving, coming nearer
    margin = rail(name).margin(ahead(candidates=3, standing={readout: -0.4}, **{readout: each}))
    assert (margin[0, 0] >= 0).all() and (margin[0, 1] >= 0).all() and (margin[0, 2] < 0).all()


def test_what_standing_gives_never_asks_for_more_than_the_margin():
    assert (rail("people", margin=0.1).margin(ahead(standing={"people": 3.0}, people=0.2)) > 0).all()


@pytest.mark.parametrize("name, readout", [("learned_clearance", "clearance"), ("people", "people")])
def test_no_number_is_never_allowed(name, readout):
    margin = rail(name).margin(ahead(points=FAR, standing={readout: np.nan}, **{readout: np.nan}))
    assert np.isnan(margin).all()


@pytest.mark.parametrize("name, readout", [("learned_clearance", "clearance"), ("people", "people")])
def test_numpy_and_torch_agree(name, readout):
    values = np.random.default_rng(0).normal(size=(2, FUTURES, STEPS))
    trajectory = ahead(points=[(0.8, 0.1)], standing={readout: 0.05}, **{readout: values})
    moved = replace(
        trajectory,
        state=trajectory.state.to_torch(),
        poses=torch.tensor(trajectory.poses),
        readouts={readout: torch.tensor(trajectory.readouts[readout])},
        standing={readout: torch.tensor(trajectory.standing[readout])},
    )
    np.testing.assert_allclose(rail(name).margin(moved).numpy(), rail(name).margin(trajectory), atol=1e-5)


@pytest.mark.parametrize("name, readout", [("learned_clearance", "clearance"), ("people", "people")])
def test_a_task_can_tighten_them(name, readout):
    cost = CostParameters.model_validate({"guardrails": [name]})
    trajectory = ahead(**{readout: 0.3})
    plain, tight = (make_guardrails(cost, ROBOT, extra)[0].guardrail.margin(trajectory) for extra in (0.0, 0.1))
    np.testing.assert_allclose(plain - tight, 0.1, atol=1e-6)


@pytest.mark.parametrize("name", ["learned_clearance", "people"])
def test_a_negative_margin_is_refused(name):
    with pytest.raises(ConfigurationError, match="margin"):
        rail(name, margin=-0.1)
