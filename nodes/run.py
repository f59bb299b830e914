"""`objective-agent run`: brings up simulator, gate, modules and manager, watches them, and takes them down in order.

What `ros2 launch` does, without ros2cli.  Whatever ends it (Ctrl-C, SIGTERM, a child's crash, its own death), no process stays.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import yaml

from objective_agent import resources
from objective_agent.config import load_node_parameters
from objective_agent_nodes import demo_parameters, transport
from objective_agent_nodes.children import Child, Children
from objective_agent_nodes.graph import GATE, MODULES, NODES, SIMULATOR, check_sections

HELP = "bring up the agent's nodes: simulator (optional), safety gate, six modules; Ctrl-C takes them down"
EXAMPLE = "objective-agent run --params config/sim.yaml --world apartment"
MANAGER, RECORDER = "lifecycle_manager", "recorder"
log = logging.getLogger(__name__)
LEVELS = {"debug": "debug", "info": "info", "warning": "warn", "error": "error"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--params", type=Path, metavar="FILE", help="ROS parameter file (default: the shipped config/sim.yaml)")
    model = "drive with this learned model (default: what the parameter file says; with it, config/learned.yaml)"
    parser.add_argument("--model", metavar="DIR", help=model)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--world", metavar="W", help="simulated world: a shipped one's name or an MJCF file")
    where.add_argument("--no-simulator", action="store_true", help="the sensors come from a robot or another simulator")
    parser.add_argument("--separate-processes", action="store_true", help="a process for each module, not one for all six")
    parser.add_argument("--namespace", default="", metavar="NS", help="namespace of all nodes and of their topics")
    parser.add_argument("--use-sim-time", action="store_true", help="take the time from /clock (always so with the simulator)")
    parser.add_argument("--record", type=Path, metavar="BAG", help="record every topic into this MCAP file")


def main(args: argparse.Namespace) -> int:
    """0 after Ctrl-C or SIGTERM, 1 when a process ended by itself, 2 for parameters that can't be used."""
    stop: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: stop.append(number)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    extra: dict[str, dict] = {}
    if args.model is not None:
        args.params, extra, _ = demo_parameters.choose(args.model, args.params)
    graph = Graph(args, extra)
    try:
        graph.start()
        while not stop:
            dead = graph.children.dead()
            if dead is not None:
                return graph.explain(dead)
            time.sleep(0.05)
        return 0
    finally:
        graph.stop()
        for number, handler in before.items():
            signal.signal(number, handler)


class Graph:
    """The processes of one agent; `args` as `add_arguments` makes them.  Everything is checked before anything is started."""

    def __init__(self, args: argparse.Namespace, extra: dict[str, dict] | None = None):
        """`extra`: parameters by node that stand above the file's.  Raises ConfigurationError or InputError."""
        source = args.params or resources.resource("config", "sim.yaml")
        sections = load_node_parameters(source)
        check_sections(sections, str(source))
        self.simulated = not args.no_simulator
        extra = {name: dict(values) for name, values in (extra or {}).items()}
        if args.world is not None:
            extra.setdefault(SIMULATOR, {})["world"] = _world(args.world)
        check(sections, extra, str(source), self.simulated)
        self.namespace = args.namespace.strip("/")
        self.sim_time = args.use_sim_time or self.simulated
        self.level = LEVELS.get(getattr(args, "log_level", "warning"), "warn")
        self.separate, self.record = args.separate_processes, args.record
        self._file = self._parameter_file(source, extra)
        self.children = Children(environment(images=not self.simulated))

    def _parameter_file(self, source: Path, extra: dict[str, dict]) -> str:
        """The parameter file as the nodes will read it: names with the namespace, `extra` behind, so that it wins."""
        prefix = f"/{self.namespace}/" if self.namespace else "/"
        data = yaml.safe_load(Path(source).read_text())
        named = {(key if "*" in key else prefix + key.strip("/")): value for key, value in data.items()}
        for name, values in extra.items():
            given = named.setdefault(prefix + name, {"ros__parameters": {}})["ros__parameters"]
            for key, value in values.items():
                given[key] = value
        with tempfile.NamedTemporaryFile("w", prefix="objective_agent_", suffix=".yaml", delete=False) as file:
            yaml.safe_dump(named, file, sort_keys=False)
        return file.name

    def start(self) -> None:
        arguments = ["--ros-args", "--params-file", self._file, "--log-level", self.level]
        arguments += ["-p", f"use_sim_time:={str(self.sim_time).lower()}"]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace}"]
        if self.record is not None:
            self.children.start(RECORDER, "objective_agent_nodes.demo_record", ["--out", str(self.record)], signal.SIGTERM)
        if self.simulated:
            self.children.start(SIMULATOR, NODES[SIMULATOR].module, arguments)
        self.children.start(GATE, NODES[GATE].module, arguments, death=signal.SIGTERM)
        if self.separate:
            for name, place in MODULES.items():
                self.children.start(name, place.module, arguments)
        else:
            self.children.start("agent", "objective_agent_nodes.agent_process", arguments)
        self.children.start(MANAGER, "objective_agent_nodes.lifecycle_manager", arguments)

    def stop(self) -> list[str]:
        """The manager first (it takes the nodes down), then the modules, the recorder, the simulator, and the gate last."""
        modules = [*MODULES, "agent"]
        try:
            stages = [([MANAGER], 12.0), (modules, 10.0), ([SIMULATOR], 3.0), ([GATE], 3.0), ([RECORDER], 10.0)]
            killed = self.children.stop(stages)
            if killed:
                log.warning("had to be killed: %s", ", ".join(killed))
            return killed
        finally:
            Path(self._file).unlink(missing_ok=True)

    def explain(self, dead: Child) -> int:
        """One line about a child that ended by itself, and the exit code that follows."""
        code = dead.process.returncode
        if dead.name == MANAGER and code == 1:
            return 1  # it has said why
        if dead.name == SIMULATOR and code == 2:
            return 2
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        line = f"objective-agent run: error: {dead.name} {how}; everything is taken down; --log-level info tells more"
        print(line, file=sys.stderr, flush=True)
        return 1


def check(sections: dict[str, dict], extra: dict[str, dict], where: str, simulated: bool) -> None:
    """The parameters of every node that will run, by the same models, before a process is started."""
    from objective_agent_nodes.parameters import build

    for name, place in NODES.items():
        if name == SIMULATOR and not simulated:
            continue
        values = sections.get(name, sections[""]) | extra.get(name, {})
        values.pop("use_sim_time", None)
        build(place.parameter_model(), values, f"{where}: {name}")


def environment(images: bool) -> dict[str, str]:
    """The children's environment: how they talk, and one thread per process unless the user says otherwise."""
    made = dict(os.environ)
    made.setdefault("OMP_NUM_THREADS", "1")
    transport.choose(made, images)
    return made


def _world(given: str) -> str:
    """Checked here, so that a bad world is one line before anything is started."""
    from objective_agent.simulation import World

    World.load(given)
    path = Path(given)
    return str(path.resolve()) if path.is_file() else given
