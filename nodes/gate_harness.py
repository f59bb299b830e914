"""A robot's surroundings for one real safety gate: the gate as a process of its own, and something that feeds and watches it.

Used by the fault benchmark and by the tests; everything goes over DDS.  `python -m objective_agent_nodes.gate_harness` is the
other end: a planner stand-in that does nothing but send commands, to be stopped, frozen or killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from objective_agent.safety import GateParameters
from objective_agent.types import Command, Odometry, Scan
from objective_agent_nodes import convert, diagnostics, qos

SCAN_PERIOD, ODOM_PERIOD, COMMAND_PERIOD = 0.1, 1 / 30, 0.05
CONFIGURE, CLEANUP, ACTIVATE, DEACTIVATE = 1, 2, 3, 4


def module_process(module: str, *arguments: str) -> subprocess.Popen:
    """`python -m objective_agent_nodes.MODULE` in this environment, over UDP: a killed process leaves no shared memory."""
    environment = {key: value for key, value in os.environ.items() if key != "_ROS_WHEELS_BOOTSTRAP_COMPLETE"}
    environment |= {"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", f"objective_agent_nodes.{module}", *arguments], env=environment)


def end(process: subprocess.Popen, number: int = signal.SIGINT, seconds: float = 5.0) -> int:
    """Ends a process that this one started; its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(seconds)
    process.kill()
    return process.wait()


class GateHarness:
    """Starts a gate with `parameters`, brings it up and feeds it with an empty room: `with GateHarness(p) as harness`."""

    def __init__(self, parameters: GateParameters, bring_up: bool = True, **extra):
        self._folder = tempfile.TemporaryDirectory()
        values = parameters.model_dump(mode="json") | extra
        file = Path(self._folder.name) / "gate.yaml"
        file.write_text(yaml.safe_dump({"safety_gate": {"ros__parameters": values}}))
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context)
        self.node = rclpy.create_node("gate_harness", context=self.context)
        self.outputs: list[tuple[float, float, float, float]] = []  # (arrival, v, w, stamp)
        self.arrivals: list[float] = []  # of cmd_vel_raw
        self.states, self.health = [], []
        self.scan, self.odometry, self.sending, self.last_scan, self._met = True, True, True, 0.0, []
        self.command, self.ranges = (0.5, 0.2), np.full(180, np.inf)
        create = self.node.create_subscription
        create(TwistStamped, "cmd_vel", self._on_output, 50)
        create(TwistStamped, "cmd_vel_raw", lambda _: self.arrivals.append(time.monotonic()), 50)
        create(DiagnosticStatus, "safety_gate/state", lambda m: self.states.append(diagnostics.values(m)), 50)
        create(DiagnosticArray, "/diagnostics", lambda m: self.health.extend(m.status), 50)
        self._raw = self.node.create_publisher(TwistStamped, "cmd_vel_raw", qos.RELIABLE)
        self._scan = self.node.create_publisher(LaserScan, "scan", qos.RELIABLE)
        self._odom = self.node.create_publisher(OdometryMessage, "odom", qos.RELIABLE)
        self._e_stop = self.node.create_publisher(Bool, "e_stop", qos.RELIABLE)
        self._change = self.node.create_client(ChangeState, "safety_gate/change_state")
        self._reset = self.node.create_client(Trigger, "safety_gate/reset")
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._running, self._bring_up = True, bring_up
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._spin, self._feed)]
        self.process = module_process("safety_gate", "--ros-args", "--params-file", str(file))
        for thread in self._threads:
            thread.start()

    def __enter__(self):
        with contextlib.ExitStack() as undo:
            undo.push(self)
            if self._bring_up:
                assert self.transition(CONFIGURE) and self.transition(ACTIVATE), "the gate did not come up"
            undo.pop_all()
        return self

    def __exit__(self, *_):
        end(self.process)
        self._running = False
        for thread in self._threads:
            thread.join(2)
        self._executor.shutdown(0)
        self.context.try_shutdown()
        self._folder.cleanup()

    def _spin(self):
        while self._running and self.context.ok():
            self._executor.spin_once(timeout_sec=0.05)

    def _on_output(self, message: TwistStamped):
        stamp = convert.seconds(message.header.stamp)
        self.outputs.append((time.monotonic(), message.twist.linear.x, message.twist.angular.z, stamp))

    def _feed(self):
        due = dict.fromkeys(("scan", "odom", "command"), time.monotonic())
        while self._running:
            now, stamp = time.monotonic(), time.time()
            if now >= due["odom"]:
                due["odom"] += ODOM_PERIOD
                if self.odometry:
                    self._odom.publish(convert.odometry_to(Odometry(stamp, np.zeros(3), np.zeros(2))))
            if now >= due["scan"]:
                due["scan"] += SCAN_PERIOD
                if self.scan:
                    self._scan.publish(convert.scan_to(Scan(stamp, self.ranges, -np.pi, 2 * np.pi / 180, 0.05, 8.0)))
                    self.last_scan = time.monotonic()
            if now >= due["command"]:
                due["command"] += COMMAND_PERIOD
                if self.sending:
                    self.send(*self.command)
            time.sleep(max(min(due.values()) - time.monotonic(), 0.0005))

    # --- what a test does ---------------------------------------------------------------------------------------------------

    def send(self, v: float, w: float, stamp: float | None = None) -> None:
        self._raw.publish(convert.command_to(Command(time.time() if stamp is None else stamp, v, w)))

    def press(self, pressed: bool) -> None:
        self._e_stop.publish(Bool(data=pressed))

    def transition(self, number: int, seconds: float = 10.0) -> bool:
        return self._call(self._change, ChangeState.Request(transition=Transition(id=number)), seconds).success

    def reset(self, seconds: float = 5.0) -> Trigger.Response:
        return self._call(self._reset, Trigger.Request(), seconds)

    def _call(self, client, request, seconds: float):
        assert client.wait_for_service(seconds), f"{client.srv_name} is not there"
        if client not in self._met:
            time.sleep(0.5)  # the server may not yet have found the way back for its answer
            self._met.append(client)
        future = client.call_async(request)
        assert self.wait(future.done, seconds), f"{client.srv_name} did not answer"
        return future.result()

    def wait(self, condition, seconds: float = 5.0):
        """Waits until `condition()` is truthy; its last value."""
        finish = time.monotonic() + seconds
        while not (value := condition()) and time.monotonic() < finish:
            time.sleep(0.002)
        return value

    def moving(self, seconds: float = 5.0, least: float = 0.499) -> bool:
        """Waits until a command of at least `least` m/s leaves the gate (full speed, unless told otherwise)."""
        start = time.monotonic()
        return bool(self.wait(lambda: (last := self.outputs[-1:]) and last[0][0] > start and last[0][1] >= least, seconds))

    def first_zero(self, since: float, seconds: float = 3.0) -> float:
        """Arrival of the first zero after which nothing but zero came, for outputs since `since`; inf if there is none."""
        found = [np.inf]

        def zero():
            recent = [output for output in self.outputs[-400:] if output[0] >= since]
            if len(recent) >= 3 and all(o[1] == 0 and o[2] == 0 for o in recent[-3:]):
                last = max((k for k, o in enumerate(recent) if o[1] or o[2]), default=-1)
                found[0] = recent[last + 1][0]
                return True
            return False

        self.wait(zero, seconds)
        return found[0]


def main(args=None) -> int:
    """The planner stand-in: 0.5 m/s, 0.2 rad/s, twenty times a second, until it is ended."""
    rclpy.init(args=args)
    node = rclpy.create_node("planner_stand_in")
    publisher = node.create_publisher(TwistStamped, "cmd_vel_raw", qos.RELIABLE)
    while rclpy.ok():
        publisher.publish(convert.command_to(Command(time.time(), 0.5, 0.2)))
        time.sleep(COMMAND_PERIOD)
    return 0


if __name__ == "__main__":
    sys.exit(main())
