"""Goal images over real DDS: a picture on `goal_image` becomes plans, and the goal is reached when it looks like it."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.parameter import Parameter
from reachability_head import write_model_with_head
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Float64MultiArray, String

from objective_agent.types import Odometry, Scan
from objective_agent_nodes import convert, convert_state, qos
from objective_agent_nodes.actor import Actor
from objective_agent_nodes.base import SUCCESS
from objective_agent_nodes.configurator import Configurator
from objective_agent_nodes.cost import Cost
from objective_agent_nodes.memory import Memory
from objective_agent_nodes.perception import Perception
from objective_agent_nodes.snapshot import read
from objective_agent_nodes.world_model import WorldModel

PICTURE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)


PATIENCE = 60.0


class PatientActor(Actor):
    repeatable = True  # no deadline and no age limit: a busy machine must not make the test fail


def up(ros, node):
    ros.add(node)
    assert node.trigger_configure() == SUCCESS, node.failure
    assert node.trigger_activate() == SUCCESS, node.failure
    return node


@pytest.fixture
def graph(ros, until, tmp_path):
    """All six module nodes with an untrained model, and what sends them what a standing robot senses."""
    folder = str(write_model_with_head(tmp_path / "model", reached=1e3))
    learned = {"plugin": "jepa", "model": folder}
    objectives = ["goal_pose", "reachability", "goal_representation", "smooth"]
    overrides = {
        Perception: {f"encoder__{k}": v for k, v in learned.items()},
        Memory: {},
        WorldModel: {f"world_model__{k}": v for k, v in learned.items()},
        Cost: {"objectives": objectives, "reachability__model": folder, "goal_representation__model": folder},
        Configurator: {"image_tolerance": 1e-6, "image_decisions": 3},
        PatientActor: {"horizon": 6, "futures": 2, "optimizer__plugin": "mppi", "optimizer__samples": 8},
    }
    made = {kind.__name__: up(ros, kind(**ros.overrides(**given))) for kind, given in overrides.items()}
    node = ros.node()
    made["send"] = node.create_publisher(ImageMessage, "goal_image", 10)
    odom, scan, camera = (
        node.create_publisher(kind, topic, 10)
        for kind, topic in ((OdometryMessage, "odom"), (LaserScan, "scan"), (ImageMessage, "camera/image_raw"))
    )
    made["heard"] = {"configuration": [], "actor/objective_costs": [], "cost/measured": []}
    kinds = {"configuration": (String, qos.LATCHED)}
    for topic, heard in made["heard"].items():
        kind, profile = kinds.get(topic, (Float64MultiArray, 10))
        node.create_subscription(kind, topic, heard.append, profile)
    assert until(lambda: made["send"].get_subscription_count() and camera.get_subscription_count())
    assert until(lambda: node.count_subscribers("goal_representation") and node.count_publishers("goal_representation"))

    def sense():
        stamp = time.time()
        odom.publish(convert.odometry_to(Odometry(stamp, np.zeros(3), np.zeros(2))))
        scan.publish(convert.scan_to(Scan(stamp, np.full(180, 3.0, np.float32), -np.pi, np.pi / 90, 0.05, 8.0)))
        time.sleep(0.02)
        camera.publish(convert.image_to(stamp, PICTURE))
        time.sleep(0.13)
        return True

    made["sense"] = sense
    return made


def labels(message: Float64MultiArray) -> set[str]:
    return {dim.label for dim in message.layout.dim}


def test_a_goal_image_becomes_a_plan_and_is_reached(graph, until):
    heard = graph["heard"]
    graph["sense"]()
    graph["send"].publish(convert.image_to(time.time(), PICTURE))
    assert until(lambda: graph["sense"]() and heard["actor/objective_costs"], PATIENCE)
    assert labels(heard["actor/objective_costs"][-1]) == {"reachability", "goal_representation", "smooth"}
    task = read(heard["configuration"][-1]).task
    assert task.kind == "goal_image" and len(task.representation[0]) == 32 and task.id == "goal_image 1"
    assert until(lambda: graph["sense"]() and any("goal_image" in labels(m) for m in heard["cost/measured"]), PATIENCE)
    assert not read(heard["configuration"][-1]).reached
    changed = graph["Configurator"].set_parameters([Parameter("image_tolerance", value=100.0)])
    assert changed[0].successful, changed[0].reason
    assert until(lambda: graph["sense"]() and read(heard["configuration"][-1]).reached, PATIENCE)
    assert read(heard["configuration"][-1]).reason == "goal reached"


def test_a_goal_encoded_by_another_model_is_refused_in_one_line(graph, ros, until):
    graph["sense"]()
    configurator = graph["Configurator"]
    assert until(lambda: graph["sense"]() and graph["heard"]["configuration"], PATIENCE)
    node = ros.node("stranger")
    goals = node.create_publisher(ImageMessage, "goal_representation", 10)
    assert until(goals.get_subscription_count)
    goals.publish(convert_state.tokens_to(time.time(), np.zeros((1, 32)), "0123456789ab"))
    assert until(lambda: "encoded by model 0123456789ab" in configurator.refusal)
    assert "send it again" in configurator.refusal
    assert read(graph["heard"]["configuration"][-1]).task.kind == "idle"


def test_a_robot_whose_encoder_has_no_eyes_refuses_pictures(ros, until):
    perception = up(ros, Perception(**ros.overrides()))
    node = ros.node()
    send = node.create_publisher(ImageMessage, "goal_image", 10)
    assert until(send.get_subscription_count)
    send.publish(convert.image_to(time.time(), PICTURE))
    assert until(lambda: "does not look at a camera" in perception.refusal)
