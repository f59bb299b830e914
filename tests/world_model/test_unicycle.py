"""The analytic world model against exact and brute-force integration, and against a robot with a delay."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.plugins import create
from objective_agent.types import InputError, WorldState

ROBOT = RobotParameters()
LIMITS = np.array([ROBOT.max_acceleration, ROBOT.max_turn_acceleration])


@pytest.fixture
def model():
    return create("world_model", PluginSpec(plugin="unicycle"), ROBOT)


def state(pose=(0, 0, 0), velocity=(0, 0), stamp=0.0, sent=()):
    return WorldState(
        stamp=stamp,
        representation=np.arange(8, dtype=np.float32).reshape(1, 2, 4),
        pose=np.array([pose], np.float32),
        velocity=np.array([velocity], np.float32),
        model="test",
        sent_stamps=np.array([s[0] for s in sent], float),
        sent=np.array([[s[1:] for s in sent]], np.float32).reshape(1, -1, 2),
    )


def integrate(pose, velocity, command_at, seconds, start=0.0, dt=1e-3):
    """Brute force: small steps, midpoint heading."""
    pose, velocity = np.array(pose, float), np.array(velocity, float)
    for i in range(round(seconds / dt)):
        command = np.asarray(command_at(start + i * dt), float)
        after = velocity + np.clip(command - velocity, -LIMITS * dt, LIMITS * dt)
        v, w = (velocity + after) / 2
        heading = pose[2] + w * dt / 2
        pose += dt * np.array([v * math.cos(heading), v * math.sin(heading), w])
        velocity = after
    return pose, velocity


def test_a_steady_arc_is_exact(model):
    v, w, dt, horizon = 0.5, 0.8, 0.2, 20
    actions = np.tile(np.float32([v, w]), (1, 1, horizon, 1))
    poses = model.rollout(state(velocity=(v, w)), actions, dt=dt).poses[0, 0, 0]
    t = dt * np.arange(1, horizon + 1)
    circle = np.stack([v / w * np.sin(w * t), v / w * (1 - np.cos(w * t)), w * t], -1)
    np.testing.assert_allclose(poses, circle, atol=1e-5)


def test_a_straight_ramp_is_exact(model):
    actions = np.tile(np.float32([0.6, 0.0]), (1, 1, 5, 1))
    trajectory = model.rollout(state(), actions, dt=0.2)
    t = 0.2 * np.arange(1, 6)
    travelled = np.where(t < 0.6, t**2 / 2, 0.18 + 0.6 * (t - 0.6))
    np.testing.assert_allclose(trajectory.poses[0, 0, 0, :, 0], travelled, atol=1e-6)
    np.testing.assert_allclose(trajectory.velocities[0, 0, 0, :, 0], np.minimum(t, 0.6), atol=1e-6)


def test_random_actions_agree_with_fine_integration(model):
    rng = np.random.default_rng(3)
    low, high = [-ROBOT.max_reverse_speed, -ROBOT.max_turn_rate], [ROBOT.max_speed, ROBOT.max_turn_rate]
    for _ in range(5):
        actions = rng.uniform(low, high, (1, 4, 15, 2)).astype(np.float32)
        start, velocity = rng.normal(size=3), rng.uniform(low, high)
        poses = model.rollout(state(start, velocity), actions, dt=0.2).poses[0, :, 0]
        for n in range(4):
            truth, _ = integrate(start, velocity, lambda t, a=actions[0, n]: a[min(int(t / 0.2 + 1e-9), 14)], 3.0)
            assert np.hypot(*(poses[n, -1, :2] - truth[:2])) < 2e-3
            assert abs(poses[n, -1, 2] - truth[2]) < 1e-4


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-3, 3)), min_size=1, max_size=12),
    st.floats(-0.6, 0.6),
    st.floats(-1.8, 1.8),
    st.sampled_from([0.05, 0.1, 0.2, 0.5]),
)
def test_no_acceleration_beyond_the_limits_and_no_overshoot(commands, v, w, dt):
    model = create("world_model", PluginSpec(plugin="unicycle"), ROBOT)
    actions = np.array(commands, np.float32)[None, None]
    trajectory = model.rollout(state(velocity=(v, w)), actions, dt=dt)
    speeds = np.concatenate([[[v, w]], trajectory.velocities[0, 0, 0]])
    assert (np.abs(np.diff(speeds, axis=0)) <= LIMITS * dt + 1e-5).all()
    assert (np.abs(speeds[1:]) <= np.maximum(np.abs(speeds[:-1]), np.abs(actions[0, 0])) + 1e-5).all()
    moved = np.diff(np.concatenate([[[0, 0]], trajectory.poses[0, 0, 0, :, :2]]), axis=0)
    fastest = np.maximum(np.abs(speeds[1:, 0]), np.abs(speeds[:-1, 0]))
    assert (np.hypot(*moved.T) <= fastest * dt + 1e-5).all()


def test_torch_and_numpy_agree(model):
    rng = np.random.default_rng(1)
    actions = rng.normal(size=(1, 6, 10, 2)).astype(np.float32)
    sent = [(-0.1, 0.4, 0.2), (0.03, 0.1, -1.0)]
    one = state((1, 2, 0.5), (0.2, -0.3), sent=sent)
    by_numpy, by_torch = model.rollout(one, actions, 3), model.rollout(one.to_torch(), torch.tensor(actions), 3)
    np.testing.assert_allclose(by_torch.poses.numpy(), by_numpy.poses, atol=1e-5)
    np.testing.assert_allclose(by_torch.velocities.numpy(), by_numpy.velocities, atol=1e-6)
    assert by_numpy.poses.dtype == np.float32
    np.testing.assert_allclose(model.advance(one.to_torch(), 0.4).pose.numpy(), model.advance(one, 0.4).pose, atol=1e-6)


def test_shapes_and_futures(model):
    trajectory = model.rollout(state().to_torch(), torch.rand(1, 5, 7, 2), futures=3)
    assert trajectory.poses.shape == (1, 5, 3, 7, 3)
    assert trajectory.velocities.shape == (1, 5, 3, 7, 2)
    assert trajectory.representations.shape == (1, 5, 3, 7, 2, 4)
    assert torch.equal(trajectory.poses[:, :, 0], trajectory.poses[:, :, 2])
    assert torch.equal(trajectory.representations[0, 4, 1, 6], state().to_torch().representation[0])


def test_problems_in_a_batch_do_not_mix(model):
    rng = np.random.default_rng(2)
    pose, velocity = rng.normal(size=(3, 3)).astype(np.float32), rng.normal(size=(3, 2)).astype(np.float32)
    actions = rng.normal(size=(3, 4, 6, 2)).astype(np.float32)
    batch = WorldState(0.0, np.zeros((3, 1, 1), np.float32), pose, velocity, "test")
    together = model.rollout(batch, actions).poses
    for b in range(3):
        alone = model.rollout(state(pose[b], velocity[b]), actions[b : b + 1]).poses
        np.testing.assert_allclose(together[b], alone[0], atol=1e-6)


def test_advance_follows_a_robot_with_a_delay(model):
    rng = np.random.default_rng(5)
    stamps = np.sort(rng.uniform(-0.6, 0.5, 14))
    commands = rng.uniform([-0.1, -1.8], [0.6, 1.8], (14, 2))

    def acting(t):
        return commands[np.searchsorted(stamps + ROBOT.actuator_delay, t, side="right") - 1]

    pose, velocity = integrate((0.3, -0.2, 1.0), (0.1, 0.2), acting, 0.45, start=0.0)
    sent = [(s, *c) for s, c in zip(stamps, commands, strict=True)]
    predicted = model.advance(state((0.3, -0.2, 1.0), (0.1, 0.2), sent=sent), 0.45)
    assert predicted.stamp == 0.45
    np.testing.assert_allclose(predicted.pose[0], pose, atol=3e-3)
    np.testing.assert_allclose(predicted.velocity[0], velocity, atol=5e-3)


def test_advance_without_commands_keeps_the_velocity(model):
    predicted = model.advance(state(velocity=(0.5, 0.0), stamp=10.0), 10.4)
    np.testing.assert_allclose(predicted.pose[0], [0.2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(predicted.velocity[0], [0.5, 0])


def test_a_command_sent_later_than_the_delay_before_the_end_has_no_effect_yet(model):
    sent = [(-1.0, 0.0, 0.0), (0.0, 0.6, 0.0)]
    early = model.advance(state(sent=sent), ROBOT.actuator_delay)
    np.testing.assert_allclose(early.pose[0], [0, 0, 0], atol=1e-9)
    late = model.advance(state(sent=sent), ROBOT.actuator_delay + 0.2)
    np.testing.assert_allclose(late.pose[0], [0.02, 0, 0], atol=1e-6)


def test_advance_does_not_go_back_in_time(model):
    now = state(velocity=(0.5, 0.0), stamp=3.0)
    assert model.advance(now, 2.9) is now
    with pytest.raises(InputError, match="until"):
        model.advance(now, math.nan)


@pytest.mark.parametrize("shape", [(1, 3, 5), (1, 3, 5, 3), (2, 3, 5, 2)])
def test_actions_of_the_wrong_shape_are_refused(model, shape):
    with pytest.raises(InputError, match="actions"):
        model.rollout(state(), np.zeros(shape, np.float32))
