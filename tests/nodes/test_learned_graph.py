"""A robot without lidar in the graph: what perception reads out of its representation becomes points and routes in memory."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from learned_model import write_untrained
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import LaserScan, PointCloud2

from objective_agent.types import Odometry, Scan
from objective_agent_nodes import convert, convert_state
from objective_agent_nodes.base import SUCCESS
from objective_agent_nodes.memory import Memory
from objective_agent_nodes.perception import Perception


@pytest.fixture
def look(ros, until, tmp_path):
    """`look(**scan)`: one image and one odometry message (and a scan when asked for), through perception and memory."""
    learned = {
        "encoder__plugin": "jepa",
        "encoder__model": str(write_untrained(tmp_path / "model")),
        "encoder__sweep_doubt": 2.0,
    }
    for made in (Perception(**ros.overrides(**learned)), Memory(**ros.overrides())):
        ros.add(made)
        assert made.trigger_configure() == SUCCESS, made.failure
        assert made.trigger_activate() == SUCCESS, made.failure
    node = ros.node()
    heard = {"representation/scan": [], "state/points": []}
    node.create_subscription(LaserScan, "representation/scan", heard["representation/scan"].append, 10)
    node.create_subscription(PointCloud2, "state/points", heard["state/points"].append, 10)
    odom, camera, scan = (
        node.create_publisher(kind, topic, 10)
        for kind, topic in ((OdometryMessage, "odom"), (ImageMessage, "camera/image_raw"), (LaserScan, "scan"))
    )
    assert until(
        lambda: odom.get_subscription_count() == 2 and camera.get_subscription_count() and scan.get_subscription_count() == 2
    )
    assert until(lambda: node.count_publishers("state/points") and node.count_publishers("representation/scan"))

    def once(sweep=None):
        stamp = time.time()
        odom.publish(convert.odometry_to(Odometry(stamp, np.zeros(3), np.zeros(2))))
        if sweep is not None:
            scan.publish(convert.scan_to(sweep(stamp)))
        time.sleep(0.05)
        camera.publish(convert.image_to(stamp, np.zeros((64, 64, 3), np.uint8)))
        time.sleep(0.1)

    return once, heard


def test_estimated_distances_reach_the_state_of_a_robot_without_lidar(look, until):
    once, heard = look
    for _ in range(6):
        once()
    assert until(lambda: any(message.fields for message in heard["state/points"]))
    sweep = convert.scan_from(heard["representation/scan"][-1])
    points = next(convert_state.points_from(m) for m in reversed(heard["state/points"]) if m.fields)
    assert len(sweep.ranges) == 36 and len(points) and points.shape[1] == 2
    distances = np.hypot(*points.T)
    assert min(np.abs(distances - known).min() for known in sweep.ranges[np.isfinite(sweep.ranges)]) < 0.05


def test_a_robot_with_a_lidar_has_no_use_for_estimates(look, until):
    once, heard = look
    for _ in range(4):
        once(lambda stamp: Scan(stamp, np.full(180, 2.0, np.float32), -np.pi, np.pi / 90, 0.05, 8.0))
    assert until(lambda: any(message.fields for message in heard["state/points"]))
    points = next(convert_state.points_from(m) for m in reversed(heard["state/points"]) if m.fields)
    np.testing.assert_allclose(np.hypot(*points.T), 2.0, atol=1e-3)
    assert not heard["representation/scan"]
