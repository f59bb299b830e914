import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objective_agent.config import PerceptionParameters
from objective_agent.perception.synchronizer import CAPACITY, Synchronizer, carry_on
from objective_agent.types import Command, Image, InputError, Odometry, Scan


def odometry(stamp, x=0.0, y=0.0, yaw=0.0, v=0.0, w=0.0):
    return Odometry(stamp, np.array([x, y, yaw], np.float32), np.array([v, w], np.float32))


def scan(stamp, ranges=(1.0, 2.0, 3.0, 4.0)):
    return Scan(stamp, np.array(ranges, np.float32), 0.0, math.pi / 2, 0.05, 8.0)


def image(stamp, value=0):
    return Image(stamp, np.full((4, 6, 3), value, np.uint8), np.ones((4, 6), np.float32))


def make():
    return Synchronizer(PerceptionParameters())


def test_odometry_is_carried_on_along_the_arc_of_its_twist():
    sync = make()
    sync.add(odometry(1.0, v=0.5, w=1.0))
    got = sync.observe(1.1)
    assert got.pose[0] == pytest.approx([0.5 * math.sin(0.1), 0.5 * (1 - math.cos(0.1)), 0.1], abs=1e-6)
    assert got.velocity[0] == pytest.approx([0.5, 1.0])


@given(st.floats(-1, 1), st.floats(-3, 3), st.floats(0, 0.5))
def test_carrying_on_in_two_halves_is_carrying_on_once(v, w, time):
    once = carry_on(odometry(1.0, 1, 2, 3, v, w), 1.0 + time)
    half = carry_on(odometry(1.0, 1, 2, 3, v, w), 1.0 + time / 2)
    twice = carry_on(odometry(1.0, *half, v, w), 1.0 + time / 2)
    assert np.allclose(once[:2], twice[:2], atol=1e-5)
    assert math.cos(once[2] - twice[2]) == pytest.approx(1, abs=1e-5)


def test_readings_from_after_the_stamp_are_not_used():
    sync = make()
    for stamp in (1.0, 1.1, 1.2):
        sync.add(odometry(stamp, x=stamp))
        sync.add(scan(stamp, [stamp] * 4))
        sync.add(image(stamp, int(stamp * 10)))
    got = sync.observe(1.15)
    assert got.pose[0, 0] == pytest.approx(1.1)
    assert got.scans[0].stamp == 1.1
    assert got.images[0, 0, 0, 0] == 11 and got.depths.shape == (1, 4, 6)


def test_a_sweep_is_placed_by_odometry_interpolated_across_the_half_turn():
    sync = make()
    sync.add(odometry(1.0, x=0, yaw=math.pi - 0.1))
    sync.add(odometry(1.1, x=1, yaw=-math.pi + 0.1))
    sync.add(scan(1.05))
    pose = sync.observe(1.12).scan_poses[0]
    assert pose[0] == pytest.approx(0.5)
    assert abs(pose[2]) == pytest.approx(math.pi, abs=1e-5)


def test_the_reason_names_what_is_missing_or_stale_and_by_how_much():
    sync = make()
    assert sync.observe(1.0) is None and "odom" in sync.reason
    sync.add(odometry(2.0))
    assert sync.observe(1.0) is None and "1.000 s later" in sync.reason
    assert sync.observe(2.5) is None and "0.500 s old" in sync.reason and "max_odom_age" in sync.reason
    assert sync.observe(2.1) is not None and sync.reason == ""


def test_a_stale_sweep_and_image_are_left_out():
    sync = make()
    sync.add(scan(1.0))
    sync.add(image(1.0))
    sync.add(odometry(1.4))
    got = sync.observe(1.4)
    assert got.scans == (None,) and got.scan_poses is None and got.images is None


BAD = [
    odometry(0.0),
    odometry(float("nan")),
    odometry(-1.0),
    odometry(3.0, x=float("nan")),
    odometry(3.0, w=float("inf")),
    Odometry(3.0, np.zeros(2), np.zeros(2)),
    scan(0.0),
    Scan(3.0, np.zeros((2, 2)), 0.0, 0.1, 0.05, 8.0),
    Scan(3.0, np.ones(4), 0.0, 0.0, 0.05, 8.0),
    Scan(3.0, np.ones(4), float("nan"), 0.1, 0.05, 8.0),
    Scan(3.0, np.ones(4), 0.0, 0.1, 8.0, 0.05),
    image(float("inf")),
    Image(3.0, np.zeros((4, 6), np.uint8)),
    Image(3.0, np.zeros((4, 6, 3), np.float32)),
    Image(3.0, np.zeros((4, 6, 3), np.uint8), np.zeros((3, 3))),
    odometry(1.0),
    odometry(0.5),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_reading_is_counted_and_loses_no_good_one(bad):
    sync = make()
    for reading in (odometry(1.0, x=1), scan(1.0), image(1.0)):
        assert sync.add(reading)
    before = sync.observe(1.05)
    assert not sync.add(bad)
    assert sum(sync.rejected.values()) == 1
    after = sync.observe(1.05)
    assert np.array_equal(before.pose, after.pose) and after.scans[0] is before.scans[0] and after.images is not None


def test_what_is_no_reading_is_an_error():
    with pytest.raises(InputError, match="Command"):
        make().add(Command(1.0, 0.0, 0.0))


def test_one_reading_from_the_future_does_not_lock_out_the_present():
    sync = make()
    for stamp in (1.0, 1.05, 50.0, 1.10, 1.15, 1.20, 1.25):
        sync.add(odometry(stamp, x=stamp))
    got = sync.observe(1.25)
    assert got.pose[0, 0] == pytest.approx(1.25)
    assert sync.observe(1.07).pose[0, 0] == pytest.approx(1.05), "the good readings from before are still there"


def test_a_clock_that_starts_over_is_followed():
    sync = make()
    for stamp in (100.0, 100.1, 1.0, 1.1, 1.2, 1.3):
        sync.add(odometry(stamp, x=stamp))
    assert sync.observe(1.3).pose[0, 0] == pytest.approx(1.3)
    assert sync.observe(100.1) is None


def test_buffers_are_bounded():
    sync = make()
    for k in range(1, 1000):
        sync.add(odometry(k * 0.03))
    assert len(sync._buffers[Odometry]) == CAPACITY[Odometry]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 0.06), min_size=5, max_size=30), st.randoms(use_true_random=False))
def test_the_order_between_sensors_does_not_matter(gaps, random):
    stamps = np.cumsum(gaps) + 1.0
    sensors = [
        [odometry(s, x=s, v=0.3) for s in stamps],
        [scan(s, [s] * 4) for s in stamps[::2]],
        [image(s) for s in stamps[1::2]],
    ]
    first, second = make(), make()
    for sensor in sensors:
        for reading in sensor:
            first.add(reading)
    queues = [list(sensor) for sensor in sensors]
    while any(queues):
        second.add(random.choice([queue for queue in queues if queue]).pop(0))
    for stamp in stamps:
        a, b = first.observe(float(stamp)), second.observe(float(stamp))
        assert np.array_equal(a.pose, b.pose) and a.scans[0] is b.scans[0]
        assert (a.scan_poses is None and b.scan_poses is None) or np.array_equal(a.scan_poses, b.scan_poses)
