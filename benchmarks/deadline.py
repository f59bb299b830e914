"""How late the optimizers answer: solves with a deadline, first on an idle machine, then with other processes on every core."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import optimizer_tasks

HELP = "how late each optimizer answers, with every core of the machine taken by other processes"
EXAMPLE = "objective-agent bench deadline --budget 20 --repeats 300 --json deadline.json"
BUSY = "while True: pass"


def add_arguments(parser) -> None:
    parser.add_argument(
        "--optimizers", nargs="+", default=list(optimizer_tasks.NAMES), metavar="NAME", help="optimizer plugins (default: all)"
    )
    parser.add_argument("--budget", type=float, default=20.0, metavar="MS", help="time for a decision, ms (default 20)")
    parser.add_argument("--repeats", type=int, default=300, metavar="R", help="decisions per row (default 300)")
    parser.add_argument("--samples", type=int, default=64, metavar="N", help="candidates per iteration (default 64)")


def main(args) -> dict:
    """Overrun in ms, p50, p99 and the greatest, for each optimizer, with idle and with busy cores."""
    import torch

    from objective_agent.types import InputError

    if min(args.repeats, args.samples - 3) < 1 or not args.budget > 0:
        raise InputError("bench deadline: --repeats must be at least 1, --samples at least 4, --budget more than 0 ms")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [_row(args, name, busy) for busy in (False, True) for name in args.optimizers]
    finally:
        torch.set_num_threads(threads)
    return {"budget_ms": args.budget, "cores": os.cpu_count(), "threads": 1, "samples": args.samples, "rows": rows}


def _row(args, name: str, busy: bool) -> dict:
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.plugins import create

    endless = {"iterations": 1000, "patience": 1000, "tolerance": 0.0}
    spec = PluginSpec(plugin=name, samples=args.samples, **endless)
    optimizer = create("optimizer", spec, RobotParameters(), "bench deadline")
    problem = optimizer_tasks.decision("doorway").problem
    hogs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(os.cpu_count() or 1)] if busy else []
    try:
        time.sleep(0.3 if busy else 0.0)
        for _ in range(5):  # the first ones pay for warming up
            optimizer.solve(problem, time.perf_counter() + 1e-3 * args.budget)
        late, iterations, reasons = [], [], {}
        for _ in range(args.repeats):
            deadline = time.perf_counter() + 1e-3 * args.budget
            plan = optimizer.solve(problem, deadline)
            late.append(max(0.0, 1e3 * (time.perf_counter() - deadline)))
            iterations.append(plan.iterations)
            reasons[plan.stop_reason] = reasons.get(plan.stop_reason, 0) + 1
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    late.sort()
    return {
        "optimizer": name,
        "cores_busy": busy,
        "overrun_ms": {
            "p50": round(late[len(late) // 2], 3),
            "p99": round(late[min(len(late) - 1, int(0.99 * len(late)))], 3),
            "max": round(late[-1], 3),
        },
        "late_share": round(sum(value > 0 for value in late) / len(late), 4),
        "iterations": round(sum(iterations) / len(iterations), 1),
        "stop_reasons": reasons,
    }
