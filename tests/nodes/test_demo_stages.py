"""Frames are followed through the graph by their stamps, from a recording of real messages."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rclpy.serialization import serialize_message

from objective_agent.types import Command
from objective_agent_nodes import convert, convert_state
from objective_agent_nodes.demo_record import McapFile
from objective_agent_nodes.demo_stages import TOPICS, stages

MS = 1_000_000
FRAME, TICK = 50 * MS, 25 * MS
TAKES = dict(zip(TOPICS, (0, 4 * MS, 7 * MS, 40 * MS, 43 * MS), strict=True))
"""When each message about a frame was heard, after the frame."""


def gate_state(origin: float) -> bytes:
    value = KeyValue(key="command_stamp", value=f"{origin:.9f}")
    return serialize_message(DiagnosticStatus(name="safety_gate", values=[value]))


def write(path, frames: int, without: dict[int, str], slow: dict[int, int]) -> None:
    """A run of `frames`; frame k lacks the topic `without[k]`, and its command came `slow[k]` ns later."""
    file, messages = McapFile(path), []
    for k in range(frames):
        stamp = 1000.0 + 0.05 * k
        tokens = convert_state.tokens_to(stamp, np.zeros((1, 4)), "model")
        made = {
            "camera/image_raw": ("sensor_msgs/msg/Image", convert.image_to(stamp, np.zeros((4, 4, 3), np.uint8))),
            "representation": ("sensor_msgs/msg/Image", tokens),
            "state": ("sensor_msgs/msg/Image", tokens),
            "cmd_vel_raw": ("geometry_msgs/msg/TwistStamped", convert.command_to(Command(stamp, 0.1, 0.0))),
        }
        for topic, (kind, message) in made.items():
            late = slow.get(k, 0) if topic == "cmd_vel_raw" else 0
            if without.get(k) != topic:
                messages.append((k * FRAME + TAKES[topic] + late, topic, kind, serialize_message(message)))
        when = k * FRAME + TAKES["cmd_vel"] + slow.get(k, 0)
        for time in (when, when + TICK):  # the gate repeats itself at its tick: that is not the frame's first command
            messages.append((time, "safety_gate/state", "diagnostic_msgs/msg/DiagnosticStatus", gate_state(stamp)))
    messages.append((0, "safety_gate/state", "diagnostic_msgs/msg/DiagnosticStatus", gate_state(float("nan"))))
    for time, topic, kind, data in sorted(messages):
        file.add(f"/{topic}", kind, data, stamp=10**15 + time)
    file.close()


def test_every_stage_has_its_share_and_what_did_not_come_through_counts_nowhere(tmp_path):
    write(
        tmp_path / "run.mcap", 200, without={5: "state", 9: "cmd_vel_raw"}, slow={100: 300 * MS, 150: 300 * MS, 160: 300 * MS}
    )
    found = stages(tmp_path / "run.mcap")
    assert found["camera/image_raw -> representation"] == {"p50": 4.0, "p99": 4.0}
    assert found["representation -> state"] == {"p50": 3.0, "p99": 3.0}
    assert found["state -> cmd_vel_raw"]["p50"] == 33.0 and found["state -> cmd_vel_raw"]["p99"] > 300
    assert found["cmd_vel_raw -> cmd_vel"] == {"p50": 3.0, "p99": 3.0}
    assert found["camera/image_raw -> cmd_vel"]["p50"] == 43.0
    assert len(found) == 5


def test_a_run_in_which_no_command_left_has_no_stages(tmp_path):
    write(tmp_path / "run.mcap", 3, without=dict.fromkeys(range(3), "cmd_vel_raw"), slow={})
    assert stages(tmp_path / "run.mcap") == {}
