"""The gate as a real process over DDS: loose bounds of the faults that the benchmark measures closely."""

import math
import os
import signal
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from geometry_msgs.msg import TwistStamped

from objective_agent.config import RobotParameters
from objective_agent.safety import default_parameters
from objective_agent_nodes import qos, transport
from objective_agent_nodes.gate_harness import ACTIVATE, CLEANUP, CONFIGURE, DEACTIVATE, GateHarness, end, module_process
from objective_agent_nodes.safety_gate import ANSWERED, SafetyGate

PARAMETERS = default_parameters(RobotParameters())


@pytest.fixture(autouse=True, scope="module")
def udp():
    """No shared memory: processes are killed here."""
    environment: dict[str, str] = {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
    transport.stay_here(environment)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def shared(udp):
    """One gate for the tests that leave it as they found it: running."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(91 + os.getpid() % 10))
        with GateHarness(PARAMETERS) as made:
            yield made


@pytest.fixture
def harness(shared):
    shared.scan = shared.odometry = shared.sending = True
    shared.command, shared.ranges = (0.5, 0.2), np.full(180, np.inf)
    return shared


def zeros(outputs):
    return all(v == 0 and w == 0 for _, v, w, _ in outputs)


def test_commands_pass_faults_stop_and_the_robot_resumes(harness):
    """One gate through the faults of a bad day; each must stop it in time and let it go on afterwards."""
    assert harness.moving()
    assert harness.outputs[-1][1:3] == pytest.approx((0.5, 0.2), abs=2e-3)

    harness.scan = False
    assert harness.first_zero(harness.last_scan) - harness.last_scan < 0.6
    harness.scan = True
    assert harness.moving()

    harness.odometry, begun = False, time.monotonic()
    assert harness.first_zero(begun) - begun < 0.6
    assert "odom" in harness.states[-1]["reason"]
    harness.odometry = True
    assert harness.moving()

    harness.sending, begun = False, time.monotonic()
    assert harness.first_zero(begun) - begun < 0.5
    harness.sending = True
    assert harness.moving()

    harness.command = (math.nan, 0.0)
    begun = time.monotonic()
    assert harness.first_zero(begun) - begun < 0.3
    harness.command = (0.5, 0.2)
    assert harness.moving()

    harness.ranges = np.full(180, 0.2)
    assert harness.wait(lambda: harness.outputs[-1][1] == 0.0, 1.0), "something inside the margin all round"
    assert harness.wait(lambda: "turning" in harness.states[-1]["reason"], 1.0)


def test_the_emergency_stop_stops_within_the_callback_and_latches(harness):
    assert harness.moving()
    begun = time.monotonic()
    harness.press(True)
    assert harness.first_zero(begun) - begun < 0.2
    assert harness.states[-1]["level"] == "LATCHED"
    refused = harness.reset()
    assert not refused.success and "still pressed" in refused.message
    harness.press(False)
    time.sleep(0.3)
    assert zeros(harness.outputs[-5:])
    assert harness.transition(DEACTIVATE) and harness.transition(CLEANUP)
    assert harness.transition(CONFIGURE) and harness.transition(ACTIVATE)
    time.sleep(0.6)
    assert zeros(harness.outputs[-10:]), "going through the lifecycle must not open the latch"
    assert harness.reset().success
    assert harness.moving()


def test_a_command_is_answered_when_it_comes_and_a_flood_at_the_ticks(ros):
    """However soon after a tick it comes: what waited for the next one would be 50 ms older."""
    gate = SafetyGate(**ros.overrides())
    outputs = lambda: sum(gate._counts.values())  # noqa: E731
    try:
        for _ in range(3):
            gate.tick()
            before = outputs()
            gate._on_command(TwistStamped())
            assert outputs() == before + 1
            for _ in range(100):
                gate._on_command(TwistStamped())
            assert outputs() == before + ANSWERED
    finally:
        gate.destroy_node()


def test_zeros_in_every_lifecycle_state_and_three_at_the_end(domain):
    with GateHarness(PARAMETERS, bring_up=False) as harness:

        def only_zeros():
            time.sleep(0.1)  # what left before the transition may still be on its way
            begun, before = time.monotonic(), len(harness.outputs)
            time.sleep(0.5)
            return len(harness.outputs) - before >= 6 and zeros(harness.outputs[before:]) and begun

        assert harness.wait(lambda: harness.outputs, 10)
        assert only_zeros(), "unconfigured"
        assert harness.transition(CONFIGURE) and only_zeros(), "inactive"
        assert harness.transition(ACTIVATE) and harness.moving()
        assert not harness.transition(CONFIGURE), "a transition that does not exist is refused"
        assert harness.moving(), "and harms nothing"
        assert harness.transition(DEACTIVATE) and only_zeros(), "inactive again"
        assert harness.transition(CLEANUP) and only_zeros(), "unconfigured again"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_last_three_commands_are_zero(domain, number):
    with GateHarness(PARAMETERS) as harness:
        assert harness.moving()
        begun = time.monotonic()
        assert end(harness.process, number) == 0
        time.sleep(0.2)
        last = [output for output in harness.outputs if output[0] > begun]
        assert len(last) >= 3 and zeros(last[-3:])
        assert harness.states[-1]["reason"] == "the gate ends"


def test_the_running_gate_has_no_torch_and_one_python_thread(harness):
    """What a process has loaded stands in its memory map."""
    with open(f"/proc/{harness.process.pid}/maps") as maps:
        assert "torch" not in maps.read()


def test_a_frozen_planner_process_stops_the_robot(harness):
    harness.sending = False
    planner = module_process("gate_harness")
    try:
        assert harness.moving(10)
        os.kill(planner.pid, signal.SIGSTOP)
        time.sleep(0.1)
        last = harness.arrivals[-1]
        assert harness.first_zero(last) - last < 0.5
        os.kill(planner.pid, signal.SIGCONT)
        assert harness.moving()
    finally:
        end(planner)


def test_another_publisher_on_cmd_vel_is_an_error(harness):
    intruder = harness.node.create_publisher(TwistStamped, "cmd_vel", qos.RELIABLE)

    def said():
        return [
            status.message for status in harness.health if status.level == b"\x02" and "another publisher" in status.message
        ]

    assert harness.wait(said, 4)
    assert "gate_harness" in said()[0]
    harness.node.destroy_publisher(intruder)


@pytest.mark.parametrize("change", [{"margin": math.nan}, {"enabled": False}])
def test_a_bad_limit_makes_configure_fail_and_only_zeros_leave(domain, change):
    with GateHarness(PARAMETERS, bring_up=False, **change) as harness:
        assert not harness.transition(CONFIGURE)
        time.sleep(0.3)
        assert harness.outputs and zeros(harness.outputs)
        assert harness.wait(lambda: any(next(iter(change)) in state["reason"] for state in harness.states))


def test_the_simulated_base_stops_by_itself_when_the_gate_is_killed(domain):
    pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")
    from objective_agent_nodes.bench_gate_killed import gate_killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))  # the run goes to a domain of its own; put back afterwards
        assert gate_killed(PARAMETERS, repeats=1)["standing_after_max_s"] < 2.0
