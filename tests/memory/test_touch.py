"""The sense of touch: the gate's refusals tell a robot without lidar what is right beside it."""

import math

import numpy as np
import pytest

from objective_agent.config import RobotParameters
from objective_agent.memory.touch import GAP, Touch
from objective_agent.types import Command, Scan

ROBOT = RobotParameters()


def push(touch, seconds=0.6, asked=(0.3, 0.0), sent=(0.0, 0.0), start=1.0):
    for stamp in np.arange(start, start + seconds, 0.05):
        touch.asked(Command(stamp, *asked))
        touch.sent(Command(stamp + 0.02, *sent))
    return start + seconds


def blocked(scan) -> np.ndarray:
    """Directions that are felt, degrees."""
    return np.degrees(scan.angles[np.isclose(scan.ranges, ROBOT.radius + GAP)])


@pytest.mark.parametrize("speed, middle", [(0.3, 0.0), (-0.1, 180.0)])
def test_what_the_gate_does_not_let_pass_is_in_the_way(speed, middle):
    touch = Touch(ROBOT)
    scan = touch.feel(push(touch, asked=(speed, 0.0)), None)
    felt = np.abs((blocked(scan) - middle + 180) % 360 - 180)
    assert scan.estimated and len(felt) == 10 and felt.max() < 50
    assert np.isnan(scan.ranges).sum() == 26, "of the rest nothing is known"


@pytest.mark.parametrize(
    "ask, sent",
    [((0.3, 0.0), (0.1, 0.0)), ((0.3, 0.5), (0.0, 0.5)), ((0.0, 1.0), (0.0, 0.0))],
    ids=["creeps", "turns", "asked for no motion"],
)
def test_a_robot_that_moves_or_wants_to_stand_feels_nothing(ask, sent):
    touch = Touch(ROBOT)
    assert touch.feel(push(touch, asked=ask, sent=sent), None) is None


def test_a_short_refusal_is_not_a_wall_and_a_motion_ends_it():
    touch = Touch(ROBOT)
    assert touch.feel(push(touch, seconds=0.3), None) is None
    end = push(touch, start=2.0)
    assert touch.feel(end, None) is not None
    touch.sent(Command(end + 0.05, 0.2, 0.0))
    assert touch.feel(end + 0.05, None) is None
    push(touch, start=4.0)
    touch.reset()
    assert touch.feel(5.0, None) is None


def test_it_joins_the_estimated_sweep_and_never_a_measured_one():
    touch = Touch(ROBOT)
    end = push(touch)
    step = math.radians(10)
    seen = Scan(end, np.full(36, 1.0, np.float32), -math.pi, step, 0.05, 3.0, estimated=True)
    found = touch.feel(end, seen)
    assert len(blocked(found)) == 9 and (np.isclose(found.ranges, 1.0)).sum() == 27 and found.stamp == end
    measured = Scan(end, np.full(180, 1.0, np.float32), -math.pi, math.pi / 90, 0.05, 8.0)
    assert touch.feel(end, measured) is measured
