"""How long a decision of the robot takes, and its parts: encode, advance over the latency, imagine, score, check, and the rest.

The parts are timed inside the search as it is, by what the thread had of the processor, so that other work on the machine
counts little; on a GPU by the clock, each part waited for.  What several terms need is computed once, by the first that asks.
"""

from __future__ import annotations

import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import optimizer_tasks, pages

HELP = "where the time of a robot's decision goes: encode, advance, imagine, score, check; by candidates and horizon"
EXAMPLE = "objective-agent bench stages --samples 64 128 --horizons 15 --write docs/speed.md --json stages.json"
REST, SEARCH, WHOLE = "rest of the search", "search", "whole"


def add_arguments(parser) -> None:
    files = "parameter files: encoder, world model, cost, optimizer (default: the shipped sim.yaml and learned.yaml)"
    parser.add_argument("--params", type=Path, nargs="+", metavar="FILE", help=files)
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 128], metavar="N", help="candidates per iteration")
    parser.add_argument("--horizons", type=int, nargs="+", default=[15], metavar="H", help="steps imagined")
    parser.add_argument("--points", type=int, default=180, metavar="P", help="obstacle points (default 180)")
    parser.add_argument("--repeats", type=int, default=100, metavar="R", help="decisions per column (default 100)")
    parser.add_argument("--device", default="cpu", metavar="D", help="torch device of the decisions: cpu or cuda (default cpu)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page, between its marks")


def main(args) -> dict:
    """Milliseconds p50 and p99 of each part of a decision with all its iterations."""
    import torch

    from objective_agent import devices, resources
    from objective_agent.config import load_parameters
    from objective_agent.types import InputError

    device = devices.find(args.device, "--device")
    if min([*args.samples, *args.horizons, args.points, args.repeats]) < 1:
        raise InputError("bench stages: --samples, --horizons, --points and --repeats must be at least 1")
    page = None if args.write is None else pages.Page(args.write, "stages")
    files = args.params or [resources.resource("config", name) for name in ("sim.yaml", "learned.yaml")]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        made = [
            (path.name, Decision(load_parameters(path), args.points, device, samples, horizon))
            for path in files
            for samples in args.samples
            for horizon in args.horizons
        ]
        for _ in range(args.repeats):  # in turns, so that what the machine does besides meets all of them
            for _, decision in made:
                decision.take()
        rows = [{"params": name} | decision.row() for name, decision in made]
    finally:
        torch.set_num_threads(threads)
    found = {"hardware": pages.machine(threads=1), "points": args.points, "repeats": args.repeats}
    found |= {"device": devices.title(device), "rows": rows}
    if page is not None:
        page.put(table(found), found)
    return found


class Stopwatch:
    """Milliseconds spent in each part since the last `take`."""

    def __init__(self, device):
        self._device, self._spent = device, defaultdict(float)

    def time(self, part: str, call: Callable, *args, **keywords):
        begun = self._now()
        try:
            return call(*args, **keywords)
        finally:
            self._spent[part] += 1e3 * (self._now() - begun)

    def _now(self) -> float:
        from objective_agent import devices

        if self._device.type == "cpu":
            return time.thread_time()
        devices.wait(self._device)
        return time.perf_counter()

    def take(self) -> dict[str, float]:
        spent, self._spent = dict(self._spent), defaultdict(float)
        return spent


class Timed:
    """`inner`, whose method `method` is timed as `part`."""

    def __init__(self, inner, method: str, part: str, stopwatch: Stopwatch):
        self._inner, self._method, self._part, self._stopwatch = inner, method, part, stopwatch

    def __getattr__(self, name: str):
        found = getattr(self._inner, name)
        if name != self._method:
            return found
        return lambda *args, **keywords: self._stopwatch.time(self._part, found, *args, **keywords)


class Decision:
    """A decision of the robot that `parameters` describe, taken again and again; how long each part took, each time."""

    def __init__(self, parameters, points: int, device, samples: int, horizon: int):
        from objective_agent import plugins
        from objective_agent.config import PluginSpec

        robot, search = parameters.robot, parameters.actor.optimizer
        self._device, self._stopwatch, self._samples = device, Stopwatch(device), samples
        endless = {"samples": samples, "tolerance": 0.0, "patience": 1000}
        spec = PluginSpec(plugin=search.plugin, **(search.settings | endless))
        self._optimizer = plugins.create("optimizer", spec, robot, "actor.optimizer")
        self._encoder = plugins.create("encoder", parameters.perception.encoder, robot, "perception.encoder")
        self._world_model = plugins.create("world_model", parameters.world_model.world_model, robot, "world_model")
        self._seen, around = _seen(points)
        timed = Timed(self._world_model, "rollout", "rollout", self._stopwatch)
        self._problem = _problem(parameters, around, horizon, timed, self._stopwatch)
        self._taken: dict[str, list[float]] = defaultdict(list)
        for _ in range(3):  # the first ones pay for warming up
            self.take()
        self._taken.clear()

    def take(self) -> None:
        import torch

        watch, problem = self._stopwatch, self._problem
        tokens = watch.time("encode", self._encoder.encode, self._seen)
        state = replace(problem.state, representation=tokens.tokens, model=tokens.model)
        with torch.inference_mode():
            later = watch.time("advance", self._world_model.advance, state.to_torch(self._device), self._seen.stamp + 0.2)
            self._plan = watch.time(SEARCH, self._optimizer.solve, replace(problem, state=later), math.inf)
        spent = watch.take()
        search = spent.pop(SEARCH)
        whole = spent["encode"] + spent["advance"] + search
        for part, milliseconds in (spent | {REST: whole - sum(spent.values()), WHOLE: whole}).items():
            self._taken[part].append(milliseconds)

    def row(self) -> dict:
        return {
            "samples": self._samples,
            "horizon": self._problem.horizon,
            "futures": self._problem.futures,
            "iterations": self._plan.iterations,
            "evaluations": self._plan.evaluations,
            "stage_ms": {
                part: {"p50": _quantile(times, 0.5), "p99": _quantile(times, 0.99)} for part, times in self._taken.items()
            },
        }


def _seen(count: int):
    """An observation behind a box ahead, in a 6 m x 6 m room: lidar and a dark picture; and the lidar's points [P, 2]."""
    import numpy as np

    from objective_agent.types import Observation, Scan

    angle = np.linspace(-np.pi, np.pi, count, endpoint=False)
    ranges = 3.0 / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))
    ranges = np.where(np.abs(angle) < 0.25, 1.2 / np.cos(angle), ranges)
    scan = Scan(1.0, ranges.astype(np.float32), -math.pi, 2 * math.pi / count, 0.05, 8.0)
    pose, velocity = np.zeros((1, 3), np.float32), np.array([[0.3, 0.0]], np.float32)
    seen = Observation(1.0, pose, velocity, (scan,), pose, np.zeros((1, 64, 64, 3), np.uint8))
    return seen, np.stack([ranges * np.cos(angle), ranges * np.sin(angle)], -1)


def _problem(parameters, points, horizon: int, world_model, stopwatch: Stopwatch):
    """What `parameters` make of a decision among `points`, its terms timed; the representation is still to come."""
    import numpy as np

    from objective_agent.planner import make_guardrails, make_objectives
    from objective_agent.types import WorldState

    robot, actor = parameters.robot, parameters.actor
    objectives, guardrails = make_objectives(parameters.cost, robot), make_guardrails(parameters.cost, robot)
    pose, velocity = np.zeros((1, 3), np.float32), np.array([[0.3, 0.0]], np.float32)
    sent = {"sent_stamps": np.arange(20) / 20, "sent": np.tile(velocity, (20, 1))[None]}
    return replace(
        optimizer_tasks.robot_problem(robot, points, horizon),
        state=WorldState(1.0, np.zeros((1, 1, 1), np.float32), pose, velocity, "", points=points[None], **sent),
        world_model=world_model,
        objectives=[replace(term, objective=Timed(term.objective, "energy", term.name, stopwatch)) for term in objectives],
        guardrails=[replace(named, guardrail=Timed(named.guardrail, "margin", named.name, stopwatch)) for named in guardrails],
        futures=actor.futures,
        dt=actor.dt,
    )


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 3)


def table(found: dict) -> str:
    """Markdown: a column per parameter file and size, p50 and p99 in ms."""
    rows = found["rows"]
    last = (REST, WHOLE)
    parts = [part for part in dict.fromkeys(part for row in rows for part in row["stage_ms"]) if part not in last] + list(last)
    titles = [f"`{row['params']}`, {row['samples']} x {row['horizon']}" for row in rows]
    lines = [f"| ms, p50 / p99 | {' | '.join(titles)} |", "|---" * (len(rows) + 1) + "|"]
    for part in parts:
        taken = [row["stage_ms"].get(part) for row in rows]
        cells = ["-" if each is None else f"{each['p50']:.2f} / {each['p99']:.2f}" for each in taken]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    counts = [f"{row['evaluations']} in {row['iterations']}, {row['futures']}" for row in rows]
    lines.append(f"| candidates in all, in iterations, futures of each | {' | '.join(counts)} |")
    return "\n".join(lines)
