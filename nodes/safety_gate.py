"""The safety gate's process: cmd_vel_raw, scan, odom, e_stop -> cmd_vel, safety_gate/state.

A thin shell around `objective_agent.safety.step`: single thread, no torch, a steady timer.  It publishes on every tick in EVERY
lifecycle state, zeros unless it is active, from its first moment to three last zeros before the process ends.  A command is
also passed on when it arrives.  There is nothing to switch it off.
"""

from __future__ import annotations

import gc
import math
import signal
import sys
import time
from dataclasses import replace

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Bool, Float32
from std_srvs.srv import Trigger

from objective_agent.safety import GateInputs, GateOutput, GateParameters, GateState, Ladder, initial_state, step
from objective_agent.types import Command, InputError, Odometry, Scan
from objective_agent_nodes import convert, qos
from objective_agent_nodes import safety_gate_report as report
from objective_agent_nodes.base import ModuleNode
from objective_agent_nodes.diagnostics import Health
from objective_agent_nodes.safety_gate_apart import stand_apart

PERIOD = 0.05  # of the zeros before configure, s
ANSWERED = 2  # commands between two ticks that are passed on when they arrive; the rest of a flood waits for the tick


class SafetyGate(ModuleNode):
    """Publishers, the emergency stop and the tick exist from construction on; sensors and commands from configure on."""

    def __init__(self, **options):
        super().__init__("safety_gate", GateParameters, **options)
        self.stamped = getattr(self._parameter_overrides.get("enable_stamped_cmd_vel"), "value", True) is not False
        self.core: GateState = initial_state()
        self.output = GateOutput(0.0, 0.0, Ladder.EMERGENCY, "not configured", True)
        self.pressed, self.max_speed, self._counts = False, None, dict.fromkeys(Ladder, 0)
        self._stepped, self._answered = -math.inf, 0
        self._forget()
        self._cmd_vel = self.create_publisher(convert.command_type(self.stamped), "cmd_vel", qos.RELIABLE)
        self._state = self.create_publisher(DiagnosticStatus, "safety_gate/state", qos.RELIABLE)
        quiet = SubscriptionEventCallbacks(use_default_callbacks=False)  # one of the two can't be connected, and need not be
        for profile in (qos.RELIABLE, qos.LATCHED):  # a transient_local subscriber never hears an ordinary publisher
            self.create_subscription(Bool, "e_stop", self._on_e_stop, profile, event_callbacks=quiet)
        self.create_service(Trigger, "safety_gate/reset", self._on_reset)
        self._timer = self.create_timer(PERIOD, self.tick, clock=self.steady)

    # --- lifecycle ----------------------------------------------------------------------------------------------------------

    def setup(self) -> None:
        self._forget()
        self._pace(self.parameters.period)
        self.listen(convert.command_type(self.stamped), "cmd_vel_raw", self._on_command, always=True)
        self.listen(LaserScan, "scan", self._on_scan, qos.SENSOR, always=True)
        self.listen(OdometryMessage, "odom", self._on_odometry, qos.SENSOR, always=True)
        self.listen(Float32, "safety_gate/max_speed", self._on_max_speed, always=True)
        gc.freeze()  # what exists now stays: the collector need not look at it in the middle of a tick

    def on_time_jump(self) -> None:
        self._forget()

    start = on_time_jump

    def teardown(self) -> None:
        self._forget()
        self._pace(PERIOD)

    def _forget(self) -> None:
        """Sensors must prove themselves anew; a pressed emergency stop stays."""
        self._command: Command | None = None
        self._scan: Scan | None = None
        self._odometry: Odometry | None = None
        self.core = GateState(latched=self.core.latched)

    def _pace(self, period: float) -> None:
        self.destroy_timer(self._timer)
        self._timer = self.create_timer(period, self.tick, clock=self.steady)

    # --- what comes in ------------------------------------------------------------------------------------------------------

    def _on_command(self, message) -> None:
        command = convert.command_from(message, self.now())
        twist = message.twist if self.stamped else message
        fields = (*(getattr(twist.linear, axis) for axis in "xyz"), *(getattr(twist.angular, axis) for axis in "xyz"))
        self._command = command if all(map(math.isfinite, fields)) else Command(command.stamp, math.nan, math.nan)
        if self._answered < ANSWERED:
            self.tick(self._answered + 1)

    def _on_scan(self, message: LaserScan) -> None:
        try:
            self._scan = convert.scan_from(message, self.common.lidar_pose)
        except InputError:  # the core must see that the newest sweep is broken, or it would go on with the one before
            self._scan = Scan(convert.seconds(message.header.stamp), np.zeros(0, np.float32), math.nan, 0.0, 0.0, 0.0)
            raise

    def _on_odometry(self, message: OdometryMessage) -> None:
        try:
            self._odometry = convert.odometry_from(message)
        except InputError:
            broken = np.full(3, math.nan)
            self._odometry = Odometry(convert.seconds(message.header.stamp), broken, broken[:2])
            raise

    def _on_max_speed(self, message: Float32) -> None:
        self.max_speed = float(message.data)

    def _on_e_stop(self, message: Bool) -> None:
        self.pressed = bool(message.data)
        if self.pressed:
            self.core = replace(self.core, latched=True)
            self.tick()

    def _on_reset(self, request, response):
        if self.pressed:
            response.success, response.message = False, "e_stop is still pressed; publish false on e_stop first"
            return response
        response.success, response.message = True, "the latch is open" if self.core.latched else "nothing was latched"
        self.core = replace(self.core, latched=False)
        return response

    # --- what goes out ------------------------------------------------------------------------------------------------------

    def tick(self, answered: int = 0) -> None:
        """One step of the core, and its answer on the wire; zero whatever happens."""
        self._stepped, self._answered = time.monotonic(), answered
        try:
            self.output = self._step()
        except Exception as error:  # a bug in the core must stop the robot, not the gate
            self.output = GateOutput(0.0, 0.0, Ladder.EMERGENCY, f"internal error: {type(error).__name__}: {error}", True)
            self.get_logger().error(self.output.reason, throttle_duration_sec=1.0)
        self._counts[self.output.level] += 1
        self._publish(self.output)

    def _step(self) -> GateOutput:
        if not self.active:
            why = self.failure or ("inactive" if self.configured else "not configured")
            level = Ladder.LATCHED if self.core.latched else Ladder.STOP
            return GateOutput(0.0, 0.0, level, why, True)
        more = {"e_stop": self.pressed, "steady": self._stepped, "max_speed": self.max_speed}
        inputs = GateInputs(self.now(), self._command, self._scan, self._odometry, **more)
        self.core, output = step(self.parameters, self.core, inputs)
        return output

    def _publish(self, output: GateOutput) -> None:
        stamp = self.get_clock().now().to_msg()
        message = convert.command_to(Command(0.0, output.v, output.w), self.stamped)
        if self.stamped:
            message.header.stamp = stamp
        self._cmd_vel.publish(message)
        self._state.publish(report.state(self, output, self._command, stamp))

    def health(self) -> Health:
        return report.health(self, self.output, self._command, self._counts)

    def last_zeros(self) -> None:
        """Three zero commands, for a robot that has no watchdog of its own."""
        self.output = GateOutput(0.0, 0.0, Ladder.EMERGENCY, "the gate ends", True)
        for _ in range(3):
            try:
                self._publish(self.output)
            except Exception as error:  # the context is gone: nothing can be sent any more
                print(f"safety_gate: could not send zero: {error}", file=sys.stderr)  # noqa: T201
                return
            time.sleep(0.02)


def main(args=None) -> int:
    """Runs the gate until SIGINT or SIGTERM; zeros before it ends, whatever ends it."""
    ended, apart = [], stand_apart()
    # rclpy's own handlers would close the context, and with it the way to send the last zeros.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.append(0))
    gate = None
    try:
        executor = SingleThreadedExecutor()
        executor.add_node(gate := SafetyGate())
        gate.get_logger().info(apart)
        while not ended:
            executor.spin_once(timeout_sec=PERIOD)
    finally:
        if gate is not None:
            gate.last_zeros()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
