"""The simulated robot drives to its goal while another model is taken over, and while a damaged one is refused."""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")

import torch
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TwistStamped
from nav_msgs.msg import Odometry
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image
from std_msgs.msg import String

from objective_agent import resources, weights
from objective_agent.config import RobotParameters
from objective_agent.learning.card import write_model
from objective_agent.learning.model import JepaModel
from objective_agent.perception.jepa import JepaEncoder
from objective_agent.simulation import World
from objective_agent.versions import Announcement, short
from objective_agent.world_model.jepa import Jepa
from objective_agent_nodes import qos
from objective_agent_nodes.diagnostics import values
from objective_agent_nodes.run import Graph

PATIENCE = 90.0


def write_changed(folder, share: float = 1e-3):
    """The shipped model with every weight changed a little: other representations, the same abilities."""
    source = weights.find_model("apartment")
    encoder, predictor = (kind(kind.Config(model=str(source)), RobotParameters()) for kind in (JepaEncoder, Jepa))
    model = JepaModel(encoder.network.shape, predictor.network.shape)
    model.encoder.load_state_dict(encoder.network.state_dict())
    model.predictor.load_state_dict(predictor.network.state_dict())
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1 + share * torch.randn_like(weight))
    write_model(folder, model.eval(), {"calibration": weights.read_card(source)["calibration"]})
    return folder


class Drive:
    """The whole graph in the world `apartment`, and somebody who looks on."""

    def __init__(self, ros, until, separate: bool):
        self.until, node = until, ros.node()
        options = {"params": resources.resource("config", "learned.yaml"), "world": "apartment", "no_simulator": False}
        options |= {"namespace": "", "use_sim_time": True, "record": None, "log_level": "error"}
        self.goals = World.load("apartment").goals
        self.graph = Graph(argparse.Namespace(**options, separate_processes=separate))
        self.health: dict[str, tuple[str, dict]] = {}
        self.representations: list[str] = []
        self.states: list[str] = []
        self.announced: list[Announcement] = []
        self.sent: list[tuple[float, float, float]] = []  # (arrival, v, w)
        self.asked: list[float] = []
        self.odometry: Odometry | None = None
        create = node.create_subscription
        create(DiagnosticArray, "/diagnostics", self._on_diagnostics, 20)
        create(Image, "representation", lambda m: self.representations.append(m.header.frame_id.split()[0]), 10)
        create(Image, "state", lambda m: self.states.append(m.header.frame_id.split()[0]), 10)
        create(String, "model_version", lambda m: self.announced.append(Announcement(**json.loads(m.data))), qos.LATCHED)
        create(Odometry, "odom", lambda m: setattr(self, "odometry", m), qos.SENSOR)
        create(TwistStamped, "cmd_vel", self._on_sent, 20)
        create(TwistStamped, "cmd_vel_raw", lambda m: self.asked.append(time.monotonic()), 20)
        self._task, self._count = node.create_publisher(String, "task", qos.LATCHED), 0
        self._set = node.create_client(SetParameters, "world_model/set_parameters")
        self.graph.start()

    def _on_diagnostics(self, message) -> None:
        self.health |= {status.name: (status.message, values(status)) for status in message.status}

    def _on_sent(self, message) -> None:
        self.sent.append((time.monotonic(), message.twist.linear.x, message.twist.angular.z))

    def place(self) -> np.ndarray:
        return np.array([self.odometry.pose.pose.position.x, self.odometry.pose.pose.position.y])

    def keep_driving(self) -> bool:
        """Gives the goal farthest away whenever the robot has come to one; whether it drives now."""
        if self.odometry is None or "actor" not in self.health or "configurator" not in self.health:
            return False
        if self.health["configurator"][1].get("reached") == "true" or not self._count:
            self._count += 1
            goal = max(self.goals, key=lambda goal: math.dist(goal[:2], self.place()))
            task = {"kind": "goal_pose", "position": [float(goal[0]), float(goal[1])], "id": str(self._count)}
            self._task.publish(String(data=json.dumps(task)))
            self.health.pop("configurator")
        return self.odometry.twist.twist.linear.x > 0.15

    def wish(self, folder) -> None:
        parameter = Parameter("world_model.model", value=str(folder)).to_parameter_msg()
        future = self._set.call_async(SetParameters.Request(parameters=[parameter]))
        assert self.until(future.done, 10) and future.result().results[0].successful

    def drives(self) -> None:
        assert self.until(self.keep_driving, PATIENCE), self.health


@pytest.fixture
def drive(ros, until, request):
    made = Drive(ros, until, request.param)
    yield made
    made.graph.stop()


@pytest.mark.slow
@pytest.mark.parametrize("drive", [False, True], indirect=True, ids=["one process", "a process for each module"])
def test_the_robot_drives_on_while_a_model_is_taken_over_and_while_a_damaged_one_is_refused(drive, until, tmp_path):
    changed = write_changed(tmp_path / "changed")
    new = short(weights.read_card(changed)["sha256"]["encoder"])
    damaged = shutil.copytree(changed, tmp_path / "damaged")
    with (damaged / "encoder.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    drive.drives()
    old = drive.representations[-1]
    assert old == drive.states[-1] != new

    drive.wish(damaged)
    assert until(lambda: drive.keep_driving() is not None and drive.announced[-1].refused, PATIENCE)
    assert "perception" in drive.announced[-1].refused and "sha256" in drive.announced[-1].refused
    drive.drives()
    assert drive.representations[-1] == drive.states[-1] == old

    drive.wish(changed)
    assert until(lambda: drive.keep_driving() is not None and drive.states[-1] == new, PATIENCE), drive.announced
    drive.drives()
    states, commands = len(drive.states), len(drive.sent)
    start = drive.place()
    assert until(lambda: drive.keep_driving() is not None and np.linalg.norm(drive.place() - start) > 0.4, PATIENCE)
    assert set(drive.states[states:]) == {new} == set(drive.representations[-10:]) and len(drive.sent) > commands
    assert drive.announced[-1].current.number > 1 and not drive.announced[-1].refused
    assert until(lambda: drive.health["actor"][1].get("model_version") == str(drive.announced[-1].current.number), 10)
    assert drive.health["simulator"][1]["contacts"] == "0"
