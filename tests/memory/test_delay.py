"""The measured actuator delay: found on simulated robots whose slip and payload are hidden, unknown where nothing tells it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")

from objective_agent.config import RobotParameters
from objective_agent.memory.delay import KEPT, DelayEstimator, believable
from objective_agent.simulation import World
from objective_agent.simulation.slip import Slip, draw_slip
from objective_agent.types import Command, InputError, Odometry

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.latency import driven_about

ROBOT = RobotParameters()


@pytest.fixture(scope="module")
def world() -> World:
    return World.load("apartment")


def driven(world: World, slip: Slip, seed: int, seconds: float = 30.0) -> tuple[DelayEstimator, float]:
    """An estimator that watched a robot being driven about, and the time."""
    *_, (now, estimator) = driven_about(world, ROBOT, slip, seed, seconds)
    return estimator, now


def moving(motion: Callable[[float], tuple], command: Callable[[float], tuple], seconds: float = 12.0) -> DelayEstimator:
    """An estimator that is told of a body that moves as `motion(t)` says while `command(t)` is sent."""
    estimator = DelayEstimator(ROBOT)
    for step in range(1, round(seconds / 0.025)):
        time = 0.025 * step
        estimator.command_sent(Command(time, *command(time)))
        estimator.measured(Odometry(time, np.zeros(3), np.array(motion(time))))
    return estimator


def weaving(time: float) -> tuple[float, float]:
    return 0.3 + 0.1 * math.sin(1.3 * time), 0.8 * math.sin(1.9 * time)


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.36])
def test_the_delay_of_a_simulated_robot_is_found(world, delay):
    estimator, now = driven(world, Slip(extra_delay=delay - ROBOT.actuator_delay), seed=4)
    assert estimator.seconds(now) == pytest.approx(delay, abs=0.02)
    assert abs(estimator.delay.seconds - delay) < 4 * estimator.delay.deviation


@pytest.mark.parametrize("seed", [3, 7])
def test_hidden_slip_and_payload_are_not_taken_for_delay(world, seed):
    slip = draw_slip(np.random.default_rng(seed), ROBOT.actuator_delay)
    estimator, now = driven(world, slip, seed)
    assert estimator.seconds(now) == pytest.approx(ROBOT.actuator_delay + slip.extra_delay, abs=0.05)


def test_motion_that_comes_later_is_a_delay_that_is_longer():
    found = [moving(lambda t, late=late: weaving(t - late), weaving).seconds(12.0) for late in (0.05, 0.25, 0.9)]
    assert found == pytest.approx([0.05, 0.25, 0.9], abs=0.03)


@pytest.mark.parametrize(
    ("motion", "command"),
    [
        (lambda t: (0.0, 0.0), lambda t: (0.0, 0.0)),
        (lambda t: (0.4, 0.0), lambda t: (0.4, 0.0)),
        (lambda t: (0.0, 0.0), weaving),
        (lambda t: (0.3, math.sin(7 * t) * math.cos(t**1.5)), weaving),
        (lambda t: weaving(t - 1.6), lambda t: (0.2, math.sin(t**1.7))),
    ],
    ids=["standing", "straight_on", "blocked", "somebody_else_steers", "too_late"],
)
def test_what_does_not_tell_leaves_it_unknown(motion, command):
    assert moving(motion, command).seconds(12.0) is None


def test_too_little_is_known_at_first_and_what_was_known_is_forgotten():
    late = lambda t: weaving(t - 0.2)  # noqa: E731
    assert moving(late, weaving, 6.0).seconds(6.0) is None
    estimator = moving(late, weaving)
    stamp = estimator.delay.stamp
    assert estimator.seconds(stamp + KEPT - 0.1) == pytest.approx(0.2, abs=0.03)
    assert estimator.seconds(stamp + KEPT + 0.1) is None
    assert estimator.seconds(stamp - 5.0) is None, "time went back"
    estimator.reset()
    assert estimator.seconds(stamp) is None


def test_after_a_pause_or_a_jump_of_time_it_looks_anew():
    estimator = moving(lambda t: weaving(t - 0.2), weaving)
    for stamp in (20.0, 3.0):
        estimator.command_sent(Command(stamp, 0.1, 0.0))
        estimator.measured(Odometry(stamp, np.zeros(3), np.zeros(2)))
        assert len(estimator._sent) + len(estimator._moved) <= 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.01, 1.2, None])
def test_what_is_no_delay_is_not_believed(value):
    assert believable(value) is None
    assert believable(0.36) == 0.36


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    estimator = DelayEstimator(ROBOT)
    with pytest.raises(InputError, match="must be finite"):
        estimator.command_sent(Command(1.0, bad, 0.0))
    with pytest.raises(InputError, match="must be finite"):
        estimator.measured(Odometry(1.0, np.zeros(3), np.array([0.0, bad])))
