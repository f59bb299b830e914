"""The manager with real processes: what is killed and started again is brought up again, when that was asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


@pytest.fixture
def start(domain, tmp_path):
    made = []

    def one(module: str, *parameters: str) -> tuple[subprocess.Popen, Path]:
        log = tmp_path / f"{len(made)}.log"
        command = [sys.executable, "-m", f"objective_agent_nodes.{module}", "--ros-args"]
        command += ["--params-file", str(ROOT / "config/sim.yaml"), "-p", "use_sim_time:=false"]
        for parameter in parameters:
            command += ["-p", parameter]
        with log.open("w") as stream:
            made.append(subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=stream, env=dict(os.environ)))
        return made[-1], log

    yield one
    for process in reversed(made):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(condition, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@pytest.mark.slow
def test_a_node_that_was_killed_and_started_again_is_brought_up_again(start):
    first, _ = start("cost")
    _, log = start("lifecycle_manager", "node_names:=[cost]", "revive:=true")
    wait_for(lambda: "all nodes are active" in log.read_text(), "the node came up")
    first.kill()
    first.wait()
    _, second = start("cost", "use_sim_time:=false")
    wait_for(lambda: "started again, bringing up: cost" in log.read_text(), f"the manager notices: {log.read_text()}")

    import rclpy
    from lifecycle_msgs.srv import GetState

    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("asks", context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    client = node.create_client(GetState, "cost/get_state")

    def active() -> bool:
        future = client.call_async(GetState.Request())
        executor.spin_until_future_complete(future, 1.0)
        return future.done() and future.result().current_state.label == "active"

    try:
        wait_for(active, f"the second process is active; manager: {log.read_text()}; node: {second.read_text()}")
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
