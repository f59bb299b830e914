"""Sensors against what geometry says."""

import math

import numpy as np
import pytest
from simulation_scenes import EXACT, LOW_ROOM, drive, last, person, room

from objective_agent.config import RobotParameters
from objective_agent.simulation import RobotSimulation, SensorParameters
from objective_agent.simulation.parameters import CameraParameters, LidarParameters, OdometryParameters
from objective_agent.types import Image, Odometry, Scan, wrap_angle

ROBOT = RobotParameters()


def at(world, pose, sensors=EXACT, **keywords):
    simulation = RobotSimulation(world, ROBOT, sensors, **keywords)
    simulation.reset(start=pose)
    return simulation.advance(0.1)


def to_square(x, y, angle, half=3.0):
    """Distance from (x, y) along `angle` to the walls of the room."""
    cos, sin = np.cos(angle), np.sin(angle)
    with np.errstate(divide="ignore"):
        return np.minimum((half - x * np.sign(cos)) / np.abs(cos), (half - y * np.sign(sin)) / np.abs(sin))


def test_lidar_ranges_are_the_distances_to_the_walls():
    x, y, yaw = 0.7, -1.1, 0.4
    scan = last(at(room(), (x, y, yaw)), Scan)
    np.testing.assert_allclose(scan.ranges, to_square(x, y, scan.angles + yaw), rtol=1e-4)


def test_lidar_sees_a_person_at_its_distance():
    scan = last(at(room(**person("2,0")), (0, 0, 0)), Scan)
    assert scan.ranges[90] == pytest.approx(1.8, abs=0.01)


def test_lidar_special_values_are_those_of_rep_117():
    sensors = SensorParameters(lidar=LidarParameters(noise=0, dropout=0, range_min=1.0, range_max=2.5))
    scan = last(at(room(), (2.2, 0, 0), sensors), Scan)
    true = to_square(2.2, 0, scan.angles)
    assert (scan.ranges[true < 0.999] == -np.inf).all()
    assert (scan.ranges[true > 2.501] == np.inf).all()
    assert np.isfinite(scan.ranges[(true > 1.001) & (true < 2.499)]).all()


def test_lidar_noise_and_dropouts_have_the_asked_size():
    sensors = SensorParameters(lidar=LidarParameters(noise=0.02, dropout=0.1))
    simulation = RobotSimulation(room(), ROBOT, sensors, camera=False)
    simulation.reset(start=(0, 0, 0))
    scans = [reading for reading in simulation.advance(10) if isinstance(reading, Scan)]
    ranges = np.array([scan.ranges for scan in scans])
    assert len(scans) == 100
    assert np.isnan(ranges).mean() == pytest.approx(0.1, abs=0.01)
    assert np.nanstd(ranges - to_square(0, 0, scans[0].angles)) == pytest.approx(0.02, rel=0.1)


def test_camera_sees_a_red_box_in_the_middle_at_its_depth_with_floor_below_and_sky_above():
    box = '<geom type="box" pos="2 0 .5" size=".25 .25 .5" rgba=".9 .05 .05 1"/>'
    image = last(at(room(box, room=LOW_ROOM), (0, 0, 0)), Image)
    assert image.rgb.shape == (64, 64, 3)
    assert image.rgb.dtype == np.uint8
    red, green, blue = image.rgb[32, 32].astype(int)
    assert red > 3 * max(green, blue)
    camera = EXACT.camera
    assert image.depth[32, 32] == pytest.approx(1.75 - camera.mount_x, abs=1e-3)
    assert np.ptp(image.depth[28:36, 28:36]) < 1e-3  # depth is along the axis: a wall across it is flat
    assert image.rgb[0, 32, 2] > image.rgb[0, 32, 0]  # blue sky
    assert np.isinf(image.depth[0, 0])
    row = 63
    down = (2 * row + 1) / 64 - 1
    assert image.depth[row, 0] == pytest.approx(camera.mount_z / down, rel=1e-3)  # the floor


def test_camera_left_is_left_and_its_field_of_view_is_as_asked():
    box = '<geom type="box" pos="2 1 .5" size=".2 .2 .5" rgba=".05 .9 .05 1"/>'
    image = last(at(room(box), (0, 0, 0)), Image)
    green = (image.rgb[32, :, 1].astype(int) > 2 * image.rgb[32, :, 0].astype(int)).nonzero()[0]
    assert green.max() < 32
    x, left, right = 1.8 - EXACT.camera.mount_x, 1.2, 0.8
    assert green.min() == pytest.approx(32 * (1 - left / x), abs=1.5)
    assert green.max() == pytest.approx(32 * (1 - right / (x + 0.4)), abs=1.5)


def test_camera_takes_the_colour_of_a_material():
    before = '<asset><material name="blue" rgba=".05 .05 .9 1"/></asset>'
    image = last(at(room('<geom type="box" pos="1 0 .5" size=".1 1 .5" material="blue"/>', before=before), (0, 0, 0)), Image)
    red, _, blue = image.rgb[32, 32].astype(int)
    assert blue > 3 * red


def test_a_camera_that_looks_down_sees_the_floor_nearer():
    sensors = SensorParameters(camera=CameraParameters(noise=0, pitch=math.pi / 4))
    image = last(at(room(), (0, 0, 0), sensors), Image)
    assert image.depth[31:33, 31:33].mean() == pytest.approx(EXACT.camera.mount_z * math.sqrt(2), rel=0.02)


def test_images_have_texture_so_that_motion_shows():
    simulation = RobotSimulation(room(), ROBOT, EXACT)
    simulation.reset(start=(0, 0, 0))
    image = last(simulation.advance(0.1), Image)
    assert image.rgb[40:].astype(float).std() > 5
    drive(simulation, 0, 0.5, 0.6)
    moved = last(drive(simulation, 0, 0.5, 0.1), Image)
    assert np.abs(moved.rgb.astype(int) - image.rgb).mean() > 3


def test_sensors_come_at_their_rates_in_the_order_of_their_stamps():
    simulation = RobotSimulation(room(), ROBOT, EXACT)
    readings = [reading for _ in range(300) for reading in simulation.advance(1 / 150)]
    stamps = [reading.stamp for reading in readings]
    assert stamps == sorted(stamps)
    assert stamps[0] > 0
    assert simulation.time == pytest.approx(2.0, abs=0.011)
    counts = {kind: sum(isinstance(reading, kind) for reading in readings) for kind in (Scan, Image, Odometry)}
    assert counts == {Scan: 20, Image: 40, Odometry: 60}


def test_exact_odometry_is_the_true_pose():
    simulation = RobotSimulation(room(), ROBOT, EXACT, camera=False)
    simulation.reset(start=(-2, -2, 0.3))
    odometry = last(drive(simulation, 0.5, 0.3, 6) + simulation.advance(0.1), Odometry)
    np.testing.assert_allclose(odometry.pose, simulation.true_pose, atol=2e-3)
    np.testing.assert_allclose(odometry.velocity, simulation.true_velocity, atol=1e-4)


def test_odometry_starts_true_then_drifts_within_a_few_percent_of_the_way():
    errors = []
    for seed in range(8):
        simulation = RobotSimulation(room(), ROBOT, SensorParameters(), seed=seed, camera=False)
        simulation.reset(start=(0, -1, 0))
        first = last(simulation.advance(0.1), Odometry)
        np.testing.assert_allclose(first.pose, [0, -1, 0], atol=1e-6)
        odometry = last(drive(simulation, 0.5, 0.5, 20), Odometry)  # 10 m in a circle
        difference = odometry.pose - simulation.true_pose
        errors.append([np.hypot(*difference[:2]), abs(wrap_angle(float(difference[2])))])
    errors = np.array(errors)
    assert 0.01 < errors[:, 0].mean() < 0.4
    assert errors[:, 1].max() < 0.5
    assert len(np.unique(errors[:, 0])) == len(errors)


def test_noise_free_odometry_parameters_do_not_hide_a_blocked_wheel():
    simulation = RobotSimulation(room(), ROBOT, EXACT, camera=False)
    simulation.reset(start=(2.5, 0, 0))
    odometry = last(drive(simulation, 0.5, 0, 4), Odometry)
    assert odometry.pose[0] == pytest.approx(3 - ROBOT.radius, abs=0.02)


def test_equal_seeds_give_equal_readings_and_other_seeds_others():
    def run(seed):
        simulation = RobotSimulation(room(**person("2,-1 2,1")), ROBOT, SensorParameters(), seed=seed)
        return drive(simulation, 0.3, 0.4, 3)

    def flat(readings):
        parts = []
        for reading in readings:
            arrays = [value for value in vars(reading).values() if isinstance(value, np.ndarray)]
            parts += [np.ravel(array).astype(float) for array in arrays]
        return np.concatenate(parts)

    one, same, other = flat(run(1)), flat(run(1)), flat(run(2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other, equal_nan=True)


def test_reset_with_a_seed_repeats_the_run():
    simulation = RobotSimulation(room(), ROBOT, SensorParameters(), seed=3, camera=False)
    first = [reading.ranges for reading in drive(simulation, 0.3, 0.4, 2) if isinstance(reading, Scan)]
    simulation.reset(seed=3)
    assert simulation.time == 0
    again = [reading.ranges for reading in drive(simulation, 0.3, 0.4, 2) if isinstance(reading, Scan)]
    np.testing.assert_array_equal(first, again)


def test_odometry_errors_are_drawn_from_the_parameters():
    sensors = SensorParameters(odometry=OdometryParameters(distance_scale_error=0.3))
    simulation = RobotSimulation(room(), ROBOT, sensors, seed=1, camera=False)
    simulation.reset(start=(-2, 0, 0))
    odometry = last(drive(simulation, 0.5, 0, 5), Odometry)
    assert abs(odometry.pose[0] - simulation.true_pose[0]) > 0.05


def test_frames_that_nobody_looks_at_leave_the_others_as_they_are():
    every, second = (RobotSimulation(room(), ROBOT, seed=3) for _ in range(2))
    second.watched = lambda stamp, following: following > 0.1 * math.ceil(10 * stamp - 1e-6) + 1e-6
    all_frames, seen = ([r for r in simulation.advance(0.5) if isinstance(r, Image)] for simulation in (every, second))
    assert [frame.stamp for frame in seen] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    for frame, same in zip(seen, all_frames[1::2], strict=True):
        assert frame.stamp == same.stamp and np.array_equal(frame.rgb, same.rgb) and np.array_equal(frame.depth, same.depth)
