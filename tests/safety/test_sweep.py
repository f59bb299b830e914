"""REP-117 and the unknown: what counts as free, as an obstacle, and as closed."""

import math

import numpy as np
import pytest
from gate_rig import BEAMS, PARAMETERS, ROBOT, Rig, open_ranges, scan_of, with_wall

from objective_agent.safety import Ladder, default_parameters
from objective_agent.safety.sweep import bridge, classify, occlusion_edges, pose_at, problem
from objective_agent.types import Odometry, Scan

FRONT = BEAMS // 2
STEP = 2 * math.pi / BEAMS


def front(value, width=1):
    ranges = np.full(BEAMS, 3.0)
    ranges[FRONT - width // 2 : FRONT + (width + 1) // 2] = value
    return ranges


@pytest.mark.parametrize("zero", ["unknown", "free", "close"])
def test_special_values(zero):
    ranges = open_ranges()
    ranges[:6] = [np.inf, -np.inf, np.nan, 0.0, 9.5, 0.02]
    _, values, _, unknown = classify(default_parameters(ROBOT, zero_range=zero), scan_of(ranges))
    assert math.isinf(values[0])
    assert values[1] == pytest.approx(0.05)
    assert unknown[2]
    assert {"unknown": unknown[3], "free": math.isinf(values[3]), "close": values[3] == pytest.approx(0.05)}[zero]
    assert unknown[4]
    assert values[5] == pytest.approx(0.02)


def test_a_narrow_gap_is_bridged_between_its_neighbours():
    _, ranges, _, unknown = classify(PARAMETERS, scan_of(front(np.nan, 5)))
    filled, closed = bridge(PARAMETERS, ranges, unknown, STEP)
    assert not closed.any()
    assert filled[FRONT] == pytest.approx(3.0)


def test_a_wide_gap_is_closed_and_does_not_let_the_robot_in():
    assert Rig(ranges=front(np.nan, 5), velocity=(0.5, 0.0)).drive(0.5, 0.0).v == pytest.approx(0.5)
    assert Rig(ranges=front(np.nan, 40)).drive(0.5, 0.0).v < 0.1
    beside = np.full(BEAMS, 3.0)
    beside[:30] = np.nan
    assert Rig(ranges=beside, velocity=(0.5, 0.0)).drive(0.5, 0.0).v == pytest.approx(0.5)


def test_a_blind_lidar_lets_the_robot_turn_but_not_drive():
    rig = Rig(ranges=np.full(BEAMS, np.nan))
    assert abs(rig.drive(0.5, 0.0).v) < 0.1
    assert rig.drive(0.0, 0.5).w == pytest.approx(0.5)


def test_directions_outside_the_field_of_view_are_unknown():
    scan = Scan(1.0, np.full(90, 3.0, np.float32), -math.pi / 2, math.pi / 90, 0.05, 8.0)
    angles, ranges, _, unknown = classify(PARAMETERS, scan)
    assert len(angles) == 180 and unknown.sum() == 90
    assert (np.cos(angles[unknown]) < 0.05).all()
    assert np.isfinite(ranges[:90]).all()


def test_too_close_is_an_obstacle():
    assert Rig(ranges=front(-np.inf, 3)).drive(0.5, 0.0).v == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"angle_increment": 0.0},
        {"range_max": 0.01},
        {"angle_min": math.nan},
        {"angle_increment": 1.0},
        {"offset": (99.0, 0, 0)},
    ],
)
def test_a_scan_that_makes_no_sense_is_a_fault(changes):
    values = {"angle_min": 0.0, "angle_increment": STEP, "range_min": 0.05, "range_max": 8.0} | changes
    assert problem(Scan(1.0, np.full(BEAMS, 3.0), **values))
    assert not problem(scan_of(open_ranges()))


def test_a_doorway_has_edges_and_a_table_leg_has_none():
    angles = -math.pi + STEP * np.arange(BEAMS)
    wall = with_wall(1.0)
    wall[np.abs(np.tan(angles)) < 0.4] = np.inf
    edges = occlusion_edges(angles, np.where(np.isinf(wall), 8.0, wall), 8.0)
    inner = edges[np.abs(angles[edges]) < 0.6]
    assert len(inner) == 2
    assert np.allclose(np.abs(np.tan(angles[inner])), 0.4, atol=0.06)
    leg = np.full(BEAMS, 6.0)
    leg[FRONT : FRONT + 2] = 1.0
    assert len(occlusion_edges(angles, leg, 8.0)) == 0


def test_the_robot_passes_a_doorway_of_80_cm_at_a_useful_speed():
    """From 2 m in front to 1 m behind: an occlusion limits the speed, and lets it pass."""
    angles = -math.pi + STEP * np.arange(BEAMS)
    slowest, rig = math.inf, Rig()
    x, v = -2.0, 0.0
    while x < 1.0:
        with np.errstate(divide="ignore", invalid="ignore"):
            wall = np.where(np.sign(np.cos(angles)) == np.sign(-x), -x / np.cos(angles), np.inf)
            opening = np.abs(wall * np.sin(angles)) < 0.4
            rig.ranges = np.where(opening | (np.abs(wall * np.sin(angles)) > 3), np.inf, wall)
        rig.pose, rig.velocity = np.array([x, 0.0, 0.0]), np.array([v, 0.0])
        output = rig(0.6, 0.0)
        v = output.v
        x += 0.05 * v
        if rig.now > 101.5:
            slowest = min(slowest, v)
        assert rig.now < 130
    assert 0.25 <= slowest < 0.6
    assert output.level <= Ladder.LIMIT


def test_the_pose_of_a_sweep_is_interpolated_across_the_jump_of_the_angle():
    history = (Odometry(1.0, np.array([0, 0, 3.1]), np.zeros(2)), Odometry(1.1, np.array([1, 0, -3.1]), np.array([2.0, 0.0])))
    middle = pose_at(history, 1.05)
    assert middle[0] == pytest.approx(0.5)
    assert math.cos(middle[2]) == pytest.approx(-1.0, abs=1e-3)
    assert pose_at(history, 1.15)[0] == pytest.approx(1.0 - 0.1, abs=1e-3)
