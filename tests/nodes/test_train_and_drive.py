"""A recording of the running graph (`run --record`) trains a model with one command, and `run --model` drives with it."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from std_msgs.msg import String

from objective_agent.cli.main import main
from objective_agent.simulation import World
from objective_agent_nodes import convert, qos

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
SECONDS = 14.0
"""Simulated seconds that are recorded."""

TRAINING = {
    "horizon": 6, "targets": 2, "batch": 16, "features": 32, "encoder_hidden": 64, "predictor_hidden": 64, "warmup": 5,
    "bfloat16": False,
}  # fmt: skip
STEPS = 40


class Graph:
    """`objective-agent run` with somebody who listens and gives goals."""

    def __init__(self, ros, until, log: Path, *arguments: str):
        self._until, self._log = until, log
        command = [sys.executable, "-m", "objective_agent.cli.main", "run", "--world", "apartment", *arguments]
        with log.open("w") as stream:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True)
        self.health: dict[str, dict[str, str]] = {}
        self.pose: tuple[float, float] | None = None
        self.time, self._count = 0.0, 0
        node = ros.node()
        node.create_subscription(DiagnosticArray, "/diagnostics", self._hear, 10)
        node.create_subscription(Odometry, "odom", self._place, qos.SENSOR)
        self._tasks = node.create_publisher(String, "task", qos.LATCHED)

    def _hear(self, message) -> None:
        self.health.update({s.name: {"": s.message} | {v.key: v.value for v in s.values} for s in message.status})

    def _place(self, message) -> None:
        self.pose = (message.pose.pose.position.x, message.pose.pose.position.y)
        self.time = 1e-9 * convert.nanoseconds(message.header.stamp)

    def wait_until_ready(self) -> None:
        ready = lambda: "all nodes are active" in self._log.read_text() or self.process.poll() is not None  # noqa: E731
        assert self._until(ready, PATIENCE) and self.process.poll() is None, self._log.read_text()
        assert self._until(lambda: self.pose, 10), "no odometry"

    def go(self, place) -> None:
        self._count += 1
        task = {"kind": "goal_pose", "position": [float(place[0]), float(place[1])], "id": str(self._count)}
        self._tasks.publish(String(data=json.dumps(task)))

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def graph(ros, until, tmp_path):
    made: list[Graph] = []

    def start(*arguments: str) -> Graph:
        made.append(Graph(ros, until, tmp_path / f"run{len(made)}.log", *arguments))
        made[-1].wait_until_ready()
        return made[-1]

    yield start
    for one in made:
        one.kill()


def goals_from(pose) -> list:
    """The apartment's goals, the nearest that lies a way off first."""
    return sorted((goal for goal in World.load("apartment").goals if math.dist(goal[:2], pose) > 1.2),
                  key=lambda goal: math.dist(goal[:2], pose))  # fmt: skip


@pytest.mark.slow
def test_a_recording_of_the_graph_trains_a_model_that_the_graph_drives_with(graph, until, tmp_path, capsys):
    bag, model, config = tmp_path / "drive.mcap", tmp_path / "model", tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump(TRAINING))

    recorded = graph("--record", str(bag))
    began, given = recorded.time, 0
    waiting = goals_from(recorded.pose)
    deadline = time.monotonic() + 5 * SECONDS
    while recorded.time - began < SECONDS and time.monotonic() < deadline:
        if given * 5.0 <= recorded.time - began:  # another goal every 5 s, reached or not
            recorded.go(waiting[given % len(waiting)])
            given += 1
        time.sleep(0.05)
    assert recorded.end() == 0

    train = ["train", "--data", str(bag), "--config", str(config), "--out", str(model), "--steps", str(STEPS), "--threads", "1"]
    assert main(train) == 0
    card = yaml.safe_load((model / "card.yaml").read_text())
    assert card["data"]["rows"] > 4 * SECONDS and card["data"]["windows"]["train"] >= TRAINING["batch"]
    meta = json.loads((model / "dataset" / "meta.json").read_text())
    assert meta["left_out"] == [] and meta["missing"]["images"] < 0.05 and meta["missing"]["scans"] < 0.05

    driven = graph("--model", str(model))
    start = driven.pose
    goal = goals_from(start)[0]
    driven.go(goal)
    way = math.dist(goal[:2], start)
    assert until(lambda: way - math.dist(goal[:2], driven.pose) >= 0.5, 30), driven.health
    assert until(lambda: driven.health.get("world_model", {}).get("model") == card["sha256"]["predictor"], 5), driven.health
    assert driven.health["perception"]["model"] == card["sha256"]["encoder"]
    assert driven.health["simulator"]["contacts"] == "0"
    assert driven.end() == 0
