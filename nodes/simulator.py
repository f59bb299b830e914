"""The embedded simulator as a node: sensors and /clock out, cmd_vel in.  What stands under `~/` is truth, for scores only.

    cmd_vel, safety_gate/state  ->  scan, camera/*, odom, /clock, ~/ground_truth, ~/contact, ~/people, ~/wall
    services ~/reset, ~/set_wall (true: a wall appears across the robot's way; false: it is gone)

It configures and activates itself: a robot's hardware is not managed either.  The simulation has a thread of its own, so that a
command is taken the moment it arrives.
"""

from __future__ import annotations

import sys
import threading
import time

import rclpy
from geometry_msgs.msg import TwistStamped
from pydantic import Field
from rclpy.executors import ExternalShutdownException
from std_srvs.srv import SetBool, Trigger

from objective_agent.config import NonNegative, Positive, Strict
from objective_agent.simulation import RobotSimulation, World
from objective_agent.simulation.parameters import SensorParameters, SimulationParameters
from objective_agent.types import InputError
from objective_agent_nodes import convert, qos
from objective_agent_nodes.base import SUCCESS, ModuleNode
from objective_agent_nodes.diagnostics import ERROR, OK, WARN, Health
from objective_agent_nodes.latency import SensorToCommand
from objective_agent_nodes.process import make_executor, spin
from objective_agent_nodes.simulator_topics import SimulatorTopics

SLICE = 0.01
"""Simulated seconds between two looks at the clock: /clock has 100 Hz."""


class SimulatorParameters(Strict):
    world: str = Field("apartment", min_length=1, description="name of a shipped world, or the path of an MJCF file")
    seed: int = Field(0, ge=0, description="of the start pose, sensor noise and people")
    real_time_factor: NonNegative = Field(1.0, description="simulated seconds per second; 0: as fast as possible")
    wall_distance: Positive = Field(1.2, description="how far ahead of the robot the wall of ~/set_wall appears, m")
    camera: bool = Field(True, description="cast camera images (false: lidar and odometry only)")
    sensors: SensorParameters = Field(default_factory=SensorParameters, description="the sensors")
    simulation: SimulationParameters = Field(default_factory=SimulationParameters, description="physics and people")


class Simulator(ModuleNode):
    def __init__(self, **options):
        super().__init__("simulator", SimulatorParameters, **options)
        self._thread: threading.Thread | None = None

    def setup(self) -> None:
        p: SimulatorParameters = self.parameters
        world = World.load(p.world, self.robot)
        self.simulation = RobotSimulation(world, self.robot, p.sensors, p.seed, p.camera, p.simulation)
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self.latency = SensorToCommand()
        self._achieved, self._commands, self._late = 0.0, 0, 0
        self._topics = SimulatorTopics(self, p.sensors.camera.horizontal_fov)
        stamped = convert.command_type(self.common.enable_stamped_cmd_vel)
        self.listen(stamped, "cmd_vel", self._on_command)
        self.listen(self._topics.gate_type, "safety_gate/state", self.latency.on_gate, qos.HISTORY)
        for kind, name, answer in ((Trigger, "~/reset", self._on_reset), (SetBool, "~/set_wall", self._on_wall)):
            self._made.append((self.destroy_service, self.create_service(kind, name, answer)))

    def start(self) -> None:
        self._stopping.clear()
        self._thread = threading.Thread(target=self._drive, name="simulation", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        if self._thread is not None:
            self._stopping.set()
            self._thread.join(5.0)
            self._thread = None

    teardown = stop

    def _on_command(self, message) -> None:
        if isinstance(message, TwistStamped):
            self.latency.on_command(convert.nanoseconds(message.header.stamp))
        command = convert.command_from(message, 0.0)
        with self._lock:
            self.simulation.command(command.v, command.w)
        self._commands += 1

    def _on_reset(self, request, response):
        with self._lock:
            self.simulation.reset()
            self.latency.forget()
        response.success, response.message = True, f"back at the start of world {self.parameters.world}"
        return response

    def _on_wall(self, request, response):
        """A wall that would leave no room to stop, or would stand in something, is refused."""
        try:
            with self._lock:
                if request.data:
                    self.simulation.raise_wall(self.parameters.wall_distance)
                else:
                    self.simulation.lower_wall()
            response.success, response.message = True, "up" if request.data else "gone"
        except InputError as error:
            response.success, response.message = False, str(error)
        return response

    def _drive(self) -> None:
        """Slices of simulated time, each started when it is due; a machine that is too slow lags instead of skipping."""
        factor = self.parameters.real_time_factor
        due = mark = time.monotonic()
        slices = 0
        try:
            while not self._stopping.is_set():
                with self._lock:
                    readings = self.simulation.advance(SLICE)
                    stamp = self.simulation.time
                self._topics.publish(stamp, readings, self.simulation, self.latency)
                slices += 1
                now = time.monotonic()
                if now - mark >= 1.0:
                    self._achieved, slices, mark = slices * SLICE / (now - mark), 0, now
                due = due + SLICE / factor if factor > 0 else now
                if now > due + 0.25:  # a pause of the machine is not made up for by a burst
                    self._late += 1
                    due = now
                elif due > now:
                    time.sleep(due - now)
        except Exception as error:
            if self.context.ok() and not self._stopping.is_set():
                self.failure = f"simulation failed: {type(error).__name__}: {error}"
                self.get_logger().error(self.failure)

    def health(self) -> Health:
        p50, p99 = self.latency.quantiles()
        values = {
            "real_time_factor": self._achieved,
            "contacts": self.simulation.contacts,
            "sensor_to_command_p50": p50,
            "sensor_to_command_p99": p99,
            "sensor_to_command_count": self.latency.count,
            "commands": self._commands,
            "pauses": self._late,
            "world": self.parameters.world,
            "time": self.simulation.time,
        }
        if self.simulation.in_contact:
            return Health(ERROR, "the robot touches something", values)
        wanted = self.parameters.real_time_factor
        if wanted and self._achieved and self._achieved < 0.95 * wanted:
            return Health(WARN, f"real-time factor {self._achieved:.2f} of {wanted:.2f}: the machine is too slow", values)
        return Health(OK, "ok", values)


def main(args=None) -> int:
    """Exit code 2 when the world or a parameter can't be used."""
    sys.setswitchinterval(0.001)  # the simulation's thread must not keep a command waiting for 5 ms
    rclpy.init(args=args)
    node, executor = Simulator(), make_executor()
    try:
        if node.trigger_configure() != SUCCESS or node.trigger_activate() != SUCCESS:
            return 2
        executor.add_node(node)
        spin(executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.on_shutdown(None)
        executor.shutdown(0)
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
