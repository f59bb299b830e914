"""One drive, played through the nodes over DDS and through `Agent` in one process: the same observations, states and commands.

What `evaluate` measures is therefore what the robot runs.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")

from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import LaserScan, PointCloud2
from std_msgs.msg import String

from objective_agent.agent import Agent
from objective_agent.config import AgentParameters, Task
from objective_agent.simulation import RobotSimulation, World
from objective_agent.types import Command, Image, Odometry, Scan
from objective_agent_nodes import convert, convert_state, qos
from objective_agent_nodes.actor import Actor
from objective_agent_nodes.base import SUCCESS
from objective_agent_nodes.memory import Memory
from objective_agent_nodes.perception import Perception

SECONDS = 3.0
GATE_DELAY = 0.004


def as_message(reading):
    """What the bag holds of a reading; messages have their own precision (angles of a scan are float32)."""
    if isinstance(reading, Image):
        message = convert.image_to(reading.stamp, reading.rgb)
    else:
        to = {Odometry: convert.odometry_to, Scan: convert.scan_to, Command: convert.command_to}
        message = to[type(reading)](reading)
    return deserialize_message(serialize_message(message), type(message))


def as_reading(message):
    """What the bag's message says."""
    if isinstance(message, TwistStamped):
        return convert.command_from(message, 0.0)
    read = {ImageMessage: convert.image_from, OdometryMessage: convert.odometry_from, LaserScan: convert.scan_from}
    return read[type(message)](message)


def drive() -> tuple[list[tuple], object]:
    """A drive with `Agent` at the wheel: everything that came in, and everything it made of it, in order."""
    simulation = RobotSimulation(World.load("apartment"), seed=5)
    agent = Agent(AgentParameters())
    agent.set_task(Task(kind="goal_pose", position=tuple(simulation.world.goals[0][:2]), id="parity"))
    events: list[tuple] = []
    while simulation.time < SECONDS:
        for message in map(as_message, simulation.advance(0.01)):
            reading = as_reading(message)
            agent.observe(reading)
            events.append(("message", message))
            if not isinstance(reading, Image):
                continue
            decision = agent.step(reading.stamp)
            if decision.state is None:
                continue
            message = as_message(Command(reading.stamp + GATE_DELAY, decision.command.v, decision.command.w))
            sent = as_reading(message)
            agent.command_sent(sent)
            simulation.command(sent.v, sent.w)
            events += [("decision", decision), ("message", message)]
    assert np.linalg.norm(simulation.true_velocity) > 0.2, "a robot that stands still proves nothing"
    return events, decision.configuration


class LockstepMemory(Memory):
    """Publishes a route with every state, before it."""

    route_first = True

    def _publish_route(self, observation, exact) -> None:
        self._told = b""
        super()._publish_route(observation, exact)


class LockstepActor(Actor):
    """Has no deadline, and waits for the route that belongs to the state: topics overtake one another."""

    repeatable = True
    route_stamp = 0

    def _on_route(self, message) -> None:
        super()._on_route(message)
        self.route_stamp = convert.nanoseconds(message.header.stamp)

    def _act(self, job) -> None:
        end = time.monotonic() + 5
        while self.route_stamp < convert.nanoseconds(job[1]) and time.monotonic() < end:
            time.sleep(0.001)
        super()._act(job)


class Replay:
    """Publishes what the sensors said, one thing at a time, and waits until every node has it."""

    def __init__(self, ros, until):
        self.until = until
        self.nodes = [kind(**ros.overrides()) for kind in (Perception, LockstepMemory, LockstepActor)]
        self.perception, self.memory, self.actor = self.nodes
        node = ros.node()
        self.heard: dict[str, dict[int, object]] = {}
        kinds = {"representation": ImageMessage, "state/odom": OdometryMessage, "state/points": PointCloud2}
        kinds["cmd_vel_raw"] = TwistStamped
        for topic, kind in kinds.items():
            node.create_subscription(kind, topic, lambda m, topic=topic: self._hear(topic, m), 100)
        make = node.create_publisher
        self.out = {Odometry: make(OdometryMessage, "odom", 10), Scan: make(LaserScan, "scan", 10)}
        self.out |= {Image: make(ImageMessage, "camera/image_raw", 1), Command: make(TwistStamped, "cmd_vel", 10)}
        self.configuration = make(String, "configuration", qos.LATCHED)
        for made in self.nodes:
            ros.add(made)
            assert made.trigger_configure() == SUCCESS, made.failure
            assert made.trigger_activate() == SUCCESS, made.failure
        inside = {Odometry: 2, Scan: 2, Image: 1, Command: 3}
        assert until(lambda: all(self.out[kind].get_subscription_count() == count for kind, count in inside.items()))
        assert until(lambda: all(node.count_publishers(topic) for topic in kinds))

    def _hear(self, topic: str, message) -> None:
        self.heard.setdefault(topic, {})[convert.nanoseconds(message.header.stamp)] = message

    def configure(self, configuration) -> None:
        self.configuration.publish(String(data=configuration.model_dump_json()))
        assert self.until(lambda: self.actor._configuration == configuration == self.memory._configuration)

    def say(self, message) -> None:
        reading = as_reading(message)
        self.out[type(reading)].publish(message)
        if not isinstance(reading, Image):
            arrived = self.until(lambda: self._has(type(reading), reading.stamp))
            assert arrived, f"{type(reading).__name__} at {reading.stamp} did not arrive"

    def _has(self, kind: type, stamp: float) -> bool:
        if kind is Command:
            heard = self.perception.synchronizer._sent.stamps
            if not heard or abs(heard[-1] - stamp) >= 1e-6:
                return False
            newest = [self.actor._sent.newest(), self.memory.memory._commands[-1] if self.memory.memory._commands else None]
        else:
            newest = [node.synchronizer._newest(kind, np.inf) for node in (self.perception, self.memory)]
        return all(item is not None and abs(item.stamp - stamp) < 1e-6 for item in newest)

    def answer(self, topic: str, stamp: float):
        """The message of `topic` with the observation's stamp."""
        key = round(stamp * 1e9)
        found = self.until(lambda: self.heard.get(topic, {}).get(key), 10)
        assert found is not None, f"{topic} at {stamp} did not come; {[node.refusal for node in self.nodes]}"
        return found


@pytest.mark.slow
def test_nodes_and_agent_make_the_same_of_the_same_drive(ros, until):
    events, configuration = drive()
    replay = Replay(ros, until)
    replay.configure(configuration)
    commands = []
    for kind, value in events:
        if kind != "decision":
            replay.say(value)
            continue
        state, stamp = value.state, value.state.stamp
        command = convert.command_from(replay.answer("cmd_vel_raw", stamp), 0.0)
        tokens, model = convert_state.tokens_from(replay.answer("representation", stamp))
        np.testing.assert_allclose(tokens, state.representation, atol=1e-6)
        assert model == state.model
        odometry = convert.odometry_from(replay.answer("state/odom", stamp))
        np.testing.assert_allclose(odometry.pose, state.pose[0], atol=1e-6)
        points = convert_state.points_from(replay.answer("state/points", stamp))
        assert (points is None) == (state.points is None)
        if points is not None:
            known = state.points[0][np.isfinite(state.points[0]).all(1)]
            np.testing.assert_allclose(points, known, atol=1e-5)
        commands.append((command.v, command.w, value.command.v, value.command.w))
    commands = np.array(commands)
    assert len(commands) >= 0.9 * 20 * SECONDS and np.ptp(commands[:, 0]) > 0.2
    np.testing.assert_allclose(commands[:, :2], commands[:, 2:], atol=1e-5)
