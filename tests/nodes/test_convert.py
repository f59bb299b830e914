"""Messages and readings: nothing is lost on the way there and back, nothing wrong gets through."""

import json
import math

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

import cv2
from geometry_msgs.msg import PoseStamped, Twist
from hypothesis import given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CompressedImage

from objective_agent.types import Command, InputError, ObjectiveAgentError, Odometry, Scan
from objective_agent_nodes import convert, convert_state

finite = st.floats(-1e6, 1e6)
floats32 = st.floats(-1e6, 1e6, width=32)


@given(st.floats(0, 4e9))
def test_stamp_round_trip_is_exact_to_the_floats_resolution(stamp):
    assert abs(convert.seconds(convert.to_time(stamp)) - stamp) <= 1e-6


@given(st.lists(st.one_of(floats32, st.sampled_from([math.inf, -math.inf, math.nan])), min_size=1, max_size=50))
def test_scan_round_trip_keeps_every_special_value(ranges):
    scan = Scan(12.25, np.array(ranges, np.float32), -math.pi, 0.035, 0.05, 8.0)
    back = convert.scan_from(convert.scan_to(scan))
    np.testing.assert_array_equal(back.ranges, scan.ranges)
    assert back.stamp == 12.25 and back.range_max == pytest.approx(8.0)


@given(finite, finite, st.floats(-math.pi, math.pi), finite, finite)
def test_odometry_round_trip(x, y, yaw, v, w):
    back = convert.odometry_from(convert.odometry_to(Odometry(3.5, np.array([x, y, yaw]), np.array([v, w]))))
    assert back.pose[:2] == pytest.approx([x, y]) and back.velocity == pytest.approx([v, w])
    assert math.cos(back.pose[2] - yaw) == pytest.approx(1)


@given(st.booleans(), finite, finite)
def test_command_round_trip(stamped, v, w):
    message = convert.command_to(Command(5.0, v, w), stamped)
    assert isinstance(message, convert.command_type(stamped))
    assert convert.command_from(message, now=5.0) == Command(5.0, v, w)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(0, 2**31))
def test_representation_round_trip(tokens, features, seed):
    values = np.random.default_rng(seed).normal(size=(1, tokens, features)).astype(np.float32)
    back, model = convert_state.tokens_from(convert_state.tokens_to(1.5, values, "scan-1"))
    np.testing.assert_array_equal(back, values)
    assert model == "scan-1"


def test_long_model_names_are_cut_to_twelve_digits():
    assert convert_state.tokens_to(1.0, np.zeros((1, 1, 3)), "a" * 64).header.frame_id == "a" * 12


@settings(max_examples=30)
@given(st.lists(st.tuples(floats32, floats32), max_size=40))
def test_points_round_trip_without_padding(points):
    points = np.array(points, np.float32).reshape(-1, 2)
    padded = np.concatenate([points, np.full((3, 2), np.inf, np.float32)])
    np.testing.assert_array_equal(convert_state.points_from(convert_state.points_to(1.0, padded)), points)


def test_no_lidar_is_not_the_same_as_no_obstacle():
    assert convert_state.points_from(convert_state.points_to(1.0, None)) is None
    assert len(convert_state.points_from(convert_state.points_to(1.0, np.zeros((0, 2))))) == 0


def test_path_round_trip_and_the_empty_path():
    points = np.array([[0.0, 1.0], [2.5, -3.0]])
    np.testing.assert_array_equal(convert_state.path_from(convert_state.path_to(1.0, points)), points)
    assert convert_state.path_from(convert_state.path_to(1.0, np.zeros((0, 2)))) is None


@pytest.mark.parametrize("encoding", sorted(convert.CHANNELS))
def test_every_accepted_encoding_becomes_rgb(encoding):
    rgb = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)
    if encoding == "mono8":
        rgb = np.repeat(rgb[:, :, :1], 3, 2)
        pixels = rgb[:, :, :1]
    else:
        order = [2, 1, 0] if encoding.startswith("bgr") else [0, 1, 2]
        pixels = rgb[:, :, order]
        if convert.CHANNELS[encoding] == 4:
            pixels = np.concatenate([pixels, np.full((6, 5, 1), 255, np.uint8)], 2)
    padding = np.zeros((6, 3), np.uint8)  # rows may be longer than their pixels
    message = convert.image_to(1.0, rgb)
    message.encoding, message.step = encoding, 5 * convert.CHANNELS[encoding] + 3
    message.data = convert.bytes_of(np.concatenate([pixels.reshape(6, -1), padding], 1))
    np.testing.assert_array_equal(convert.image_from(message).rgb, rgb)


def test_png_is_decoded_and_rubbish_is_refused():
    rgb = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)
    png = cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1]
    np.testing.assert_array_equal(convert.image_from(CompressedImage(format="png", data=png.tobytes())).rgb, rgb)
    for data in (b"", b"rubbish"):
        with pytest.raises(InputError, match="JPEG or PNG"):
            convert.image_from(CompressedImage(format="png", data=data))


def test_a_wrong_encoding_is_named_with_the_accepted_ones():
    message = convert.image_to(1.0, np.zeros((4, 4, 3), np.uint8))
    message.encoding = "yuv422"
    with pytest.raises(InputError, match=r"'yuv422' is not accepted; accepted: rgb8, bgr8"):
        convert.image_from(message)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32 - 1), st.binary(max_size=300))
def test_an_image_that_lies_about_its_size_is_refused_or_right(height, width, step, data):
    message = convert.image_to(1.0, np.zeros((1, 1, 3), np.uint8))
    message.height, message.width, message.step, message.data = height, width, step, data
    try:
        assert convert.image_from(message).rgb.shape == (height, width, 3)
    except InputError:
        assert not (height and width and step >= 3 * width and len(data) == height * step)


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, math.nan, 1), (1, 1, 1, 1)])
def test_a_goal_that_has_no_heading_is_refused(quaternion):
    message = PoseStamped()
    o = message.pose.orientation
    o.x, o.y, o.z, o.w = map(float, quaternion)
    with pytest.raises(InputError, match="unit quaternion"):
        convert_state.goal_from(message)


def test_a_nan_goal_is_refused():
    message = PoseStamped()
    message.pose.position.x = math.nan
    with pytest.raises(InputError, match="not finite"):
        convert_state.goal_from(message)


def test_odometry_and_representations_with_nan_are_refused():
    with pytest.raises(InputError, match="not finite"):
        convert.odometry_from(convert.odometry_to(Odometry(1.0, np.array([math.nan, 0, 0]), np.zeros(2))))
    with pytest.raises(InputError, match="not finite"):
        convert_state.tokens_from(convert_state.tokens_to(1.0, np.full((1, 1, 2), np.nan), "m"))


def test_a_nan_command_gets_through_to_the_gate():
    message = Twist()
    message.linear.x = math.nan
    assert math.isnan(convert.command_from(message, 1.0).v)


@pytest.mark.parametrize(
    "text, why",
    [
        ("{" * 5, "not JSON"),
        ('{"a":' * 30 + "1" + "}" * 30, "deep"),
        ("[" * 60000, "deep|not JSON"),
        (" " * 70000, "at most 65536"),
        ('{"kind": "goal_pose", "position": [NaN, 0]}', "not JSON"),
        ('{"kind": "goal_pose"}', "needs a position"),
        ('{"kind": "goal_pose", "position": [1e999, 0]}', "finite"),
        ('{"kind": "fly"}', "kind = 'fly'"),
        ('{"speed": 3}', "unknown parameter"),
        ('{"speed_scale": 2}', "less than or equal to 1"),
        ('{"weights": {"goal_pose": -1}}', "greater than or equal to 0"),
        ("[1, 2]", "task"),
        ("9" * 5000, "can't be read|not JSON|task"),
    ],
)
def test_a_bad_task_is_refused_in_one_line(text, why):
    with pytest.raises(ObjectiveAgentError, match=why) as caught:
        convert_state.task_from(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@given(st.text(max_size=200))
def test_any_text_is_a_task_or_one_clear_line(text):
    try:
        convert_state.task_from(text)
    except ObjectiveAgentError as error:
        assert "\n" not in str(error)


def test_a_good_task_is_read():
    task = convert_state.task_from(json.dumps({"kind": "goal_pose", "position": [1, 2], "weights": {"effort": 0}}))
    assert task.position == (1.0, 2.0) and task.weights == {"effort": 0}
