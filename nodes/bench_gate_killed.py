"""kill -9 of the gate: nobody is left to send a zero, so the base itself must stop (the simulator: 0.5 s without a command)."""

from __future__ import annotations

import math
import os
import tempfile
import threading
import time
from pathlib import Path

import rclpy
import yaml
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter

from objective_agent.safety import GateParameters
from objective_agent_nodes import convert, qos
from objective_agent_nodes.gate_harness import ACTIVATE, COMMAND_PERIOD, CONFIGURE, end, module_process

WATCHDOG = 0.5  # the simulated base's, s
SPEED, TURN = 0.2, 0.8  # a small circle: there is room for it at any start


class Watcher:
    """Commands the circle in simulated time, and notes how fast the robot really goes."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context)
        overrides = [Parameter("use_sim_time", value=True)]
        self.node = rclpy.create_node("gate_watcher", context=self.context, parameter_overrides=overrides)
        self.speeds: list[tuple[float, float]] = []
        self.node.create_subscription(Odometry, "simulator/ground_truth", self._on_truth, 50)
        self._raw = self.node.create_publisher(TwistStamped, "cmd_vel_raw", qos.RELIABLE)
        self.node.create_timer(COMMAND_PERIOD, self._command)
        self._change = self.node.create_client(ChangeState, "safety_gate/change_state")
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._running = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self._running:
            self._executor.spin_once(timeout_sec=0.05)

    def _command(self) -> None:
        message = TwistStamped()
        message.header.stamp = self.node.get_clock().now().to_msg()
        message.twist.linear.x, message.twist.angular.z = SPEED, TURN
        self._raw.publish(message)

    def _on_truth(self, message: Odometry) -> None:
        v, w = convert.odometry_from(message).velocity
        self.speeds.append((time.monotonic(), max(abs(v), abs(w))))

    def bring_up(self) -> None:
        for number in (CONFIGURE, ACTIVATE):
            request = ChangeState.Request()
            request.transition.id = number
            if not self._change.wait_for_service(20):
                raise TimeoutError("the gate is not there")
            time.sleep(0.5)  # the server may not yet have found the way back for its answer
            future = self._change.call_async(request)
            if not wait(future.done, 10) or not future.result().success:
                raise RuntimeError("the gate did not come up")

    def close(self) -> None:
        self._running = False
        self._thread.join(2)
        self._executor.shutdown(0)
        self.context.try_shutdown()


def wait(condition, seconds: float) -> bool:
    finish = time.monotonic() + seconds
    while not condition() and time.monotonic() < finish:
        time.sleep(0.005)
    return bool(condition())


def gate_killed(parameters: GateParameters, repeats: int = 5) -> dict:
    """Seconds from kill -9 until the simulated robot brakes and until it stands."""
    braking, standing = zip(*(_kill_once(parameters) for _ in range(repeats)), strict=True)
    bound = WATCHDOG + parameters.robot.actuator_delay + TURN / parameters.robot.max_turn_acceleration + 0.1
    return {
        "repeats": repeats,
        "braking_after_max_s": round(max(braking), 3),
        "standing_after_max_s": round(max(standing), 3),
        "bound_s": round(bound, 3),
        "held": max(standing) <= bound,
    }


def _kill_once(parameters: GateParameters) -> tuple[float, float]:
    # Others believe for many seconds that a killed process still serves: each run gets a domain that knows nothing of the last.
    os.environ["ROS_DOMAIN_ID"] = str(int(os.environ.get("ROS_DOMAIN_ID", "0")) % 100 + 1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gate.yaml"
        values = parameters.model_dump(mode="json") | {"use_sim_time": True}
        file.write_text(yaml.safe_dump({"safety_gate": {"ros__parameters": values}}))
        simulator = module_process("simulator", "--ros-args", "-p", "camera:=false", "-p", "world:=apartment")
        gate = module_process("safety_gate", "--ros-args", "--params-file", str(file))
        watcher = Watcher()
        try:
            watcher.bring_up()
            if not wait(lambda: watcher.speeds and watcher.speeds[-1][1] > 0.9 * TURN, 20):
                raise RuntimeError("the simulated robot did not move")
            time.sleep(0.5)
            gate.kill()
            killed = time.monotonic()
            time.sleep(0.1)
            wait(lambda: watcher.speeds[-1][1] < 0.02, 5)
        finally:
            gate.kill()
            gate.wait()
            end(simulator)
            watcher.close()
    after = [(at - killed, speed) for at, speed in watcher.speeds if at >= killed]
    braking = next((at for at, speed in after if speed < 0.9 * TURN), math.inf)
    return braking, next((at for at, speed in after if speed < 0.02), math.inf)
