"""What the energies prefer, and that they are energies: finite, not negative, the same in NumPy and torch."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from cost_scenes import OBJECTIVES, along, as_torch, objective, random_trajectory, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from objective_agent.types import Goal, InputError

SATURATIONS = st.just(0) | st.floats(0.01, 5)
AHEAD = Goal(np.float32([[2.0, 0.0]]))


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_numpy_and_torch_agree(name, final):
    trajectory, goal = random_trajectory(7)
    goal = replace(goal, final=final)
    by_numpy = objective(name).energy(trajectory, goal)
    by_torch = objective(name).energy(*as_torch(trajectory, goal))
    assert by_numpy.shape == tuple(by_torch.shape) == trajectory.poses.shape[:-1]
    assert by_numpy.dtype == np.float32
    np.testing.assert_allclose(by_torch.numpy(), by_numpy, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(OBJECTIVES),
    st.integers(0, 10_000),
    st.floats(0, 50),
    st.booleans(),
    st.just(0) | st.floats(0.01, 5),
    st.booleans(),
)
def test_energies_are_finite_and_not_negative(name, seed, size, final, saturation, heading):
    trajectory, goal = random_trajectory(seed)
    trajectory = replace(trajectory, poses=np.float32(size) * trajectory.poses, actions=np.float32(size) * trajectory.actions)
    goal = replace(goal, final=final, heading=goal.heading if heading else None)
    term = objective(name, saturation=saturation) if name == "goal_pose" else objective(name)
    energy = term.energy(trajectory, goal)
    assert np.isfinite(energy).all()
    assert (energy >= 0).all()


def test_goal_pose_is_the_distance_when_the_robot_faces_the_goal():
    energy = objective("goal_pose").energy(straight((2.0, 0.0), steps=4), AHEAD)
    np.testing.assert_allclose(energy[0, 0, 0], [1.5, 1.0, 0.5, 0.0], atol=1e-6)


def test_a_saturating_goal_tells_far_distances_apart_less():
    near = objective("goal_pose", saturation=1.0).energy(straight((0.1, 0.0), steps=1), Goal(np.float32([[0.2, 0.0]])))
    far = objective("goal_pose", saturation=1.0).energy(straight((0.1, 0.0), steps=1), Goal(np.float32([[50.0, 0.0]])))
    assert near[0, 0, 0, 0] == pytest.approx(0.0952, abs=1e-3)
    assert far[0, 0, 0, 0] == pytest.approx(1.0)


def test_turning_towards_a_goal_behind_lowers_the_energy():
    behind = Goal(np.float32([[-2.0, 0.0]]))
    turning = objective("goal_pose").energy(along([(0, 0, yaw) for yaw in (0.0, 0.8, 1.6, 2.4, 3.14)]), behind)[0, 0, 0]
    assert (np.diff(turning) < 0).all()
    without = objective("goal_pose", facing=0).energy(along([(0, 0, 0), (0, 0, 3.14)]), behind)[0, 0, 0]
    np.testing.assert_allclose(without, 2.0, atol=1e-6)


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_with_a_heading_the_energy_still_falls_all_the_way_to_the_goal(share):
    goal = Goal(np.float32([[2.0, 0.0]]), np.float32([np.pi]))
    term = objective("goal_pose", heading=share, facing=0)
    approach = term.energy(straight((2.0, 0.0), steps=200), goal)[0, 0, 0]
    assert (np.diff(approach) <= 1e-5).all()
    turning = term.energy(along([(2, 0, yaw) for yaw in (0.0, 1.0, 2.0, 3.1)]), goal)[0, 0, 0]
    assert (np.diff(turning) < 0).all()


def test_a_goal_without_heading_accepts_any():
    term = objective("goal_pose")
    energy = term.energy(along([(2, 0, yaw) for yaw in (0.0, 1.0, 3.0)]), AHEAD)
    np.testing.assert_allclose(energy, 0, atol=1e-6)


def test_passing_a_subgoal_is_enough_but_leaving_a_final_goal_costs():
    way = along([(1, 0, 0), (2, 0, 0), (3, 0, 0)])
    assert objective("goal_pose").energy(way, AHEAD)[0, 0, 0, 2] > 1
    passed = objective("goal_pose").energy(way, replace(AHEAD, final=False))[0, 0, 0]
    np.testing.assert_allclose(passed, [1, 0, 0], atol=1e-6)


def test_goal_pose_needs_a_position():
    with pytest.raises(InputError, match="position"):
        objective("goal_pose").energy(straight((1, 0)), Goal())


def test_smooth_counts_every_change_also_the_one_from_the_last_command_sent():
    steady = along(np.zeros((3, 3)), actions=[(0.3, 0.0)] * 3, sent=[(0.6, 1.8), (0.3, 0.0)])
    assert objective("smooth").energy(steady, AHEAD).max() == pytest.approx(0)
    jump = along(np.zeros((3, 3)), actions=[(0.6, 0.0), (0.6, 0.0), (0.6, 1.8)], sent=[(0.0, 0.0)])
    np.testing.assert_allclose(objective("smooth", scale=1).energy(jump, AHEAD)[0, 0, 0], [1, 0, 1], atol=1e-6)
    unknown = along(np.zeros((1, 3)), actions=[(0.6, 0.0)])
    assert objective("smooth", scale=1).energy(unknown, AHEAD)[0, 0, 0, 0] == pytest.approx(1)


def test_effort_prefers_doing_less():
    actions = [(0.0, 0.0), (0.3, 0.0), (0.6, 0.0), (0.6, 1.8), (-0.6, -1.8)]
    energy = objective("effort", scale=1).energy(along(np.zeros((5, 3)), actions=actions), AHEAD)[0, 0, 0]
    np.testing.assert_allclose(energy, [0, 0.25, 1, 2, 2], atol=1e-6)


def test_bump_begins_at_the_comfortable_distance_and_grows():
    term = objective("bump", comfort=0.3, scale=1.0)
    energy = term.energy(straight((1.0, 0.0), steps=50, points=[(1.0, 0.0)]), AHEAD)[0, 0, 0]
    clearance = 1 - np.arange(1, 51) / 50 - 0.18
    assert (energy[clearance > 0.3] == 0).all()
    assert (np.diff(energy[clearance < 0.28]) >= 0).all()
    assert energy[np.argmin(np.abs(clearance))] == pytest.approx(1, abs=0.1)
    assert term.energy(straight((1.0, 0.0)), AHEAD).max() == 0  # no points known: the guardrail's business


def test_a_nan_pose_is_never_a_good_energy():
    broken = along([(0, 0, 0), (np.nan, 0, 0), (1, 0, 0)], points=[(3, 3)])
    for name in ("goal_pose", "bump"):
        assert np.isnan(objective(name).energy(broken, AHEAD)[0, 0, 0, 1])


def test_the_cost_module_needs_no_torch():
    modules = ["goal_pose", "smooth", "effort", "bump", "clearance"]
    code = (
        "import sys\n"
        + "".join(f"import objective_agent.cost.{name}\n" for name in modules)
        + "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
