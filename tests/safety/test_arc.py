"""Free arc length against brute force, and the braking formula against its own definition."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from objective_agent.safety.arc import admissible_speed, free_length

RADIUS = 0.23
number = st.floats(-2.0, 2.0, allow_nan=False)


def brute_force(point, v, w, radius, step=1e-3, limit=8.0):
    """Drives the disc in small steps until it touches."""
    s = np.arange(0.0, limit, step) * math.copysign(1.0, v)
    k = w / v
    if abs(k) < 1e-6:
        x, y = s, np.zeros_like(s)
    else:
        x, y = np.sin(k * s) / k, (1 - np.cos(k * s)) / k
    touch = np.flatnonzero(np.hypot(x - point[0], y - point[1]) < radius)
    return abs(s[touch[0]]) if len(touch) else math.inf


@settings(max_examples=300, deadline=None)
@given(x=number, y=number, v=st.sampled_from([-0.5, 0.5]), w=st.floats(-1.8, 1.8))
def test_free_length_agrees_with_driving(x, y, v, w):
    assume(math.hypot(x, y) > RADIUS + 1e-3)
    full_turn = 2 * math.pi * abs(v / w) if abs(w) > 1e-3 else math.inf
    free = free_length(np.array([[x, y]]), v, w, RADIUS)[0]
    driven = brute_force((x, y), v, w, RADIUS)
    barely = brute_force((x, y), v, w, RADIUS - 2e-3)
    if free > min(7.9, full_turn):
        assert math.isinf(barely) or barely > 7.8
    else:
        assert free == pytest.approx(driven, abs=5e-3) or math.isinf(barely)


def test_turning_on_the_spot_is_free():
    assert free_length(np.array([[0.24, 0.0], [0.1, 0.0]]), 0.0, 1.0, RADIUS).tolist() == [math.inf, math.inf]


@given(
    angle=st.floats(-math.pi, math.pi), distance=st.floats(0.01, RADIUS), w=st.floats(-1.8, 1.8), v=st.sampled_from([-0.4, 0.4])
)
def test_inside_the_radius_only_leaving_is_free(angle, distance, w, v):
    """A point that is already too near gives 0 where the motion brings it nearer, and room where it does not."""
    assume(abs(math.cos(angle)) > 1e-3)
    free = free_length(np.array([[distance * math.cos(angle), distance * math.sin(angle)]]), v, w, RADIUS)[0]
    nearer = math.cos(angle) * v > 0
    assert (free == 0.0) if nearer else (free > 0.0)


@given(
    free=st.floats(0, 5),
    reaction=st.floats(0, 1),
    brake=st.floats(0.1, 5),
    closing=st.floats(0, 2),
    share=st.floats(0.0, 0.999),
)
def test_the_admissible_speed_stops_in_time_and_no_earlier(free, reaction, brake, closing, share):
    v = float(admissible_speed(np.array(free), reaction, brake, closing))

    def needed(speed):
        return speed * reaction + speed**2 / (2 * brake) + closing * (reaction + speed / brake)

    assert v >= 0
    if v > 0:
        assert needed(v) == pytest.approx(free, abs=1e-6)
        assert needed(share * v) <= free + 1e-6
    else:
        assert needed(1e-6) >= free - 1e-5


@given(st.lists(st.tuples(number, number), min_size=1, max_size=20), number, number, number)
def test_more_points_never_leave_more_room(points, v, w, x):
    assume(abs(v) > 1e-3)
    points = np.array(points)
    more = np.vstack([points, [[x, 0.5]]])
    assert free_length(more, v, w, RADIUS).min() <= free_length(points, v, w, RADIUS).min()
