"""Faults in the whole graph, every module in a process of its own: what freezes or dies, and how long until the robot is told.

The robot drives to and fro between two goals of the world `apartment`.  On the command path (perception, memory, actor) the
time runs from when the next command fell due to the first zero on `cmd_vel`; beside it (cost, configurator, world_model) from
the kill to the warning on /diagnostics, and the robot must drive on.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import threading
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.executors import SingleThreadedExecutor

from objective_agent.simulation import World
from objective_agent_nodes import qos
from objective_agent_nodes.diagnostics import OK
from objective_agent_nodes.gate_harness import COMMAND_PERIOD
from objective_agent_nodes.run import Graph
from objective_agent_nodes.safety_gate_apart import raise_observer, sockets_only

PATH, BESIDE = ("perception", "memory", "actor"), ("cost", "configurator", "world_model")
FROZEN = 0.8
"""How long a node is frozen, s."""


class Witness:
    """Gives goals, and notes when what came on `cmd_vel_raw`, `cmd_vel` and /diagnostics (steady clock)."""

    def __init__(self, goals):
        self.context = rclpy.Context()
        sockets_only()  # the frozen process must not stop the witness
        rclpy.init(args=[], context=self.context)
        self.node = rclpy.create_node("fault_witness", context=self.context)
        os.environ.pop("FASTDDS_BUILTIN_TRANSPORTS", None)
        self.raw: list[float] = []
        self.sent: list[tuple[float, float, float]] = []
        self.warnings: list[tuple[float, str]] = []
        create = self.node.create_subscription
        create(TwistStamped, "cmd_vel_raw", lambda _: self.raw.append(time.monotonic()), qos.RELIABLE)
        create(TwistStamped, "cmd_vel", self._on_sent, qos.RELIABLE)
        create(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        self._goal = self.node.create_publisher(PoseStamped, "goal_pose", qos.RELIABLE)
        self._goals, self._next = goals, 0
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._running = True
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        raise_observer()

    def _spin(self) -> None:
        while self._running:
            self._executor.spin_once(timeout_sec=0.05)

    def _on_sent(self, message: TwistStamped) -> None:
        self.sent.append((time.monotonic(), message.twist.linear.x, message.twist.angular.z))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now = time.monotonic()
        self.warnings += [(now, f"{status.name}: {status.message}") for status in message.status if status.level != OK]

    def moving(self, seconds: float = 60.0) -> bool:
        """Waits until the robot has driven for half a second; gives it the other goal whenever it stands for 2 s."""
        begun = given = time.monotonic()
        while (now := time.monotonic()) - begun < seconds:
            recent = [v for at, v, _ in self.sent[-40:] if now - at < 0.5]
            if self.raw and len(recent) > 5 and min(recent) > 0.15:
                return True
            if now - given > 2.0 and not any(v > 0.02 for v in recent):
                self._give()
                given = now
            time.sleep(0.02)
        return False

    def _give(self) -> None:
        message = PoseStamped()
        message.header.frame_id = "odom"
        message.pose.position.x, message.pose.position.y = map(float, self._goals[self._next % len(self._goals)][:2])
        message.pose.orientation.w = 1.0
        self._next += 1
        self._goal.publish(message)

    def zero_after(self, last: float) -> float:
        return next((at for at, v, w in self.sent[-200:] if at > last and v == w == 0), math.inf)

    def close(self) -> None:
        self._running = False
        self._thread.join(2)
        self._executor.shutdown(0)
        self.context.try_shutdown()


def graph_faults(injections: int, report=lambda *_: None) -> dict:
    """Figures by node: freezing each node of the command path `injections` times, then killing each one once."""
    results: dict = {"bound_s": 0.25}
    with running() as (graph, witness):
        for name in PATH:
            times = []
            for k in range(injections):
                report(f"{name} frozen", k, injections)
                times.append(_halt(graph, witness, name, signal.SIGSTOP))
            results[f"{name}_frozen"] = _summary(times)
        for name in BESIDE:
            report(f"{name} killed", 0, 1)
            results[f"{name}_killed"] = _kill_beside(graph, witness, name)
        report("actor killed", 0, 1)
        results["actor_killed"] = _summary([_halt(graph, witness, "actor", signal.SIGKILL)])
    for name in PATH[:-1]:
        report(f"{name} killed", 0, 1)
        with running() as (graph, witness):
            results[f"{name}_killed"] = _summary([_halt(graph, witness, name, signal.SIGKILL)])
    return results


class running:
    """The graph with separate processes in the world `apartment`, up and driving, and a witness."""

    def __enter__(self) -> tuple[Graph, Witness]:
        # Others believe for many seconds that a killed process still serves: each graph gets a domain of its own.
        os.environ["ROS_DOMAIN_ID"] = str(int(os.environ.get("ROS_DOMAIN_ID", "0")) % 100 + 1)
        options = {"params": None, "world": "apartment", "no_simulator": False, "separate_processes": True, "namespace": ""}
        self.graph = Graph(argparse.Namespace(**options, use_sim_time=True, record=None, log_level="error"))
        world = World.load("apartment")
        self.graph.start()
        self.witness = Witness([world.goals[0], world.goals[-1]])
        if not self.witness.moving(120):
            self.__exit__()
            raise TimeoutError("the graph did not begin to drive")
        return self.graph, self.witness

    def __exit__(self, *_) -> None:
        self.witness.close()
        self.graph.stop()


def _halt(graph: Graph, witness: Witness, name: str, number: int) -> float:
    """Seconds from when the next command fell due to the first zero, after `name` got the signal; inf if it never came."""
    if not witness.moving():
        return math.inf
    pid = graph.children.pids()[name]
    os.killpg(pid, number)
    halted = time.monotonic()
    time.sleep(FROZEN)
    last = max((at for at in witness.raw if at <= halted + 0.2), default=math.inf)  # what was on its way still came
    zero = witness.zero_after(last)
    if number == signal.SIGSTOP:
        os.killpg(pid, signal.SIGCONT)
    return zero - last - COMMAND_PERIOD


def _kill_beside(graph: Graph, witness: Witness, name: str) -> dict:
    """Seconds from kill -9 to the first warning that names the node, and whether the robot then still drives to goals."""
    driving = witness.moving()
    os.killpg(graph.children.pids()[name], signal.SIGKILL)
    killed = time.monotonic()
    found: list[float] = []
    while not found and time.monotonic() - killed < 10:
        time.sleep(0.02)
        found = [at for at, text in witness.warnings if at > killed and "silent" in text and name in text]
    still = [v for at, v, _ in witness.sent if at > killed]
    return {
        "warned_after_s": round(found[0] - killed, 3) if found else math.inf,
        "bound_s": 2.0,
        "drove_on": bool(driving and sum(v > 0.1 for v in still) > 0.5 * len(still)),
    }


def _summary(seconds: list[float]) -> dict:
    values = np.array(seconds)
    return {
        "injections": len(values),
        "p50_s": round(float(np.median(values)), 3),
        "max_s": round(float(values.max()), 3),
        "held": bool(values.max() <= 0.25),
    }
