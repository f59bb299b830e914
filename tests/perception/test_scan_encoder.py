"""The scan encoder: any lidar gives the same picture, thin obstacles stay, and what is unknown is said to be unknown."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.perception.scan import BEAMS, UNKNOWN, canonical_ranges
from objective_agent.plugins import create
from objective_agent.types import InputError, Observation, Scan

ROBOT = RobotParameters()


def make_scan(ranges, angle_min=-math.pi, increment=None, offset=(0.0, 0.0, 0.0)):
    ranges = np.asarray(ranges, np.float32)
    increment = 2 * math.pi / len(ranges) if increment is None else increment
    return Scan(0.0, ranges, angle_min, increment, 0.1, 8.0, offset)


def room(angles):
    """Range to the walls of a 4 m x 6 m room from its middle."""
    with np.errstate(divide="ignore"):
        return np.minimum(2 / np.abs(np.cos(angles)), 3 / np.abs(np.sin(angles)))


def observation(scans, velocity=None):
    batch = len(scans)
    velocity = np.zeros((batch, 2), np.float32) if velocity is None else velocity
    return Observation(1.5, np.zeros((batch, 3), np.float32), velocity, scans)


@pytest.fixture
def encoder():
    return create("encoder", PluginSpec(plugin="scan"), ROBOT)


def test_tokens_are_scaled_ranges_and_velocity(encoder):
    scan = make_scan(np.full(BEAMS, 4.0))
    representation = encoder.encode(observation([scan], np.array([[0.3, -1.8]])))
    assert representation.tokens.shape == (1, encoder.tokens, encoder.features)
    assert representation.tokens.dtype == np.float32
    assert representation.stamp == 1.5
    assert representation.model == encoder.model
    np.testing.assert_allclose(representation.tokens[0, 0, :BEAMS], 0.5)
    np.testing.assert_allclose(representation.tokens[0, 0, BEAMS:], [0.5, -1.0])


def test_a_lidar_with_the_canonical_beams_is_copied_exactly():
    ranges = np.random.default_rng(0).uniform(0.2, 7.9, BEAMS).astype(np.float32)
    np.testing.assert_allclose(canonical_ranges(make_scan(ranges)), ranges, rtol=1e-5)


@pytest.mark.parametrize("beams", [90, 180, 360, 500, 1081])
@pytest.mark.parametrize("first", [-math.pi, 0.0, 0.013, -math.pi + math.pi / BEAMS])
def test_any_full_circle_lidar_sees_the_same_room(beams, first):
    angles = first + np.arange(beams) * 2 * math.pi / beams
    seen = canonical_ranges(make_scan(room(angles), first))
    truth = room(-math.pi + np.arange(BEAMS) * 2 * math.pi / BEAMS)
    assert not np.isnan(seen).any()
    # a cell may show the nearest wall of the neighbouring beam, never anything farther than that
    width = math.pi / BEAMS + 2 * math.pi / beams
    around = [room(-math.pi + np.arange(BEAMS) * 2 * math.pi / BEAMS + shift) for shift in np.linspace(-width, width, 41)]
    assert (seen >= np.min(around, 0) - 1e-3).all()
    assert (seen <= np.max(around, 0) + 1e-3).all()
    assert np.abs(seen - truth).mean() < 0.1


def test_direction_and_mounting_of_the_lidar_do_not_matter():
    angles = -math.pi + np.arange(360) * math.pi / 180
    plain = canonical_ranges(make_scan(room(angles)))
    backwards = canonical_ranges(make_scan(room(angles)[::-1].copy(), angles[-1], -math.pi / 180))
    turned = canonical_ranges(make_scan(room(angles + 1.0), -math.pi, offset=(0.0, 0.0, 1.0)))
    np.testing.assert_allclose(backwards, plain, atol=1e-4)
    np.testing.assert_allclose(turned, plain, atol=0.25)
    assert np.abs(turned - plain).mean() < 0.02


def test_a_lidar_mounted_in_front_measures_from_base_link():
    ranges = np.full(360, np.inf, np.float32)
    ranges[180] = 1.0  # straight ahead
    seen = canonical_ranges(make_scan(ranges, offset=(0.2, 0.0, 0.0)))
    assert seen[BEAMS // 2] == pytest.approx(1.2, abs=1e-4)


def test_a_thin_obstacle_seen_by_one_beam_survives():
    ranges = np.full(1440, 6.0, np.float32)
    ranges[723] = 1.1
    seen = canonical_ranges(make_scan(ranges))
    assert np.isclose(seen, 1.1).sum() == 1


def test_special_values_follow_rep_117(encoder):
    ranges = np.full(BEAMS, 2.0, np.float32)
    ranges[[10, 50, 90, 130, 170]] = [np.inf, -np.inf, np.nan, 0.0, 9.5]
    features = encoder.encode(observation([make_scan(ranges)])).tokens[0, 0]
    assert features[10] == pytest.approx(1.0)  # free up to range_max
    assert features[50] == pytest.approx(0.1 / 8)  # too close: an obstacle at range_min
    assert features[90] == UNKNOWN
    assert features[130] == UNKNOWN  # below range_min
    assert features[170] == UNKNOWN  # above range_max
    assert features[11] == pytest.approx(0.25)


def test_directions_outside_the_field_of_view_are_unknown():
    increment = math.radians(270) / 540
    seen = canonical_ranges(make_scan(np.full(541, 3.0), -math.radians(135), increment))
    direction = np.abs(-180 + np.arange(BEAMS) * 2)
    assert np.isnan(seen[direction >= 138]).all()
    np.testing.assert_allclose(seen[direction <= 134], 3.0, rtol=1e-5)


def test_a_missing_scan_is_unknown_beside_a_present_one(encoder):
    tokens = encoder.encode(observation([None, make_scan(np.full(BEAMS, 8.0))], np.array([[0.6, 0.0], [0.0, 0.0]]))).tokens
    assert (tokens[0, 0, :BEAMS] == UNKNOWN).all()
    assert tokens[0, 0, BEAMS] == 1.0
    assert (tokens[1, 0, :BEAMS] == 1.0).all()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(width=32, allow_nan=True, allow_infinity=True), min_size=1, max_size=400),
    st.floats(-4, 4),
    st.floats(0.001, 3),
    st.booleans(),
)
def test_whatever_a_driver_sends_the_features_are_finite(ranges, first, increment, mirrored):
    scan = Scan(0.0, np.array(ranges, np.float32), first, -increment if mirrored else increment, 0.1, 8.0, (0.1, -0.1, 0.4))
    encoder = create("encoder", PluginSpec(plugin="scan"), ROBOT)
    tokens = encoder.encode(observation([scan])).tokens
    assert np.isfinite(tokens).all()
    assert ((tokens == UNKNOWN) | ((tokens >= 0) & (tokens <= 1))).all()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda: observation([make_scan(np.ones((3, 4)))]), "scan.ranges"),
        (lambda: observation([make_scan(np.zeros(0), increment=0.1)]), "scan.ranges"),
        (lambda: observation([Scan(0.0, np.array(["far"]), 0.0, 0.1, 0.1, 8.0)]), "scan.ranges"),
        (lambda: observation([make_scan(np.ones(4), increment=0.0)]), "angle_increment"),
        (lambda: observation([make_scan(np.ones(4), angle_min=math.nan)]), "finite"),
        (lambda: observation([Scan(0.0, np.ones(4, np.float32), 0.0, 0.1, 8.0, 0.1)]), "range_min"),
        (lambda: observation([None], np.zeros((1, 3))), "velocity"),
        (lambda: observation([None], np.array([[math.nan, 0.0]])), "velocity"),
        (lambda: Observation(0.0, np.zeros((2, 3)), np.zeros((2, 2)), [None]), "scans"),
    ],
)
def test_unusable_observations_are_refused_in_one_line(encoder, broken, says):
    with pytest.raises(InputError, match=says) as error:
        encoder.encode(broken())
    assert "\n" not in str(error.value)


def test_the_model_names_its_range():
    assert create("encoder", PluginSpec(plugin="scan"), ROBOT).model == "scan-180-8m-v1"
    assert create("encoder", PluginSpec(plugin="scan", max_range=4), ROBOT).model == "scan-180-4m-v1"
