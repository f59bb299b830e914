"""Mode-1 in the graph: who acts follows the configuration and is said, and memory writes the log of plans."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import PoseStamped, TwistStamped
from nav_msgs.msg import Odometry as OdometryMessage
from pursuit_policy import scan_encoder, write_pursuit
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import Image as ImageMessage
from sensor_msgs.msg import LaserScan
from std_msgs.msg import String
from trajectory_msgs.msg import MultiDOFJointTrajectory, MultiDOFJointTrajectoryPoint

from objective_agent import plugins
from objective_agent.actor.policy import DistilledPolicy
from objective_agent.config import ActorParameters, PluginSpec, RobotParameters, Task
from objective_agent.memory.plans import PlanLog, PlanRow, read_plans
from objective_agent.types import Odometry, Scan
from objective_agent_nodes import convert, diagnostics, plan_log, qos
from objective_agent_nodes.actor import Actor
from objective_agent_nodes.base import FAILURE, SUCCESS
from objective_agent_nodes.configurator import Configurator
from objective_agent_nodes.cost import Cost
from objective_agent_nodes.memory import Memory
from objective_agent_nodes.perception import Perception
from objective_agent_nodes.plan_log import WAITING
from objective_agent_nodes.world_model import WorldModel


class Robot:
    """Stands in for sensors, gate and configurator: what the actor asks for is sent, and the pose obeys it."""

    def __init__(self, ros, until):
        node = self.node = ros.node()
        self._until, self.status, self.command = until, [], TwistStamped()
        make = node.create_publisher
        self.odom, self.scan = make(OdometryMessage, "odom", 10), make(LaserScan, "scan", 10)
        self.camera, self.sent = make(ImageMessage, "camera/image_raw", 1), make(TwistStamped, "cmd_vel", 10)
        self.settings = make(String, "configuration", qos.LATCHED)
        node.create_subscription(DiagnosticStatus, "actor/status", self.status.append, 50)
        node.create_subscription(TwistStamped, "cmd_vel_raw", self._obey, 10)
        self.pose, self._then = np.zeros(3), time.time()

    def _obey(self, message: TwistStamped) -> None:
        self.command = message
        message.header.stamp = self.node.get_clock().now().to_msg()
        self.sent.publish(message)

    def configure(self, task: Task, **actor) -> None:
        merge = plugins.create("configurator", PluginSpec(plugin="merge"), RobotParameters())
        merge.set_parameters(actor=ActorParameters.model_validate(actor))
        self.settings.publish(String(data=merge.configure(task, {"stamp": 1.0, "pose": np.zeros(3)}).model_dump_json()))

    def sense(self) -> None:
        stamp, twist = time.time(), self.command.twist
        passed, self._then = min(0.1, stamp - self._then), stamp
        speed = np.array([twist.linear.x, twist.angular.z])
        yaw = self.pose[2]
        self.pose = self.pose + passed * np.array([speed[0] * math.cos(yaw), speed[0] * math.sin(yaw), speed[1]])
        self.odom.publish(convert.odometry_to(Odometry(stamp, self.pose, speed)))
        ranges = np.full(180, 6.0, np.float32)
        self.scan.publish(convert.scan_to(Scan(stamp, ranges, -math.pi, math.pi / 90, 0.05, 8.0)))
        time.sleep(0.02)
        self.camera.publish(convert.image_to(stamp, np.zeros((8, 8, 3), np.uint8)))
        time.sleep(0.04)

    def drive(self, enough, seconds: float = 15.0):
        """Senses until `enough()`."""
        end = time.monotonic() + seconds
        while not enough() and time.monotonic() < end:
            self.sense()
        return enough()

    def modes(self, since: int = 0) -> list[str]:
        return [diagnostics.values(status).get("mode", "") for status in self.status[since:]]


def up(ros, *nodes):
    for made in nodes:
        ros.add(made)
        assert made.trigger_configure() == SUCCESS, made.failure
        assert made.trigger_activate() == SUCCESS, made.failure


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_pursuit(tmp_path_factory.mktemp("policy") / "model", *scan_encoder(), horizon=15)


def test_the_configuration_says_who_acts_the_status_who_acted_and_the_log_what_was_searched(ros, until, tmp_path, model):
    path = tmp_path / "plans.db"
    memory, actor = Memory(**ros.overrides(plans=str(path))), Actor(**ros.overrides())
    up(ros, Perception(**ros.overrides()), memory, actor)
    robot = Robot(ros, until)
    assert until(lambda: robot.camera.get_subscription_count() and robot.odom.get_subscription_count() >= 2)
    assert until(lambda: robot.settings.get_subscription_count() >= 3 and robot.node.count_publishers("actor/status"))

    robot.configure(Task(kind="goal_pose", id="one", position=(4.0, 0.0)))
    assert robot.drive(lambda: robot.modes().count("optimizer") >= 8)
    assert set(robot.modes()) <= {"", "optimizer"}

    before = len(robot.status)
    habits = {"policy": {"plugin": "distilled", "model": str(model)}, "confidence": 0.3, "agreement": 1.0, "follow": 0.3}
    robot.configure(Task(kind="goal_pose", id="two", position=(4.0, 1.0)), mode="adaptive", **habits)
    assert robot.drive(lambda: {"optimizer", "policy", "followed"} <= set(robot.modes(before))), set(robot.modes(before))
    assert robot.pose[0] > 0.1
    said = [diagnostics.values(status) for status in robot.status[before:]]
    assert {each["actuator_delay_ms"] for each in said if "mode" in each} == {"100"}, "what the plan counted on"
    assert all(float(each["latency_ms"]) >= 0 for each in said if "mode" in each)
    took = actor.health().values
    assert took["mode"] in HABITS | {"optimizer", "braking"}
    assert {"searched_ms", "policy_ms", "followed_ms"} <= set(took), "a mean of all would be the time of none of them"
    assert took["latency_ms"] == pytest.approx(took["searched_ms"] + took["handover_ms"])

    logged = memory.health().values["plans_logged"]  # adaptive searches seldom, and a plan that came late is not kept
    robot.configure(Task(kind="goal_pose", id="three", position=(4.0, 0.0)))
    assert robot.drive(lambda: memory.health().values["plans_logged"] >= logged + 3)
    assert memory.health().values["plans_lost"] == 0
    memory.trigger_deactivate(), memory.trigger_cleanup()
    plans = read_plans([path], scan_encoder()[0])
    assert len(plans) >= 3 and set(plans.mode) <= {"optimizer", "braking"} and len(set(plans.episode)) >= 2
    assert plans.plan.shape[1:] == (15, 2) and plans.about[0]["dt"] == 0.2
    # a command may be there before the status of its decision: then it is the newest of the decision before
    off = [np.abs(plans.done - plans.plan[:, 0]), np.abs(plans.done[:-1] - plans.plan[1:, 0])]
    assert min(each.max(-1).min() for each in off) < 1e-5, "what was planned was sent"
    assert (np.hypot(*(plans.position - plans.pose[:, :2]).T) < 1.5).all(), "subgoals, in odom"


def test_an_actor_whose_policy_is_missing_does_not_start(ros, tmp_path):
    actor = Actor(**ros.overrides(mode="adaptive", policy__plugin="distilled", policy__model=str(tmp_path / "none")))
    ros.add(actor)
    assert actor.trigger_configure() == FAILURE
    assert "none" in actor.failure


HABITS = {"policy", "followed", "fallback"}


class Held(DistilledPolicy):
    """A policy that is slow to load: not before it is let go."""

    free = threading.Event()

    def __init__(self, config, robot):
        assert self.free.wait(20.0)
        super().__init__(config, robot)


def parameter_client(ros, until, name):
    client = AsyncParameterClient(ros.node("asker"), name)
    assert until(client.services_are_ready)

    def put(**values) -> None:
        asked = client.set_parameters([Parameter(key.replace("__", "."), value=value) for key, value in values.items()])
        assert until(asked.done) and all(result.successful for result in asked.result().results)

    return put


def test_a_policy_is_loaded_beside_the_decisions_and_a_broken_one_refused_in_one_line(ros, until, tmp_path, model):
    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "policy.safetensors").write_bytes((model / "policy.safetensors").read_bytes()[:-8] + b"nonsense")
    habits = {"policy__plugin": "test_habits_graph:Held", "policy__model": str(model), "confidence": 0.3, "agreement": 1.0}
    actor = Actor(**ros.overrides(**habits, follow=0.3))
    calm = WorldModel(**ros.overrides(surprise_position=50.0, surprise_heading=50.0))  # however the stand-in's clock goes
    up(ros, *(kind(**ros.overrides()) for kind in (Perception, Memory, Cost, Configurator)), calm, actor)
    robot, put = Robot(ros, until), parameter_client(ros, until, "actor")
    goal, task = robot.node.create_publisher(PoseStamped, "goal_pose", 10), robot.node.create_publisher(String, "task", 10)
    assert until(lambda: robot.camera.get_subscription_count() and goal.get_subscription_count())
    robot.drive(lambda: robot.modes(), 5.0)
    message = PoseStamped()
    message.header.frame_id, message.pose.position.x, message.pose.orientation.w = "odom", 4.0, 1.0
    goal.publish(message)
    assert robot.drive(lambda: robot.modes().count("optimizer") >= 5)

    Held.free.clear()
    put(mode="adaptive")
    assert until(lambda: actor.health().values.get("policy") == "loading"), "somebody loads it"
    before = len(robot.status)
    assert robot.drive(lambda: len(robot.status) >= before + 15), "the robot does not wait for it"
    assert set(robot.modes(before)) == {"optimizer"}
    Held.free.set()
    assert robot.drive(lambda: HABITS & set(robot.modes(before)))
    assert "policy" not in actor.health().values and actor.refused == 0

    put(policy__model=str(broken))
    assert robot.drive(lambda: actor.refused)
    assert "sha256" in actor.refusal and "\n" not in actor.refusal and actor.refused == 1
    assert actor.get_parameter("policy.model").value == str(model) and actor.get_parameter("mode").value == "adaptive"
    before = len(robot.status)
    assert robot.drive(lambda: HABITS & set(robot.modes(before))), "it drives on as before"

    put(mode="plan", policy__model=str(broken))
    task.publish(String(data=Task(kind="goal_pose", id="asks", position=(4.0, 1.0), mode="policy").model_dump_json()))
    assert robot.drive(lambda: actor.refused == 2) and "sha256" in actor.health().values["policy"]
    before = len(robot.status)
    assert robot.drive(lambda: robot.modes(before).count("optimizer") >= 5), (
        "a task that asks for what is not there is searched for"
    )
    assert actor.refused == 2
    put(mode="adaptive")
    assert robot.drive(lambda: actor.refused == 3), "asked anew, it is tried anew"
    assert until(lambda: actor.get_parameter("mode").value == "plan")


def test_neither_strange_plans_nor_a_locked_file_stop_the_memory(ros, until, tmp_path, monkeypatch):
    path = tmp_path / "plans.db"
    with PlanLog(path, "eyes"):
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
    memory = Memory(**ros.overrides(plans=str(path)))
    up(ros, memory)
    trajectory = ros.node().create_publisher(MultiDOFJointTrajectory, "actor/trajectory", 10)
    assert until(lambda: trajectory.get_subscription_count())
    for strange in ([MultiDOFJointTrajectoryPoint()], []):
        before = memory.refused
        trajectory.publish(MultiDOFJointTrajectory(points=strange))
        assert until(lambda before=before: memory.refused > before) and "velocity at every point" in memory.refusal
    keeper = memory._plans
    keeper._model = "eyes"
    row = PlanRow("run", 0, 0, np.ones((1, 4)), np.ones((3, 2)), np.ones(2))
    for _ in range(WAITING + 5):
        keeper._keep(row)
    assert keeper.lost, "more than can wait are let go"
    assert until(lambda: "locked" in memory.refusal, 10.0)
    holder.execute("ROLLBACK")
    assert until(lambda: keeper.logged, 10.0), "and it goes on when the file is free"
    memory.trigger_deactivate(), memory.trigger_cleanup()
    assert keeper.logged + keeper.lost == WAITING + 5, "what waited is written before the file is closed"
    assert len(read_plans([path], "eyes")) == keeper.logged >= WAITING - 5

    monkeypatch.setattr(plan_log, "CLOSING", 0.1)
    assert (memory.trigger_configure(), memory.trigger_activate()) == (SUCCESS, SUCCESS)
    memory._plans._model = "eyes"
    holder.execute("BEGIN EXCLUSIVE")
    memory._plans._keep(row)
    memory.trigger_deactivate(), memory.trigger_cleanup()
    assert memory._plans._thread.is_alive(), "a disk that does not answer is not waited for"
    holder.close()


WRITER = """
import sys, time
import numpy as np
from objective_agent.memory.plan_notes import Decided, PlanNotes
from objective_agent.memory.plans import PlanLog
from objective_agent.types import Command, WorldState
with PlanLog(sys.argv[1], "eyes", {"dt": 0.2}) as log:
    notes = PlanNotes(log.append, "run")
    for step in range(100000):
        state = WorldState(float(step), np.zeros((1, 1, 8)), np.zeros((1, 3)), np.zeros((1, 2)), "eyes")
        notes.decided(state, Decided(np.full((4, 2), step, np.float32), 1.0, True, "optimizer", np.zeros(2)))
        notes.sent(Command(float(step), float(step), 0.0))
        print(step, flush=True)
"""


def test_kill_9_costs_the_last_row_and_no_other(tmp_path):
    path = tmp_path / "plans.db"
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=root)
    decided = -1
    for line in process.stdout:
        decided = int(line)
        if decided >= 200:
            os.kill(process.pid, signal.SIGKILL)
            break
    process.stdout.read()
    assert process.wait() == -signal.SIGKILL
    plans = read_plans([path], "eyes")
    assert len(plans) >= decided, "a decision is whole when the next one comes"
    np.testing.assert_array_equal(plans.step, np.arange(len(plans)))
    np.testing.assert_array_equal(plans.done[:, 0], plans.step)
    np.testing.assert_array_equal(plans.plan[:, 0, 0], plans.step)
