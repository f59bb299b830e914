"""`objective-agent run`: up in order, down cleanly, nothing left behind, one clear line when something can't be used."""

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

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
pytest.importorskip("mujoco", reason="the simulator (mujoco) is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from std_msgs.msg import String
from std_srvs.srv import Trigger

from objective_agent.simulation import World
from objective_agent_nodes import qos

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Generous: importing torch on a busy machine takes its time."""


class Run:
    """`objective-agent run` as a child, its output in a file."""

    def __init__(self, log: Path, *arguments: str):
        self.log = log
        command = [sys.executable, "-m", "objective_agent.cli.main", "run", *arguments]
        with log.open("w") as stream:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True)

    def text(self) -> str:
        return self.log.read_text()

    def ready(self) -> bool:
        return "all nodes are active" in self.text() or self.process.poll() is not None

    def children(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def end(self, number=signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def alive(pids) -> list[int]:
    def running(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    return [pid for pid in pids if running(pid)]


@pytest.fixture
def run(domain, tmp_path):
    made: list[Run] = []

    def start(*arguments: str) -> Run:
        made.append(Run(tmp_path / f"run{len(made)}.log", *arguments))
        return made[-1]

    yield start
    for one in made:
        if one.process.poll() is None:
            children = one.children()
            one.process.kill()
            one.process.wait()
            for pid in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_the_graph_comes_up_reaches_a_goal_and_goes_down_without_a_trace(run, ros, until):
    graph, node = run("--world", "apartment"), ros.node()
    world = World.load("apartment")
    health: dict[str, dict[str, str]] = {}
    pose: list[tuple[float, float]] = []

    def hear(message):
        health.update({s.name: {"": s.message} | {v.key: v.value for v in s.values} for s in message.status})

    node.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
    place = lambda m: pose.append((m.pose.pose.position.x, m.pose.pose.position.y))  # noqa: E731
    node.create_subscription(Odometry, "odom", place, qos.SENSOR)
    tasks = node.create_publisher(String, "task", qos.LATCHED)
    assert until(graph.ready, PATIENCE) and graph.process.poll() is None, graph.text()
    client = node.create_client(Trigger, "lifecycle_manager/is_active")
    assert client.wait_for_service(5)

    def is_active() -> bool:
        future = client.call_async(Trigger.Request())
        return until(future.done) and future.result().success

    assert until(is_active, 10)
    assert until(lambda: pose, 5)
    goal = min(world.goals, key=lambda g: abs(math.dist(g[:2], pose[-1]) - 2.5))
    tasks.publish(String(data=json.dumps({"kind": "goal_pose", "position": [float(goal[0]), float(goal[1])], "id": "1"})))
    assert until(lambda: health.get("configurator", {}).get("reached") == "true", PATIENCE), health
    assert math.dist(goal[:2], pose[-1]) < 0.5
    assert health["simulator"]["contacts"] == "0"
    assert float(health["actor"]["decision_hz"]) > 5
    pids = graph.children()
    assert len(pids) == 4
    assert graph.end() == 0, graph.text()
    assert alive(pids) == []


@pytest.mark.slow
def test_a_crash_of_one_process_takes_all_down_and_is_named(run, until):
    graph = run()
    assert until(graph.ready, PATIENCE) and graph.process.poll() is None, graph.text()
    pids = graph.children()
    victim = next(pid for pid in pids if b"safety_gate" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(victim, signal.SIGKILL)
    assert graph.process.wait(PATIENCE) == 1
    assert "safety_gate was killed by signal 9" in graph.text()
    assert alive(pids) == []


@pytest.mark.slow
def test_killing_run_itself_leaves_no_process(run, until):
    graph = run("--separate-processes")
    assert until(lambda: len(graph.children()) == 9, 20)
    pids = graph.children()
    graph.process.kill()
    graph.process.wait()
    assert until(lambda: not alive(pids), 10), alive(pids)


@pytest.mark.parametrize(
    "arguments, why",
    [
        (["--world", "nowhere"], "world 'nowhere': unknown; shipped: apartment"),
        (["--params", "missing.yaml"], "missing.yaml: can't be read"),
        (["--world", "apartment", "--no-simulator"], "not allowed with"),
        (["--model", "models/nowhere"], "model models/nowhere: no such folder"),
    ],
)
def test_what_can_not_be_used_is_one_line_and_exit_code_2(run, arguments, why):
    graph = run(*arguments)
    assert graph.process.wait(PATIENCE) == 2
    lines = graph.text().strip().splitlines()
    assert len(lines) == 1 and why in lines[0], graph.text()


@pytest.mark.parametrize(
    "right, wrong, why",
    [
        ("horizon: 15", "horizon: 0", "actor: horizon = 0: should be greater than or equal to 1"),
        ("actor:", "acter:", "no node is called acter"),
        ("plugin: grid", "plugin: map", "'map' is unknown; known: grid"),
        ("max_command_age: 0.4", "max_command_age: .nan", "safety_gate: max_command_age = nan"),
    ],
)
def test_a_bad_parameter_file_is_refused_before_anything_is_started(run, tmp_path, right, wrong, why):
    path = tmp_path / "params.yaml"
    good = (ROOT / "config" / "sim.yaml").read_text()
    assert right in good
    path.write_text(good.replace(right, wrong))
    graph = run("--params", str(path))
    assert graph.process.wait(PATIENCE) == 2
    assert why in graph.text() and len(graph.text().strip().splitlines()) == 1


def test_a_refused_configure_is_reported_with_the_nodes_own_reason(domain, tmp_path):
    """The manager alone, over DDS, with one node that can't be configured."""
    code = "from objective_agent_nodes.process import run; from objective_agent_nodes.perception import Perception;"
    code += "raise SystemExit(run(lambda: [Perception()]))"
    bad = [sys.executable, "-c", code, "--ros-args", "-p", "max_scan_age:=-1.0"]
    node = subprocess.Popen(bad, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        manager = [sys.executable, "-m", "objective_agent_nodes.lifecycle_manager", "--ros-args"]
        manager += ["-p", "node_names:=[perception]"]
        done = subprocess.run(manager, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    finally:
        node.terminate()
        node.wait(10)
    assert done.returncode == 1
    assert "perception: configure failed: perception: max_scan_age = -1.0: should be greater than 0" in done.stderr


def test_everything_is_down_within_seconds_when_stopped_while_starting(run, until):
    graph = run()
    assert until(lambda: len(graph.children()) == 4, 20)
    pids, begun = graph.children(), time.monotonic()
    assert graph.end(signal.SIGTERM) == 0, graph.text()
    assert alive(pids) == [] and time.monotonic() - begun < 25
