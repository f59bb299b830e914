"""The simulator as a node: sensors at their rates, commands that move the robot, a clock, a reset, and its latency meter."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped
from nav_msgs.msg import Odometry
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import Marker, MarkerArray

from objective_agent.types import Command
from objective_agent_nodes import convert, diagnostics, latency, qos
from objective_agent_nodes.base import SUCCESS
from objective_agent_nodes.latency import SensorToCommand
from objective_agent_nodes.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def simulate(ros):
    made = []

    def start(**parameters) -> Simulator:
        node = Simulator(**ros.overrides(**parameters))
        made.append(node)
        ros.add(node)
        assert node.trigger_configure() == SUCCESS, node.failure
        assert node.trigger_activate() == SUCCESS, node.failure
        return node

    yield start
    for node in made:
        node.trigger_shutdown()


def test_sensors_come_at_their_rates_with_the_clock_ahead_of_them(ros, until, simulate):
    tester, heard = ros.node(), {}
    kinds = {"scan": LaserScan, "camera/image_raw": Image, "camera/camera_info": CameraInfo, "odom": Odometry}
    for topic, kind in kinds.items():
        keep = lambda m, topic=topic: heard.setdefault(topic, []).append(convert.seconds(m.header.stamp))  # noqa: E731
        tester.create_subscription(kind, topic, keep, 50)
    clock: list[float] = []
    tester.create_subscription(Clock, "/clock", lambda m: clock.append(convert.seconds(m.clock)), 200)
    node = simulate(real_time_factor=1.0)
    assert until(lambda: node.simulation.time > 3, 15)
    for topic, rate in {"scan": 10, "camera/image_raw": 20, "camera/camera_info": 20, "odom": 30}.items():
        stamps = heard[topic]
        spacing = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
        assert spacing == pytest.approx(1 / rate, rel=0.15), topic
        assert all(b > a for a, b in pairwise(stamps))
    assert len(clock) <= 105 * clock[-1]


@pytest.mark.parametrize("stamped", [True, False])
def test_a_command_moves_the_robot_and_reset_brings_it_back(ros, until, simulate, stamped):
    node, tester = simulate(enable_stamped_cmd_vel=stamped, camera=False, real_time_factor=3.0), ros.node()
    start = node.simulation.true_pose
    commands = tester.create_publisher(TwistStamped if stamped else Twist, "cmd_vel", 1)
    assert until(commands.get_subscription_count)
    end = time.monotonic() + 10
    while abs(node.simulation.true_pose[2] - start[2]) < 0.2 and time.monotonic() < end:
        commands.publish(convert.command_to(Command(node.simulation.time + 0.01, 0.0, 1.0), stamped))
        time.sleep(0.03)
    assert abs(node.simulation.true_pose[2] - start[2]) >= 0.2
    client = tester.create_client(Trigger, "simulator/reset")
    assert client.wait_for_service(5)
    future = client.call_async(Trigger.Request())
    assert until(future.done) and future.result().success
    assert abs(node.simulation.true_pose[2] - start[2]) < 0.1


def test_people_are_shown_where_they_are(ros, until, simulate):
    tester, shown = ros.node(), []
    tester.create_subscription(MarkerArray, "simulator/people", shown.append, 10)
    node = simulate(world="corridor_people", camera=False)
    assert until(lambda: shown)
    assert len(shown[-1].markers) == len(node.simulation.people) > 0
    marker = shown[-1].markers[0]
    assert math.dist((marker.pose.position.x, marker.pose.position.y), node.simulation.people[0]) < 0.5


def test_as_fast_as_possible_is_faster_than_real_time(until, simulate):
    node = simulate(camera=False, real_time_factor=0.0)
    begun = time.monotonic()
    assert until(lambda: node.simulation.time > 3, 20)
    assert time.monotonic() - begun < 3


def test_a_bad_world_is_one_line_and_exit_code_2(domain, tmp_path):
    path = tmp_path / "world.xml"
    path.write_text("<mujoco><worldbody><geom")
    command = [sys.executable, "-m", "objective_agent_nodes.simulator", "--ros-args", "-p", f"world:={path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "is not a valid MJCF world" in done.stderr


# --- the latency meter ------------------------------------------------------------------------------------------------------


def gate_says(left: float, origin: float) -> DiagnosticStatus:
    health = diagnostics.Health(values={"cmd_vel_stamp": f"{left:.9f}", "command_stamp": f"{origin:.9f}"})
    return diagnostics.status("safety_gate", health)


@pytest.mark.parametrize("command_first", [True, False])
def test_latency_counts_the_first_command_made_from_an_image(monkeypatch, command_first):
    now = [100.0]
    monkeypatch.setattr(latency.time, "monotonic", lambda: now[0])
    meter = SensorToCommand()
    meter.on_image(1_000_000_000)
    now[0] += 0.04
    steps = [lambda: meter.on_command(1_030_000_000), lambda: meter.on_gate(gate_says(1.03, 1.0))]
    for step in steps if command_first else reversed(steps):
        step()
    now[0] += 0.05
    meter.on_gate(gate_says(1.08, 1.0))  # the gate repeats the command at its next tick
    meter.on_command(1_080_000_000)
    assert meter.count == 1
    assert meter.quantiles() == (pytest.approx(40), pytest.approx(40))


def test_latency_ignores_commands_that_no_image_led_to():
    meter = SensorToCommand()
    meter.on_command(5)
    meter.on_gate(gate_says(math.nan, 0.0))
    meter.on_gate(diagnostics.status("safety_gate", diagnostics.Health()))
    assert meter.count == 0 and math.isnan(meter.quantiles()[0])


# --- the wall that appears --------------------------------------------------------------------------------------------------


def test_a_wall_comes_and_goes_when_asked_for_and_is_refused_where_it_has_no_room(ros, until, simulate):
    tester, shown, scans = ros.node(), [], []
    tester.create_subscription(Marker, "simulator/wall", shown.append, qos.LATCHED)
    tester.create_subscription(LaserScan, "scan", scans.append, 1)
    node = simulate(world="corridor_people", camera=False, wall_distance=1.2)
    client = tester.create_client(SetBool, "simulator/set_wall")
    assert client.wait_for_service(5)

    def ask(up: bool):
        future = client.call_async(SetBool.Request(data=up))
        assert until(future.done)
        return future.result()

    assert ask(True).success
    assert until(lambda: shown and shown[-1].action == Marker.ADD)
    place = node.simulation.wall
    assert (shown[-1].pose.position.x, shown[-1].pose.position.y) == pytest.approx(tuple(place[:2]))
    assert until(lambda: scans and scans[-1].ranges[90] == pytest.approx(1.2, abs=0.06))
    again = ask(True)
    assert not again.success and "something stands" in again.message
    assert ask(False).success
    assert until(lambda: shown[-1].action == Marker.DELETE) and node.simulation.wall is None
