"""How long a decision of the actor takes: one solve on one thread, and its stages (imagine, score, check)."""

from __future__ import annotations

import statistics
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import optimizer_tasks, world_model

HELP = "where the time of a decision goes: imagine, score, check; by number of candidates and horizon"
EXAMPLE = "objective-agent bench stages --samples 64 128 --horizons 15 --json stages.json"


def add_arguments(parser) -> None:
    parser.add_argument("--optimizer", default="mppi", help="optimizer plugin (default mppi)")
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 128, 256], metavar="N", help="candidates per iteration")
    parser.add_argument("--horizons", type=int, nargs="+", default=[15, 30], metavar="H", help="steps imagined")
    parser.add_argument("--points", type=int, default=180, metavar="P", help="obstacle points (default 180)")
    parser.add_argument("--repeats", type=int, default=100, metavar="R", help="solves per row (default 100)")
    parser.add_argument("--device", default="cpu", metavar="D", help="torch device of the decisions: cpu or cuda (default cpu)")
    parser.add_argument("--model", metavar="DIR", help="also time this learned model's rollout beside its bare matrix products")


def main(args) -> dict:
    """Milliseconds p50 and p99 of a solve with all its iterations, and p50 of each stage of one iteration."""
    import torch

    from objective_agent import devices
    from objective_agent.types import InputError

    device = devices.find(args.device, "--device")
    if min([*args.samples, *args.horizons, args.points, args.repeats]) < 1:
        raise InputError("bench stages: --samples, --horizons, --points and --repeats must be at least 1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [_row(args, device, samples, horizon) for samples in args.samples for horizon in args.horizons]
    finally:
        torch.set_num_threads(threads)
    found = {"optimizer": args.optimizer, "threads": 1, "points": args.points, "repeats": args.repeats}
    found |= {"device": devices.title(device), "rows": rows}
    if args.model:
        found["learned"] = world_model.main(
            Namespace(model=args.model, samples=args.samples, horizon=12, futures=[3], repeats=args.repeats)
        )
    return found


def _row(args, device, samples: int, horizon: int) -> dict:
    from dataclasses import replace

    import torch

    from objective_agent.actor.problem import as_tensors
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.plugins import create

    robot = RobotParameters()
    spec = PluginSpec(plugin=args.optimizer, samples=samples, tolerance=0.0, patience=100)
    optimizer = create("optimizer", spec, robot, "bench stages")
    problem = _problem(robot, horizon, args.points)
    problem = replace(problem, state=problem.state.to_torch(device))
    plans = [optimizer.solve(problem, float("inf")) for _ in range(3)]  # the first ones pay for warming up
    solves = []
    for _ in range(args.repeats):
        plans[0] = optimizer.solve(problem, float("inf"))
        solves.append(1e3 * plans[0].seconds)

    actions = plans[0].actions[:, None].expand(-1, samples, -1, -1).to(device).contiguous()
    with torch.inference_mode():
        problem = as_tensors(problem)
        trajectory = problem.world_model.rollout(problem.state, actions, 1, problem.dt)
        stages = {"rollout": lambda: problem.world_model.rollout(problem.state, actions, 1, problem.dt)}
        for name, term in [(t.name, t.objective) for t in problem.objectives]:
            stages[name] = lambda term=term: term.energy(_fresh(trajectory), problem.goal)
        for named in problem.guardrails:
            stages[named.name] = lambda guardrail=named.guardrail: guardrail.margin(_fresh(trajectory))
        stage_ms = {name: round(_median_ms(stage, args.repeats, device), 3) for name, stage in stages.items()}
    return {
        "samples": samples,
        "horizon": horizon,
        "iterations": plans[0].iterations,
        "evaluations": plans[0].evaluations,
        "solve_ms": {"p50": round(_quantile(solves, 0.5), 3), "p99": round(_quantile(solves, 0.99), 3)},
        "stage_ms": stage_ms,
    }


def _problem(robot, horizon: int, points: int):
    """Behind a box ahead, in a 6 m x 6 m room."""
    import numpy as np

    angle = np.linspace(-np.pi, np.pi, points, endpoint=False)
    ranges = 3.0 / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))
    ranges = np.where(np.abs(angle) < 0.25, 1.2 / np.cos(angle), ranges)
    seen = np.stack([ranges * np.cos(angle), ranges * np.sin(angle)], -1)
    return optimizer_tasks.robot_problem(robot, seen, horizon, features=182)


def _fresh(trajectory):
    """The trajectory without what an earlier stage has computed on it."""
    from dataclasses import replace

    return replace(trajectory, readouts={})


def _median_ms(stage: Callable[[], object], repeats: int, device) -> float:
    from objective_agent import devices

    times = []
    for _ in range(repeats):
        devices.wait(device)
        begun = time.perf_counter()
        stage()
        devices.wait(device)
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times)


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
