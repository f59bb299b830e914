"""Courtesy: speed costs where somebody is expected near, standing never does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cost_scenes import ROBOT, objective, straight

from objective_agent.types import Goal

GOAL = Goal(position=np.array([[2.0, 0.0]], np.float32))


def driving(speed, people, steps=4):
    trajectory = straight((0.5, 0.0), steps=steps)
    velocities = np.zeros_like(trajectory.velocities)
    velocities[..., 0] = speed
    people = np.broadcast_to(np.float32(people), trajectory.poses.shape[:-1])
    return replace(trajectory, velocities=velocities, readouts={"people_expected": people})


def test_full_speed_at_a_person_costs_the_scale_and_half_of_both_a_quarter():
    term = objective("courtesy", distance=0.6, scale=2.0)
    assert term.energy(driving(ROBOT.max_speed, 0.0), GOAL) == pytest.approx(2.0)
    assert term.energy(driving(-ROBOT.max_speed / 2, 0.3), GOAL) == pytest.approx(0.5)
    assert (term.energy(driving(ROBOT.max_speed, -0.5), GOAL) <= 2.0 + 1e-6).all(), "no more than at a touch"


def test_standing_and_driving_where_nobody_is_cost_nothing():
    term = objective("courtesy")
    assert not term.energy(driving(0.0, 0.0), GOAL).any()
    assert not term.energy(driving(ROBOT.max_speed, 0.6), GOAL).any()
    assert not term.energy(straight((0.5, 0.0)), GOAL).any(), "the analytic model knows nobody"


def test_only_the_steps_count_at_which_somebody_is_near():
    found = objective("courtesy").energy(driving(0.3, [3.0, 0.5, 0.1, 3.0]), GOAL)[0, 0, 0]
    assert found[0] == found[3] == 0 and 0 < found[1] < found[2]


def test_who_has_waited_long_goes_on_and_who_drives_is_courteous():
    term, trajectory = objective("courtesy", patience=0.5, scale=1.0), driving(ROBOT.max_speed, 0.0)

    def after(speed):
        sent = np.full((1, 8, 2), [speed, 0.0], np.float32)
        return term.energy(replace(trajectory, state=replace(trajectory.state, sent=sent)), GOAL)

    assert after(ROBOT.max_speed) == pytest.approx(1.0)
    assert after(ROBOT.max_speed / 4) == pytest.approx(0.5)
    assert not after(0.0).any()


def test_numpy_and_torch_agree():
    trajectory = driving(0.4, [3.0, 0.5, 0.1, -0.2])
    tensors = replace(
        trajectory,
        **{name: torch.from_numpy(np.array(getattr(trajectory, name))) for name in ("actions", "poses", "velocities")},
        readouts={"people_expected": torch.from_numpy(np.array(trajectory.readouts["people_expected"]))},
    )
    term = objective("courtesy")
    np.testing.assert_allclose(term.energy(tensors, GOAL).numpy(), term.energy(trajectory, GOAL), rtol=1e-6)
