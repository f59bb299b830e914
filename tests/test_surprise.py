"""Surprise: small when the world does as predicted, above 1 when not; and what the agent does then."""

from dataclasses import replace

import numpy as np
import pytest

from objective_agent.config import (
    ActorParameters,
    Configuration,
    CostParameters,
    RobotParameters,
    Task,
    WorldModelParameters,
)
from objective_agent.surprise import SLOWEST, SurpriseMeter, cautious
from objective_agent.types import WorldState
from objective_agent.world_model.unicycle import Unicycle


class Calibrated(Unicycle):
    """A world model that knows what error of its representation is usual."""

    surprise_representation = 0.1


def drive(meter, speed, seconds=1.0, token=0.0, changes_at=0.0):
    """The errors at the end of a drive at `speed`, while 0.4 m/s is what was sent."""
    errors = None
    for stamp in np.arange(1.0, 1.0 + seconds, 0.05):
        state = WorldState(
            stamp=float(stamp),
            representation=np.full((1, 1, 4), token * (stamp > changes_at), np.float32),
            pose=np.array([[speed * (stamp - 1), 0, 0]], np.float32),
            velocity=np.array([[0.4, 0.0]], np.float32),
            model="test",
            sent_stamps=np.array([0.0]),
            sent=np.array([[[0.4, 0.0]]], np.float32),
        )
        errors = meter.update(state)
    return errors


def meter(kind=Unicycle, **settings):
    return SurpriseMeter(kind(kind.Config(), RobotParameters()), WorldModelParameters(**settings))


def test_a_robot_that_obeys_is_no_surprise_and_one_that_is_stuck_is():
    assert drive(meter(), 0.4)["surprise"] < 0.1
    stuck = drive(meter(), 0.0)
    assert stuck["surprise"] == pytest.approx(0.2 / 0.08, rel=0.1) and stuck["position"] == pytest.approx(stuck["surprise"])


def test_nothing_is_compared_before_there_is_something_to_predict_from():
    assert drive(meter(), 0.4, seconds=0.3) is None
    found = meter()
    drive(found, 0.0)
    found.reset()
    assert drive(found, 0.4, seconds=0.3) is None


def test_a_representation_is_compared_at_the_level_that_its_model_was_calibrated_to():
    change = {"seconds": 3.0, "token": 0.5, "changes_at": 3.8}  # what was seen is another thing from 3.8 s on
    assert drive(meter(), 0.4, **change)["representation"] == 0
    assert drive(meter(Calibrated), 0.4, **change)["representation"] == pytest.approx(5, rel=0.01)
    told = drive(meter(Calibrated, surprise_representation=1.0), 0.4, **change)
    assert told["representation"] == pytest.approx(0.5, rel=0.01), "a parameter goes before the calibration"


def test_one_gets_used_to_what_can_not_be_predicted():
    class Forgetful(Calibrated):
        def advance(self, state, until):
            return replace(super().advance(state, until), representation=state.representation + 0.5)

    assert drive(meter(Forgetful), 0.4, seconds=3.0)["representation"] == 0


def test_surprise_slows_and_never_speeds_up():
    settings = Configuration(
        number=1, stamp=0.0, task=Task(kind="goal_pose", position=(1.0, 0.0), speed_scale=0.8), cost=CostParameters(),
        actor=ActorParameters(), world_model=WorldModelParameters(), goal_tolerance=0.25, heading_tolerance=0.3,
        use_route=True, lookahead=1.0,
    )  # fmt: skip
    assert cautious(settings, 0.99) is settings
    assert cautious(settings, 2.0).task.speed_scale == pytest.approx(0.4)
    assert cautious(settings, 100.0).task.speed_scale == pytest.approx(0.8 * SLOWEST)
    assert settings.task.speed_scale == 0.8
