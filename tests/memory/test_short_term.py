import math

import numpy as np
import pytest

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.memory.short_term import LatestState
from objective_agent.plugins import create
from objective_agent.types import Command, InputError, Observation, Representation, Scan

BEAMS = 180


def sweep(stamp, returns, fill=np.inf):
    """A 2 degree sweep with `returns` {beam: range}, the other beams at `fill`."""
    ranges = np.full(BEAMS, fill, np.float32)
    for beam, value in returns.items():
        ranges[beam] = value
    return Scan(stamp, ranges, 0.0, 2 * math.pi / BEAMS, 0.05, 8.0)


def observation(stamp, scan=None, pose=(0.0, 0.0, 0.0)):
    pose = np.array([pose], np.float32)
    return Observation(stamp, pose, np.zeros((1, 2), np.float32), (scan,), None if scan is None else pose)


def representation(stamp):
    return Representation(stamp, np.zeros((1, 1, 4), np.float32), "test")


def memory(**settings) -> LatestState:
    return create("short_term_memory", PluginSpec(plugin="latest", **settings), RobotParameters())


def update(kept, seen):
    state = kept.update(representation(seen.stamp), seen)
    if state.points is None:
        return None
    points = state.points[0]
    return points[np.isfinite(points).all(-1)]


def test_points_stand_in_odom_where_the_sweep_was_taken():
    points = update(memory(), observation(1.0, sweep(1.0, {0: 2.0}), pose=(1.0, 1.0, math.pi / 2)))
    assert points == pytest.approx(np.array([[1.0, 3.0]]), abs=1e-5)


def test_points_have_a_fixed_size_and_the_nearest_are_kept():
    kept = memory(max_points=8, voxel=0.0)
    seen = observation(1.0, sweep(1.0, {beam: 1.0 + 0.01 * beam for beam in range(50)}))
    state = kept.update(representation(1.0), seen)
    assert state.points.shape == (1, 8, 2) and state.points.dtype == np.float32
    assert np.hypot(*state.points[0].T) == pytest.approx(1.0 + 0.01 * np.arange(8), abs=1e-5)
    few = kept.update(representation(2.0), observation(2.0, sweep(2.0, {0: 1.0})))
    assert np.isinf(few.points[0, 1:]).all()


def test_a_thin_leg_seen_by_one_beam_is_kept_when_the_next_sweep_passes_beside_it():
    kept = memory()
    update(kept, observation(1.0, sweep(1.0, {10: 3.0})))
    turned = math.radians(1.0)  # now the leg is half-way between two beams, 5 cm from each
    points = update(kept, observation(1.1, sweep(1.1, {}), pose=(0, 0, turned)))
    assert len(points) == 1


def test_a_person_who_left_is_dropped_as_soon_as_the_beams_go_through():
    kept = memory()
    assert len(update(kept, observation(1.0, sweep(1.0, dict.fromkeys(range(8), 2.0))))) == 8
    assert len(update(kept, observation(1.1, sweep(1.1, dict.fromkeys(range(40), 4.0))))) == 40


@pytest.mark.parametrize("fill", [np.nan, -np.inf])
def test_unknown_beams_show_nothing_free(fill):
    kept = memory()
    update(kept, observation(1.0, sweep(1.0, {5: 2.0})))
    assert len(update(kept, observation(1.1, sweep(1.1, {}, fill)))) == 1


def test_points_are_forgotten_by_number_of_sweeps_and_by_age():
    kept = memory(scans=2, max_age=0.5)
    update(kept, observation(1.0, sweep(1.0, {0: 2.0})))
    update(kept, observation(1.1, sweep(1.1, {90: 2.0}, np.nan)))
    assert len(update(kept, observation(1.2, sweep(1.2, {45: 2.0}, np.nan)))) == 2
    assert len(update(kept, observation(1.65))) == 1
    assert update(kept, observation(1.75)) is None


def test_the_same_sweep_twice_counts_once():
    kept = memory(scans=2)
    first = sweep(1.0, {0: 2.0})
    update(kept, observation(1.0, first))
    second = sweep(1.1, {90: 2.0}, np.nan)
    update(kept, observation(1.10, second))
    assert len(update(kept, observation(1.15, second))) == 2


def test_no_lidar_no_points():
    assert update(memory(), observation(1.0)) is None


def test_sent_commands_and_costs_are_kept_and_bounded():
    kept = memory(commands=3, window=2)
    for k in range(5):
        kept.command_sent(Command(k * 0.1, 0.1 * k, 0.0))
    state = kept.update(representation(1.0), observation(1.0))
    assert state.sent_stamps == pytest.approx([0.2, 0.3, 0.4])
    assert state.sent[0, :, 0] == pytest.approx([0.2, 0.3, 0.4], abs=1e-6)
    kept.cost_measured({"goal_pose": 2.0})
    kept.update(representation(1.1), observation(1.1))
    kept.update(representation(1.2), observation(1.2))
    assert len(kept.history) == 2 and not kept.history[0].energies


def test_costs_belong_to_the_state_they_were_measured_in():
    kept = memory()
    kept.update(representation(1.0), observation(1.0))
    kept.cost_measured({"goal_pose": 2.0})
    kept.cost_measured({"bump": 1.0})
    kept.update(representation(1.1), observation(1.1))
    assert kept.history[0].energies == {"goal_pose": 2.0, "bump": 1.0} and kept.history[1].energies == {}


def test_time_running_backwards_starts_over(caplog):
    kept = memory()
    kept.command_sent(Command(9.0, 0.5, 0.0))
    update(kept, observation(9.0, sweep(9.0, {0: 2.0})))
    state = kept.update(representation(1.0), observation(1.0))
    assert state.points is None and state.sent.shape == (1, 0, 2) and len(kept.history) == 1
    assert "starts over" in caplog.text


def test_bad_input_is_refused():
    kept = memory()
    with pytest.raises(InputError, match="finite"):
        kept.command_sent(Command(1.0, float("nan"), 0.0))
    with pytest.raises(InputError, match="does not belong"):
        kept.update(representation(1.0), observation(2.0))
