"""The safety gate measured: collisions under an adversarial planner, false stops and success, and injected faults."""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import secrets
import sys
import time
from pathlib import Path

import numpy as np

from objective_agent.config import RobotParameters
from objective_agent.safety import default_parameters
from objective_agent.types import InputError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.disc_world import Adversary, DiscWorld, Seeker, drive

HELP = "the safety gate: collisions with an adversarial planner, false stops, reaction to injected faults"
EXAMPLE = "objective-agent bench gate --runs 1000 --injections 200 --json gate.json"
PARTS = ("adversary", "apartments", "benign", "faults", "graph")


def add_arguments(parser) -> None:
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure (default: all)")
    parser.add_argument("--runs", type=int, default=1000, metavar="N", help="runs in worlds of discs (default 1000)")
    parser.add_argument("--apartments", type=int, default=60, metavar="N", help="runs in generated apartments (default 60)")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="simulated length of a run (default 10)")
    parser.add_argument("--injections", type=int, default=200, metavar="N", help="faults of each kind (default 200)")
    parser.add_argument(
        "--jitter-seconds", type=float, default=120.0, metavar="S", help="length of the jitter run (default 120)"
    )
    parser.add_argument("--seed", type=int, default=0, help="first seed")


def main(args) -> dict:
    if min(args.runs, args.apartments, args.injections) < 1 or not (math.isfinite(args.seconds) and args.seconds >= 1):
        raise InputError("bench gate: --runs, --apartments and --injections must be at least 1, --seconds at least 1")
    robot = RobotParameters()
    parameters = default_parameters(robot)
    seeds = range(args.seed, args.seed + args.runs)
    report = Progress()
    results: dict = {"hardware": hardware(), "parameters": parameters.model_dump(mode="json")}
    if "adversary" in args.parts:
        results["adversary"] = adversary(robot, parameters, seeds, args.seconds, report)
    if "benign" in args.parts:
        results["benign"] = benign(robot, parameters, seeds[: max(len(seeds) // 5, 1)], report)
    if "apartments" in args.parts:
        from benchmarks.gate_apartments import apartments

        results["apartments"] = apartments(robot, parameters, args.apartments, args.seed, args.seconds, report)
    for part in ("faults", "graph"):
        if part in args.parts and importlib.util.find_spec("rclpy") is None:
            results[part] = {"skipped": "ROS 2 (rclpy) is not installed; install the [ros] extra"}
        elif part in args.parts:
            results[part] = _over_dds(part, parameters, args, report)
    report.close()
    return results


def _over_dds(part: str, parameters, args, report) -> dict:
    # A domain of its own: a robot or another run on this machine must not be heard, and must not hear the commands.
    os.environ["ROS_DOMAIN_ID"] = str(1 + secrets.randbelow(100))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    from objective_agent_nodes import transport
    from objective_agent_nodes.bench_gate import faults
    from objective_agent_nodes.bench_gate_graph import graph_faults

    transport.choose(os.environ)

    if part == "graph":
        return graph_faults(max(args.injections // 10, 1), report)
    return faults(parameters, args.injections, args.jitter_seconds, os.cpu_count() or 1, report)


def adversary(robot, parameters, seeds, seconds: float, report) -> dict:
    """Collisions with the gate, and without it under the same commands' generator."""
    runs, bare = [], []
    for k, seed in enumerate(seeds):
        report("adversary", k, len(seeds))
        runs.append(drive(DiscWorld(seed, robot), parameters, Adversary(seed, robot), seconds))
        if k % 10 == 0:
            bare.append(drive(DiscWorld(seed, robot), parameters, Adversary(seed, robot), seconds, gate=False))
    return {
        "runs": len(runs),
        "seeds": [seeds[0], seeds[-1]],
        "seconds_each": seconds,
        "collisions": sum(run.smallest_gap <= 0 for run in runs),
        "smallest_gap_m": round(min(run.smallest_gap for run in runs), 4),
        "metres_driven": round(sum(run.distance for run in runs), 1),
        "moving_share": round(float(np.mean([run.moving_share for run in runs])), 3),
        "held_share": round(float(np.mean([run.held for run in runs])), 3),
        "without_gate": {"runs": len(bare), "collisions": sum(run.smallest_gap <= 0 for run in bare)},
    }


def benign(robot, parameters, seeds, report) -> dict:
    """A planner that knows the truth and keeps 10 cm clear: every hold of the gate is a false stop."""
    runs, reached, bare = [], [], []
    for k, seed in enumerate(seeds):
        report("benign", k, len(seeds))
        for gate, found in ((True, reached), (False, bare)):
            seeker = Seeker(seed, robot)
            run = drive(DiscWorld(seed, robot), parameters, seeker, 30.0, gate=gate)
            found.append(seeker.reached)
            if gate:
                runs.append(run)
    return {
        "runs": len(runs),
        "goals_reached_per_run": round(float(np.mean(reached)), 2),
        "goals_reached_per_run_without_gate": round(float(np.mean(bare)), 2),
        "false_stop_share": round(float(np.mean([run.held for run in runs])), 4),
        "limited_share": round(float(np.mean([run.limited for run in runs])), 4),
        "collisions": sum(run.smallest_gap <= 0 for run in runs),
    }


def hardware() -> dict:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as lines:
            model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__}


class Progress:
    """One line on the terminal's error stream: what, how far, time left."""

    def __init__(self):
        self._what, self._begun, self._shown = "", time.monotonic(), 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._begun = what, now
        elif now - self._shown < 0.5:
            return
        self._shown, spent = now, now - self._begun
        left = f", {spent / done * (total - done):.0f} s left" if done else ""
        sys.stderr.write(f"\r\033[K{what}: {done} of {total}{left}")
        sys.stderr.flush()

    def close(self) -> None:
        sys.stderr.write("\r\033[K")
