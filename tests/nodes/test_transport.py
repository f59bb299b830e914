"""How processes talk: on this machine only and without shared memory, and still with everybody who should be heard."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from objective_agent_nodes import transport

ROOT = Path(__file__).resolve().parents[2]
LOCALHOST = {transport.RANGE: "LOCALHOST"}
TALK = """
import sys, time
import rclpy
from std_msgs.msg import String
rclpy.init(); node = rclpy.create_node("talker"); heard = set()
node.create_subscription(String, "hall", lambda message: heard.add(message.data), 10)
publisher = node.create_publisher(String, "hall", 10)
me, wanted, end = sys.argv[1], set(sys.argv[2].split(",")), time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    publisher.publish(String(data=me)); rclpy.spin_once(node, timeout_sec=0.05)
    if wanted <= heard:  # and a little longer, for those who still listen, or who should not be heard
        end, wanted = min(end, time.monotonic() + 3), {"nobody"}
print(" ".join(sorted(heard)), "shared" if "/dev/shm/fastrtps" in open("/proc/self/maps").read() else "sockets", flush=True)
"""


def test_the_usual_way_to_stay_off_the_network_is_replaced_by_one_that_shares_no_memory():
    environment = dict(LOCALHOST)
    assert transport.choose(environment) == "UDPv4, this machine only"
    assert Path(environment[transport.PROFILES[0]]).name == "fastdds_loopback.xml"
    assert environment[transport.RANGE] == "SYSTEM_DEFAULT"
    again = dict(environment)
    assert transport.choose(again) == "UDPv4, this machine only" and again == environment


def test_what_a_user_chose_stays():
    own = {**LOCALHOST, transport.PROFILES[0]: "/etc/mine.xml"}
    assert "FASTRTPS_DEFAULT_PROFILES_FILE" in transport.choose(own) and own[transport.RANGE] == "LOCALHOST"
    other = {**LOCALHOST, "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp"}
    before = dict(other)
    assert "rmw_cyclonedds_cpp" in transport.choose(other) and other == before


def test_a_simulated_robot_needs_no_shared_memory_and_a_camera_of_others_does():
    simulated: dict[str, str] = {}
    assert transport.choose(simulated) == "UDPv4" and simulated == {transport.BUILTIN: "UDPv4"}
    real: dict[str, str] = {}
    assert "shared memory" in transport.choose(real, images=True)
    assert transport.is_shipped(real[transport.PROFILES[0]], "fastdds.xml")


@pytest.mark.slow
def test_processes_of_one_domain_hear_each_other_and_strangers_with_default_settings_but_no_other_domain(domain):
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
    plain = {name: value for name, value in os.environ.items() if name not in (transport.RANGE, *transport.PROFILES)}
    ours = {**plain, **LOCALHOST}
    transport.choose(ours)
    people = {"first": ours, "second": ours, "stranger": plain, "usual": {**plain, **LOCALHOST}}
    other = {**ours, "ROS_DOMAIN_ID": str(domain + 100)}
    everybody = ",".join(people)

    def talk(name: str, wanted: str, environment: dict) -> subprocess.Popen:
        command = [sys.executable, "-c", TALK, name, wanted, "40"]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    processes = {name: talk(name, everybody, environment) for name, environment in people.items()}
    processes["other"] = talk("other", "other", other)
    said = {name: process.communicate(timeout=90)[0].split() for name, process in processes.items()}
    for name in ("first", "second"):
        assert said[name] == ["first", "second", "stranger", "usual", "sockets"]
    assert set(said["stranger"]) >= {"first", "second"}
    assert said["usual"][-1] == "shared", "what the profile is there to avoid"
    assert said["other"] == ["other", "sockets"]
