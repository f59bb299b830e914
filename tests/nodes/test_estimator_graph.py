"""Perception and memory over DDS: which senses a representation was made from travels with it, and memory estimates."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from learned_model import write_untrained
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import LaserScan

from objective_agent.learning.card import add_part
from objective_agent.types import Odometry, Scan
from objective_agent_nodes import convert, convert_state
from objective_agent_nodes.base import SUCCESS
from objective_agent_nodes.memory import Memory
from objective_agent_nodes.perception import Perception

D, BIAS = 32, 3.0


@pytest.fixture
def look(ros, until, tmp_path):
    """`look(sweep=None)`: one moment through both nodes; `heard`: topic -> messages."""
    folder = write_untrained(tmp_path / "model", features=D)
    one = np.eye(D, dtype=np.float32)
    arrays = {"process": 0.01 * one, "camera.offset": np.full(D, BIAS, np.float32), "camera.noise": one}
    add_part(folder, "memory", arrays, {"senses": ["lidar", "camera"], "alarm": {"camera": 1e6}}, {})
    learned = {"encoder__plugin": "jepa", "encoder__model": str(folder)}
    estimator = {"short_term__plugin": "estimator", "short_term__model": str(folder), "short_term__longest_gap": 5.0}
    for made in (Perception(**ros.overrides(**learned)), Memory(**ros.overrides(**estimator))):
        ros.add(made)
        assert made.trigger_configure() == SUCCESS, made.failure
        assert made.trigger_activate() == SUCCESS, made.failure
    node = ros.node()
    heard = {"representation": [], "state": []}
    for topic, messages in heard.items():
        node.create_subscription(ImageMessage, topic, messages.append, 10)
    odom, camera, scan = (
        node.create_publisher(kind, topic, 10)
        for kind, topic in ((OdometryMessage, "odom"), (ImageMessage, "camera/image_raw"), (LaserScan, "scan"))
    )
    assert until(
        lambda: odom.get_subscription_count() == 2 and camera.get_subscription_count() and scan.get_subscription_count() == 2
    )
    assert until(lambda: node.count_publishers("state") and node.count_publishers("representation"))

    def once(sweep=None):
        """(encoding [D], estimate [D], frame_id of the representation) of one moment."""
        stamp, count = time.time(), len(heard["state"])
        odom.publish(convert.odometry_to(Odometry(stamp, np.zeros(3), np.zeros(2))))
        if sweep is not None:
            scan.publish(convert.scan_to(sweep(stamp)))
        time.sleep(0.05)
        camera.publish(convert.image_to(stamp, np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)))
        assert until(lambda: len(heard["state"]) > count)
        representation, state = heard["representation"][-1], heard["state"][-1]
        assert representation.header.stamp == state.header.stamp
        made = (convert_state.tokens_from(message)[0][0, 0] for message in (representation, state))
        return *made, representation.header.frame_id

    return once


def sweep(stamp):
    return Scan(stamp, np.full(180, 2.0, np.float32), -np.pi, np.pi / 90, 0.05, 8.0)


def test_a_camera_alone_is_told_from_all_senses_and_estimated(look):
    for _ in range(20):  # on a busy machine a sweep may come too late for its image
        encoding, estimate, frame = look(sweep)
        if frame.endswith(" lidar+camera"):
            break
    assert frame.endswith(" lidar+camera")
    np.testing.assert_array_equal(estimate, encoding)
    time.sleep(0.35)  # the last sweep is too old now
    encoding, estimate, frame = look()
    assert frame.endswith(" camera")
    assert np.abs(estimate - (encoding - BIAS)).mean() > 0.5 * BIAS, "what all senses said is remembered"


def test_the_senses_stand_beside_the_model_and_a_message_without_them_is_one_that_does_not_say():
    tokens = np.zeros((1, 1, 4))
    for senses, end in (((("lidar", "camera"),), " lidar+camera"), ((("camera",),), " camera"), (((),), " none"), ((), "a")):
        message = convert_state.tokens_to(1.0, tokens, "a" * 64, senses)
        assert message.header.frame_id == "a" * 12 + (end if senses else "")
        assert convert_state.tokens_from(message)[1] == "a" * 12
        assert convert_state.senses_from(message) == senses
    named = convert_state.tokens_to(1.0, tokens, "my model camera2")
    assert convert_state.tokens_from(named)[1] == "my model camera2" and convert_state.senses_from(named) == ()
