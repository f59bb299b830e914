"""The module nodes over real DDS: what they make of good input, what they refuse, and what they say about it."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import LaserScan, PointCloud2
from std_msgs.msg import Float32MultiArray, Float64MultiArray, String

from objective_agent import plugins
from objective_agent.config import AgentParameters, Configuration, Task
from objective_agent.types import Command, Odometry, Scan
from objective_agent.world_model.unicycle import Unicycle
from objective_agent_nodes import convert, convert_state, qos
from objective_agent_nodes.actor import Actor
from objective_agent_nodes.base import FAILURE, SUCCESS
from objective_agent_nodes.configurator import Configurator
from objective_agent_nodes.cost import Cost
from objective_agent_nodes.memory import Memory
from objective_agent_nodes.perception import Perception
from objective_agent_nodes.world_model import WorldModel


class Picky(Unicycle):
    """A world model that only understands what another model made."""

    representation_model = "somebody-else"


def snapshot(goal=(2.0, 0.0), **changes) -> Configuration:
    parameters = AgentParameters()
    merge = plugins.create("configurator", parameters.configurator.configurator, parameters.robot)
    task = Task(kind="goal_pose", position=goal, id="test")
    return merge.configure(task, {"stamp": 1.0, "pose": np.zeros(3)}).model_copy(update=changes)


class Robot:
    """A tester that pretends to be a robot standing in an empty place, and listens."""

    def __init__(self, ros, until):
        self.ros, self.until, self.node, self.heard = ros, until, ros.node(), {}
        self.odom = self.node.create_publisher(OdometryMessage, "odom", 10)
        self.scan = self.node.create_publisher(LaserScan, "scan", 10)
        self.camera = self.node.create_publisher(ImageMessage, "camera/image_raw", 1)

    def up(self, made, active=True):
        self.ros.add(made)
        assert made.trigger_configure() == SUCCESS, made.failure
        assert not active or made.trigger_activate() == SUCCESS, made.failure
        return made

    def hear(self, kind, topic, profile=10) -> list:
        messages = self.heard.setdefault(topic, [])
        self.node.create_subscription(kind, topic, messages.append, profile)
        return messages

    def connected(self):
        assert self.until(lambda: self.camera.get_subscription_count() and self.odom.get_subscription_count())

    def sense(self, stamp=None, encoding="rgb8", x=0.0) -> float:
        """Odometry, a scan (free all round) and then an image, all of one moment."""
        stamp = time.time() if stamp is None else stamp
        pose = Odometry(stamp, np.array([x, 0.0, 0.0]), np.zeros(2))
        self.odom.publish(convert.odometry_to(pose))
        ranges = np.full(180, 3.0, np.float32)
        self.scan.publish(convert.scan_to(Scan(stamp, ranges, -math.pi, math.pi / 90, 0.05, 8.0)))
        time.sleep(0.02)
        image = convert.image_to(stamp, np.zeros((8, 8, 3), np.uint8))
        image.encoding = encoding
        self.camera.publish(image)
        return stamp

    def state(self, stamp: float, model="scan-1", x=0.0, v=0.0) -> None:
        """What memory would publish."""
        if not hasattr(self, "_state"):
            make = self.node.create_publisher
            self._state = [make(ImageMessage, "state", 1), make(OdometryMessage, "state/odom", 1)]
            self._state.append(make(PointCloud2, "state/points", 1))
            assert self.until(lambda: all(p.get_subscription_count() for p in self._state[:2]))
        self._state[1].publish(convert.odometry_to(Odometry(stamp, np.array([x, 0, 0.0]), np.array([v, 0.0]))))
        self._state[2].publish(convert_state.points_to(stamp, np.array([[5.0, 5.0]])))
        self._state[0].publish(convert_state.tokens_to(stamp, np.zeros((1, 1, 4)), model))

    def configure(self, configuration: Configuration) -> None:
        publisher = self.node.create_publisher(String, "configuration", qos.LATCHED)
        publisher.publish(String(data=configuration.model_dump_json()))


@pytest.fixture
def robot(ros, until):
    return Robot(ros, until)


def test_the_chain_from_sensors_to_a_command_keeps_the_observations_stamp(robot, ros, until):
    for made in (Perception, Memory, Actor):
        robot.up(made(**ros.overrides()))
    commands = robot.hear(TwistStamped, "cmd_vel_raw")
    routes = robot.hear(convert_state.Path, "route")
    robot.configure(snapshot())
    robot.connected()
    stamps = []
    for _ in range(15):
        stamps.append(robot.sense())
        time.sleep(0.05)
    assert until(lambda: len(commands) >= 5)
    sent = {convert.nanoseconds(convert.to_time(stamp)) for stamp in stamps}
    assert {convert.nanoseconds(message.header.stamp) for message in commands} <= sent
    assert commands[-1].twist.linear.x > 0.1, "the goal lies straight ahead"
    assert until(lambda: any(message.poses for message in routes))
    assert abs(routes[-1].poses[-1].pose.position.x - 2.0) < 0.2


def test_a_wrong_image_encoding_is_refused_and_named_and_the_next_image_counts(robot, ros, until):
    perception = robot.up(Perception(**ros.overrides()))
    heard = robot.hear(ImageMessage, "representation")
    robot.connected()
    robot.sense(encoding="bayer_rggb8")
    assert until(lambda: perception.refused)
    assert "'bayer_rggb8' is not accepted; accepted: rgb8" in perception.refusal and not heard
    robot.sense()
    assert until(lambda: heard)
    assert heard[0].header.frame_id == perception.encoder.model


def test_silent_sensors_are_named_in_the_diagnostics(robot, ros):
    perception = robot.up(Perception(**ros.overrides()))
    health = perception.health()
    assert health.level == b"\x02" and "no odom received" in health.message and "no camera/image_raw" in health.message


def test_without_a_camera_the_scan_can_be_the_trigger(robot, ros, until):
    robot.up(Perception(**ros.overrides(trigger="scan")))
    heard = robot.hear(ImageMessage, "representation")
    assert until(lambda: robot.scan.get_subscription_count())
    for _ in range(3):
        robot.sense()
    assert until(lambda: heard)


def test_an_actor_without_a_configuration_holds_and_says_so(robot, ros, until):
    actor = robot.up(Actor(**ros.overrides()))
    commands = robot.hear(TwistStamped, "cmd_vel_raw")
    robot.state(time.time())
    assert until(lambda: commands)
    assert commands[0].twist.linear.x == 0 == commands[0].twist.angular.z
    assert "no configuration yet" in actor._decision.reason


def test_an_actor_holds_when_states_come_from_a_model_its_world_model_does_not_know(robot, ros, until):
    actor = robot.up(Actor(**ros.overrides()))
    commands = robot.hear(TwistStamped, "cmd_vel_raw")
    world_model = {"world_model": {"plugin": f"{__name__}:Picky"}}
    robot.configure(Configuration.model_validate({**snapshot().model_dump(), "world_model": world_model}))
    assert until(lambda: actor._configuration is not None)
    for _ in range(3):
        robot.state(time.time())
        time.sleep(0.1)
    assert until(lambda: len(commands) >= 2)
    assert "the world model needs somebody-else" in actor._decision.reason
    assert commands[-1].twist.linear.x == 0


def test_an_actor_that_cannot_plan_says_why_and_not_that_it_drives(robot, ros, until):
    actor = robot.up(Actor(**ros.overrides()))
    robot.configure(snapshot())
    robot.state(time.time())
    assert until(lambda: robot.state(time.time()) or actor.health().message == "driving")
    nowhere = {"world_model": {"plugin": "jepa", "model": "/nowhere"}}
    robot.configure(Configuration.model_validate({**snapshot().model_dump(), "number": 7, "world_model": nowhere}))
    assert until(lambda: robot.state(time.time()) or "/nowhere" in actor.health().message)
    assert actor.health().message.startswith("holds: ") and actor.health().level == b"\x01"
    robot.configure(snapshot())
    assert until(lambda: robot.state(time.time()) or actor.health().message == "driving")


def test_an_old_state_gives_no_command_and_the_diagnostics_tell_its_age(robot, ros, until):
    actor = robot.up(Actor(**ros.overrides()))
    commands = robot.hear(TwistStamped, "cmd_vel_raw")
    robot.configure(snapshot())
    robot.state(time.time() - 5)
    assert until(lambda: "state is 5." in actor.health().message)
    assert not commands and actor.health().level == b"\x02"


def test_a_bad_configuration_is_refused_and_the_old_one_kept(robot, ros, until):
    actor = robot.up(Actor(**ros.overrides()))
    robot.configure(snapshot())
    assert until(lambda: actor._configuration is not None)
    robot.node.create_publisher(String, "configuration", qos.LATCHED).publish(String(data='{"number": -1}'))
    assert until(lambda: actor.refused)
    assert "configuration" in actor.refusal and actor._configuration.number == 0


def test_an_unknown_plugin_makes_configure_fail_with_the_known_ones(ros):
    node = ros.add(Actor(**ros.overrides(optimizer__plugin="magic")))
    assert node.trigger_configure() == FAILURE
    assert "'magic' is unknown; known: augmented_lagrangian, cem, gradient" in node.failure


def test_a_negative_weight_makes_configure_fail(ros):
    node = ros.add(Cost(**ros.overrides(smooth__weight=-1.0)))
    assert node.trigger_configure() == FAILURE
    assert "smooth.weight = -1.0" in node.failure and "greater than or equal to 0" in node.failure


# --- configurator -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def configurator(robot, ros, until):
    for made in (Cost, WorldModel, Actor):
        robot.up(made(**ros.overrides()), active=False)
    node = robot.up(Configurator(**ros.overrides()))
    snapshots = robot.hear(String, "configuration", qos.LATCHED)
    assert until(lambda: snapshots)
    node.last = lambda: Configuration.model_validate_json(snapshots[-1].data)
    return node


def test_a_goal_pose_becomes_a_numbered_snapshot_and_reaching_it_another(configurator, robot, until):
    goals = robot.node.create_publisher(PoseStamped, "goal_pose", 1)
    assert until(goals.get_subscription_count)
    robot.sense()
    message = PoseStamped()
    message.pose.position.x, message.pose.orientation.w, message.header.frame_id = 1.0, 1.0, "odom"
    goals.publish(message)
    assert until(lambda: configurator.last().task.kind == "goal_pose")
    assert configurator.last().number > 0 and not configurator.last().reached
    robot.sense(x=0.95)
    assert until(lambda: configurator.last().reached)
    assert configurator.last().reason == "goal reached"
    message.header.frame_id = "map"
    goals.publish(message)
    assert until(lambda: configurator.refused)
    assert "frame 'map'" in configurator.refusal and configurator.last().task.frame == "odom"


@pytest.mark.parametrize(
    "text, why",
    [
        (json.dumps({"kind": "goal_pose", "position": [math.nan, 0]}), "not JSON"),
        (" " * 70_000, "at most 65536"),
        (json.dumps({"weights": {"fun": 1}}), "fun"),
    ],
)
def test_a_bad_task_is_refused_and_the_old_one_kept(configurator, robot, until, text, why):
    tasks = robot.node.create_publisher(String, "task", 1)  # volatile, as people publish by hand
    assert until(lambda: tasks.get_subscription_count() >= 1)
    tasks.publish(String(data=json.dumps({"kind": "goal_pose", "position": [3, 0], "id": "good"})))
    assert until(lambda: configurator.last().task.id == "good")
    tasks.publish(String(data=text))
    assert until(lambda: configurator.refused)
    assert why in configurator.refusal and configurator.last().task.id == "good"


def test_a_task_published_before_the_configurator_was_there_is_heard(robot, ros, until):
    robot.node.create_publisher(String, "task", qos.LATCHED).publish(String(data=json.dumps({"id": "early"})))
    node = robot.up(Configurator(**ros.overrides()))
    assert until(lambda: node._task.id == "early")


# --- cost and world model ---------------------------------------------------------------------------------------------------


def test_cost_measures_what_really_happened(robot, ros, until):
    robot.up(Cost(**ros.overrides()))
    measured = robot.hear(Float64MultiArray, "cost/measured")
    robot.configure(snapshot(goal=(4.0, 0.0)))
    time.sleep(0.3)
    begun = time.time()
    for step in range(28):
        robot.state(begun + 0.05 * step, x=0.02 * step)
        time.sleep(0.05)
    assert until(lambda: measured)
    values = {dim.label: value for dim, value in zip(measured[-1].layout.dim, measured[-1].data, strict=True)}
    assert 3.0 < values["goal_pose"] < 4.0, "about 3.6 m were left on average"
    assert values["clearance"] > 1 and values["smooth"] >= 0


@pytest.mark.parametrize("speed, alarmed", [(0.4, False), (0.0, True)])
def test_surprise_is_small_when_the_robot_obeys_and_alarming_when_it_is_stuck(robot, ros, until, speed, alarmed):
    node = robot.up(WorldModel(**ros.overrides()))
    surprises = robot.hear(Float32MultiArray, "surprise")
    commands = robot.node.create_publisher(TwistStamped, "cmd_vel", 10)
    assert until(commands.get_subscription_count)
    begun = time.time()
    for step in range(30):
        now = begun + 0.05 * step
        commands.publish(convert.command_to(Command(now, 0.4, 0.0)))
        time.sleep(0.05)
        robot.state(now, x=speed * 0.05 * step, v=speed)
    assert until(lambda: len(surprises) > 5)
    last = surprises[-1].data[0]
    assert (last > 1) is alarmed, f"surprise {last}"
    assert ("surprise" in node.health().message) is alarmed
