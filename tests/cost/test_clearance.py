"""The guardrail: nothing nearer than the margin on the whole way, never locked in, closed when nothing is known."""

import numpy as np
import pytest
from cost_scenes import ROBOT, along, as_torch, guardrail, objective, random_trajectory, straight
from hypothesis import given, settings
from hypothesis import strategies as st

from objective_agent.config import PluginSpec
from objective_agent.cost.distance import KEY, obstacle_distance
from objective_agent.plugins import create
from objective_agent.types import ConfigurationError, Goal, Trajectory


def margins(trajectory, **settings):
    return guardrail(**settings).margin(trajectory)[0, 0, 0]


def nearest_on_the_way(trajectory, samples=400):
    """Brute force: smallest distance between densely sampled straight steps and the points [B, N, K, H]."""
    batch, candidates, futures = trajectory.poses.shape[:3]
    start = np.broadcast_to(trajectory.state.pose[:, None, None, None, :2], (batch, candidates, futures, 1, 2))
    path = np.concatenate([start, trajectory.poses[..., :2]], 3).astype(np.float64)
    share = np.linspace(0, 1, samples)[:, None]
    way = path[..., :-1, None, :] * (1 - share) + path[..., 1:, None, :] * share
    points = trajectory.state.points[:, None, None, None, None]
    distance = np.sqrt(((way[..., None, :] - points) ** 2).sum(-1))
    return np.nan_to_num(distance, nan=np.inf).min((-1, -2))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.02, 1.0))
def test_no_point_between_two_steps_is_missed(seed, size):
    """The bound is safe: never more than the true distance; and of use: off by millimetres for steps as long as a robot's."""
    trajectory, _ = random_trajectory(seed, futures=1)
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=trajectory.poses[..., :2].shape)
    steps *= size * 0.12 / np.maximum(np.linalg.norm(steps, axis=-1, keepdims=True), 0.12)
    way = trajectory.state.pose[:, None, None, None, :2] + np.cumsum(steps, 3)
    poses = np.concatenate([way, trajectory.poses[..., 2:]], -1).astype(np.float32)
    trajectory = Trajectory(trajectory.state, trajectory.actions, poses, trajectory.velocities, 0.2)
    bound, truth = obstacle_distance(trajectory), nearest_on_the_way(trajectory)
    far = truth > 100
    assert (bound[far] > 100).all()
    assert (bound[~far] <= truth[~far] + 2e-3).all()
    near = ~far & (truth > 0.18)
    assert (truth[near] - bound[near] < 0.02).all()


def test_numpy_and_torch_agree():
    trajectory, goal = random_trajectory(3, points=40)
    by_torch = guardrail().margin(as_torch(trajectory, goal)[0])
    by_numpy = guardrail().margin(trajectory)
    assert by_numpy.dtype == np.float32
    np.testing.assert_allclose(by_torch.numpy(), by_numpy, atol=1e-5)


def test_a_thin_pole_beside_the_middle_of_a_long_step_counts():
    pole = [(0.5, 0.2)]
    assert margins(along([(1, 0, 0)], points=pole))[0] < 0
    assert margins(along([(1, 0, 0)], points=[(0.5, 0.6)]))[0] > 0


def test_driving_up_to_an_obstacle_is_allowed_until_the_margin():
    found = margins(straight((1.0, 0.0), steps=100, points=[(1.0, 0.0)]), margin=0.1)
    clearance = 1 - np.arange(1, 101) / 100 - ROBOT.radius
    np.testing.assert_allclose(found[clearance > 0], (clearance - 0.1)[clearance > 0], atol=1e-3)


class TestAlreadyTooNear:
    """The robot's edge is 3 cm from a wall point; the margin is 8 cm."""

    wall = ((ROBOT.radius + 0.03, 0.0),)

    def test_standing_and_turning_is_feasible(self):
        assert (margins(along([(0, 0, yaw) for yaw in (0.0, 0.5, 3.0)], points=self.wall)) >= 0).all()

    @pytest.mark.parametrize("direction", [1.6, 2.4, 3.14, -2.0])
    def test_leaving_is_feasible(self, direction):
        end = 0.5 * np.array([np.cos(direction), np.sin(direction)])
        assert (margins(straight(end, steps=8, points=self.wall)) >= 0).all()

    @pytest.mark.parametrize("direction", [0.0, 0.5, -1.0])
    def test_coming_nearer_is_not(self, direction):
        end = 0.1 * np.array([np.cos(direction), np.sin(direction)])
        assert (margins(straight(end, steps=4, points=self.wall)) < 0).any()

    def test_another_obstacle_may_not_be_approached_either(self):
        both = [*self.wall, (-1.0, 0.0)]
        assert (margins(straight((-0.5, 0.0), steps=5, points=both)) >= 0).all()
        assert (margins(straight((-0.8, 0.0), steps=5, points=both)) < 0).any()


def test_without_points_only_standing_and_turning_is_feasible():
    assert (margins(along([(0, 0, 0.4), (0, 0, 0.9)])) >= 0).all()
    assert (margins(straight((0.5, 0.0))) < 0).all()
    assert (margins(straight((-0.1, 0.0))) < 0).all()


def test_a_lidar_that_sees_nothing_in_range_leaves_the_way_free():
    assert (margins(straight((1.0, 0.0), points=[(np.inf, np.inf)] * 4)) > 1).all()
    assert (margins(straight((1.0, 0.0), points=np.zeros((0, 2)))) > 1).all()


def test_a_nan_point_allows_nothing():
    assert not (margins(straight((1.0, 0.0), points=[(3.0, 3.0), (np.nan, 1.0)])) >= 0).any()


def test_millimetres_hold_far_from_the_origin_of_odom():
    far = np.array([800.0, -600.0])
    start = (*far, 0.0)
    near = along([(far[0] + 0.5, far[1], 0.0)], points=[(far[0] + 1.0, far[1])], start=start)
    assert obstacle_distance(near)[0, 0, 0, 0] == pytest.approx(0.5, abs=1e-3)


def test_distances_are_computed_once_for_a_trajectory():
    trajectory = straight((1.0, 0.0), points=[(2.0, 0.0)])
    objective("bump").energy(trajectory, Goal())
    shared = trajectory.readouts[KEY]
    guardrail().margin(trajectory)
    assert trajectory.readouts[KEY] is shared


def test_equal_futures_give_what_one_gives():
    trajectory, goal = random_trajectory(5, futures=1)
    expanded = np.broadcast_to(trajectory.poses, (*trajectory.poses.shape[:2], 4, *trajectory.poses.shape[3:]))
    many = Trajectory(trajectory.state, trajectory.actions, expanded, trajectory.velocities, 0.2)
    found = guardrail().margin(many)
    assert found.shape == expanded.shape[:-1]
    np.testing.assert_array_equal(found[:, :, 3:], guardrail().margin(trajectory))
    by_torch, _ = as_torch(trajectory, goal)
    by_torch = Trajectory(by_torch.state, by_torch.actions, by_torch.poses.expand(-1, -1, 4, -1, -1), by_torch.velocities, 0.2)
    np.testing.assert_allclose(guardrail().margin(by_torch).numpy(), found, atol=1e-5)


@pytest.mark.parametrize("margin", [0.0, -0.1, "far"])
def test_a_margin_that_is_none_is_refused(margin):
    with pytest.raises(ConfigurationError, match="margin"):
        create("guardrail", PluginSpec.model_validate({"plugin": "clearance", "margin": margin}), ROBOT)
