"""Driving without lidar: what is read out of a representation is remembered like a sweep, but longer and believed less."""

import math
import subprocess
import sys

import numpy as np
import pytest

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.memory.seen import with_estimates
from objective_agent.plugins import create
from objective_agent.types import Observation, Representation, Scan

SECTORS = 36
STEP = 2 * math.pi / SECTORS


def estimate(stamp, ahead=None, fill=np.nan):
    """An estimated sweep that knows the three sectors ahead."""
    ranges = np.full(SECTORS, fill, np.float32)
    if ahead is not None:
        ranges[17:20] = ahead
    return Scan(stamp, ranges, -18 * STEP, STEP, 0.05, 3.0, estimated=True)


def measured(stamp, distance=2.0):
    return Scan(stamp, np.full(360, distance, np.float32), -math.pi, math.pi / 180, 0.05, 8.0)


def observation(stamp, pose=(0.0, 0.0, 0.0), scan=None):
    pose = np.array([pose], np.float32)
    return Observation(stamp, pose, np.zeros((1, 2), np.float32), (scan,), None if scan is None else pose)


def update(kept, seen):
    state = kept.update(Representation(seen.stamp, np.zeros((1, 1, 4), np.float32), "test"), seen)
    if state.points is None:
        return None
    points = state.points[0]
    return points[np.isfinite(points).all(-1)]


@pytest.fixture
def kept():
    return create("short_term_memory", PluginSpec(plugin="latest"), RobotParameters())


@pytest.fixture
def grid():
    return create("route_memory", PluginSpec(plugin="grid"), RobotParameters())


def test_an_estimate_stands_in_for_a_missing_sweep_and_never_for_a_measured_one():
    bare, full = observation(1.0, (1.0, 2.0, 0.5)), observation(1.0, scan=measured(1.0))
    found = with_estimates(bare, (estimate(1.0, 1.0),))
    assert found.scans[0].estimated
    np.testing.assert_allclose(found.scan_poses, bare.pose)
    assert with_estimates(full, (estimate(1.0, 1.0),)) is full
    assert with_estimates(bare, ()) is bare and with_estimates(bare, (None,)) is bare


def test_what_left_the_cameras_view_is_remembered_for_seconds_and_then_forgotten(kept):
    seen = update(kept, with_estimates(observation(1.0), (estimate(1.0, 1.0),)))
    assert len(seen) == 3 and np.abs(np.hypot(*seen.T) - 1.0).max() < 1e-5
    turned = (0.0, 0.0, math.pi)
    assert len(update(kept, with_estimates(observation(4.0, turned), (estimate(4.0),)))) == 3
    assert update(kept, with_estimates(observation(5.5, turned), (estimate(5.5),))) is None


def test_a_later_look_over_the_place_drops_what_is_not_there_any_more(kept):
    update(kept, with_estimates(observation(1.0), (estimate(1.0, 1.0),)))
    assert len(update(kept, with_estimates(observation(1.5), (estimate(1.5, np.inf),)))) == 0


def test_estimates_of_the_same_moment_count_once(kept):
    for stamp in np.arange(1.0, 2.0, 0.05):
        update(kept, with_estimates(observation(stamp), (estimate(stamp, 1.0 + 0.2 * (stamp - 1)),)))
    assert len(kept._sweeps[0]) == 5


def test_an_estimate_that_knows_nothing_does_not_make_the_world_free(kept):
    assert update(kept, with_estimates(observation(1.0), (estimate(1.0),))) is None


def test_a_measured_sweep_ends_the_estimates(kept):
    update(kept, with_estimates(observation(1.0), (estimate(1.0, 0.5),)))
    points = update(kept, observation(1.1, scan=measured(1.1)))
    assert np.hypot(*points.T).min() > 1.9


def test_a_wall_seen_by_the_camera_alone_is_routed_round(grid):
    for stamp in (1.0, 1.2, 1.4):
        grid.update(with_estimates(observation(stamp), (estimate(stamp, 1.0),)))
    route = grid.route(np.array([0.0, 0.0]), np.array([2.0, 0.0]))
    assert np.abs(route[:, 1]).max() > 0.2
    for stamp in np.arange(1.6, 3.0, 0.1):
        grid.update(with_estimates(observation(stamp), (estimate(stamp, np.inf),)))
    route = grid.route(np.array([0.0, 0.0]), np.array([2.0, 0.0]))
    assert np.abs(route[:, 1]).max() < 0.1, "believed less: a few looks through it are enough"


def test_an_error_of_an_estimate_does_not_wall_the_robot_in_for_good(grid):
    for stamp in np.arange(1.0, 2.0, 0.1):
        grid.update(with_estimates(observation(stamp), (estimate(stamp, 1.0),)))
    assert (grid.evidence > 0).any()
    for stamp in np.arange(2.0, 14.0, 0.5):
        grid.update(with_estimates(observation(stamp), (estimate(stamp),)))
    assert not (grid.evidence > 0).any()


def test_memory_and_surprise_need_no_torch():
    code = "import sys, objective_agent.routing, objective_agent.memory.seen, objective_agent.memory.short_term, "
    code += "objective_agent.surprise, objective_agent.cost.learned_clearance, objective_agent.cost.people; "
    assert subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"]).returncode == 0
