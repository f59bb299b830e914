"""The graph that the demo drives: what `run` starts, with the recorder beside it and everything that it prints in a log file.

Signals only leave a note, so that nothing can interrupt the taking down; `check` turns the note into KeyboardInterrupt.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.signals import SignalHandlerOptions

from objective_agent.types import ObjectiveAgentError
from objective_agent_nodes.demo_watch import Watch
from objective_agent_nodes.graph import SIMULATOR
from objective_agent_nodes.process import make_executor, spin
from objective_agent_nodes.run import RECORDER, Graph

GOAL_TOLERANCE = 0.12
"""Nearer than `run` asks for, m: what the robot believes must hold to 0.30 m in the world, drift of its odometry included."""


class GraphDied(ObjectiveAgentError):
    """A process of the graph ended by itself, or never came up."""


class RunningGraph:
    """What `running_graph` gives: `check` says whether all is well."""

    def __init__(self, graph: Graph, log: Path, stopped: list[int]):
        self._graph, self._log, self._stopped = graph, log, stopped

    def check(self) -> None:
        """Raises KeyboardInterrupt after a signal, GraphDied when a process has ended by itself."""
        if self._stopped:
            raise KeyboardInterrupt
        dead = self._graph.children.dead()
        if dead is not None:
            code = dead.process.returncode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            raise GraphDied(f"{dead.name} {how}: {last_line(self._log)}")


@contextmanager
def running_graph(
    args: argparse.Namespace,
    recording: Path,
    log: Path,
    stopped: list[int],
    separate: bool = False,
    extra: dict[str, dict] | None = None,
) -> Iterator[RunningGraph]:
    """Starts recorder, simulator, gate, modules and manager; on leaving, however that happens, every process has ended.

    `args`: `world`, `seed`, `params`, perhaps `log_level`.  `stopped`: what `noted_signals` gave.  `extra`: parameters by node
    that stand above the file's.
    """
    options = argparse.Namespace(
        params=args.params,
        world=args.world,
        no_simulator=False,
        separate_processes=separate,
        namespace="",
        use_sim_time=True,
        record=None,
        log_level=getattr(args, "log_level", "warning"),
    )
    above = {**(extra or {}), SIMULATOR: {"seed": args.seed}, "configurator": {"goal_tolerance": GOAL_TOLERANCE}}
    graph = Graph(options, above)
    try:
        with output_to(log):
            record = ["--out", str(recording), "--world", str(args.world)]
            graph.children.start(RECORDER, "objective_agent_nodes.demo_record", record, signal.SIGTERM)
            graph.start()
        yield RunningGraph(graph, log, stopped)
    finally:
        graph.stop()


@contextmanager
def watching() -> Iterator[Watch]:
    """The demo's own node, spun in a thread."""
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    watch, executor = Watch(), make_executor()
    executor.add_node(watch)

    def listen() -> None:
        with suppress(ExternalShutdownException):
            spin(executor)

    thread = threading.Thread(target=listen, name="demo", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        rclpy.try_shutdown()
        thread.join(5.0)
        watch.destroy_node()


@contextmanager
def noted_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM leave their number in the list that this gives, and do nothing else."""
    notes: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: notes.append(number)) for number in numbers}
    try:
        yield notes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """What processes started in here print goes into the file `path`: it would tear the live display apart."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    try:
        with open(path, "ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        for number, saved in zip((1, 2), kept, strict=True):
            os.dup2(saved, number)
            os.close(saved)


def last_line(path: Path) -> str:
    """The last thing that was printed, or where to look."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else f"{path} says nothing"
