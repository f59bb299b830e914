"""Memory's log of plans, at its end and under load: what was heard is in the file, and what waits for the disk has a bound."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import TwistStamped
from lifecycle_msgs.srv import ChangeState
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.duration import Duration
from sensor_msgs.msg import Image
from trajectory_msgs.msg import MultiDOFJointTrajectory, MultiDOFJointTrajectoryPoint

from objective_agent.memory.plans import PlanLog, PlanRow, read_plans
from objective_agent.types import Command, Odometry
from objective_agent_nodes import convert, convert_state, diagnostics, qos
from objective_agent_nodes.base import SUCCESS
from objective_agent_nodes.diagnostics import Health
from objective_agent_nodes.memory import Memory
from objective_agent_nodes.plan_log import BYTES, Waiting

ROOT = Path(__file__).resolve().parents[2]
CONFIGURE, ACTIVATE = 1, 3


class Decisions:
    """Says what memory, actor and gate say of a decision: step after step, one plan each."""

    def __init__(self, ros):
        make = ros.node("decider").create_publisher
        self._parts = [make(kind, topic, qos.RELIABLE) for kind, topic in (
            (OdometryMessage, "state/odom"), (Image, "state"), (MultiDOFJointTrajectory, "actor/trajectory"),
            (DiagnosticStatus, "actor/status"))]  # fmt: skip
        self._sent = make(TwistStamped, "cmd_vel", qos.RELIABLE)

    def heard(self) -> bool:
        return all(each.get_subscription_count() for each in (*self._parts, self._sent))

    def arrived(self) -> bool:
        """Waits until all that was said is there, and a second more for it to be heard."""
        there = all(each.wait_for_all_acked(Duration(seconds=20)) for each in (*self._parts, self._sent))
        time.sleep(1.0)
        return there

    def make(self, step: int, features: int = 8) -> None:
        stamp = 100.0 + step
        odom = convert.odometry_to(Odometry(stamp, np.zeros(3), np.zeros(2)))
        state = convert_state.tokens_to(stamp, np.full((1, features), step, np.float32), "eyes")
        plan = MultiDOFJointTrajectory(points=[MultiDOFJointTrajectoryPoint(velocities=[TwistStamped().twist])] * 3)
        plan.header.stamp = state.header.stamp
        values = {"observation": convert.nanoseconds(state.header.stamp), "energy": float(step), "feasible": True}
        values |= {"mode": "optimizer", "subgoal_x": 1.0, "subgoal_y": 0.0}
        status = diagnostics.status("actor", Health(values=values))
        for publisher, message in zip(self._parts, (odom, state, plan, status), strict=True):
            publisher.publish(message)
        time.sleep(0.02)  # the command is the answer to the decision
        self._sent.publish(convert.command_to(Command(stamp, 0.1 * step, 0.0)))


def steps_in(path: Path) -> list[int]:
    """The steps that another process sees in a log, oldest first."""
    if not path.exists():
        return []
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return [step for (step,) in base.execute("SELECT step FROM plans ORDER BY id")]
    except sqlite3.OperationalError:  # it is just being made
        return []
    finally:
        base.close()


def change(ros, until, node, transition: int) -> bool:
    client = node.create_client(ChangeState, "memory/change_state")
    assert until(client.service_is_ready, 60.0)
    request = ChangeState.Request()
    request.transition.id = transition
    answer = client.call_async(request)
    return until(answer.done, 60.0) and answer.result().success


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_of_the_memory_costs_no_row_and_closes_the_file(ros, until, tmp_path, ending):
    path = tmp_path / "plans.db"
    command = [sys.executable, "-m", "objective_agent_nodes.memory", "--ros-args", "-p", f"plans:={path}"]
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=log, stderr=log)
    try:
        node, decisions = ros.node(), Decisions(ros)
        assert change(ros, until, node, CONFIGURE) and change(ros, until, node, ACTIVATE)
        assert until(decisions.heard, 20.0)
        for step in range(6):
            decisions.make(step)
        assert until(lambda: len(steps_in(path)) == 5, 20.0), "the sixth is whole when another follows"
        assert Path(f"{path}-wal").exists()
        assert decisions.arrived()
        process.send_signal(ending)
        process.send_signal(ending)  # an impatient person
        assert process.wait(20.0) == 0, Path(log.name).read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        log.close()
    assert sorted(file.name for file in tmp_path.glob("plans.db*")) == ["plans.db"], "the write-ahead log is in the file"
    plans = read_plans([path], "eyes")
    np.testing.assert_array_equal(plans.step, np.arange(6))
    np.testing.assert_allclose(plans.done[:, 0], 0.1 * np.arange(6), atol=1e-6)
    assert "Traceback" not in Path(log.name).read_text()


def test_large_token_maps_that_wait_for_the_disk_take_no_more_memory_than_a_stated_one(ros, until, tmp_path):
    path, memory = tmp_path / "plans.db", ros.add(Memory(**ros.overrides(plans=str(tmp_path / "plans.db"))))
    assert (memory.trigger_configure(), memory.trigger_activate()) == (SUCCESS, SUCCESS)
    with PlanLog(path, "eyes"):
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
    keeper, small = memory._plans, PlanRow("run", 0, 0, np.ones((1, 4)), np.ones((3, 2)), np.ones(2))
    keeper._model = "eyes"
    large = replace(small, state=np.ones((4000, 512), np.float32))  # almost 8 MiB
    for _ in range(50):
        keeper._keep(large)
    assert len(keeper._waiting) <= 8 and keeper.lost >= 50 - 8 - 1, "one is being written"
    assert memory.health().values["plans_lost"] == keeper.lost
    holder.execute("ROLLBACK")
    holder.close()
    assert until(lambda: keeper.logged, 10.0)
    memory.trigger_deactivate(), memory.trigger_cleanup()
    assert keeper.logged + keeper.lost == 50 and len(steps_in(path)) == keeper.logged
    again = Waiting()
    assert again.add("eyes", 0.2, replace(small, state=np.ones((BYTES // 4, 2), np.float32))), (
        "larger than the bound, but alone"
    )
    assert not again.add("eyes", 0.2, small)
    assert again.take() and again.add("eyes", 0.2, small)
