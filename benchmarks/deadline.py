"""How late the optimizers answer: solves with a deadline while other processes keep every core of the machine busy.

The decisions come in blocks, the optimizers taking turns.  Each block notes how much of the processor went to anybody but the
benchmark and its busy processes: how late an answer comes on a machine with other work says something about that work.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import optimizer_tasks, pages

HELP = "how late each optimizer answers, with every core of the machine taken by other processes"
EXAMPLE = "objective-agent bench deadline --write docs/optimizers.md --json deadline.json"
BUSY = "while True: pass"
BLOCK = 20
"""Decisions in a row of one optimizer."""
QUIET = 0.05
"""A block counts as quiet where others had less than this share of the processor."""


def add_arguments(parser) -> None:
    parser.add_argument(
        "--optimizers", nargs="+", default=list(optimizer_tasks.NAMES), metavar="NAME", help="optimizer plugins (default: all)"
    )
    parser.add_argument("--budget", type=float, default=35.0, metavar="MS", help="time for a decision, ms (default 35)")
    parser.add_argument("--repeats", type=int, default=600, metavar="R", help="decisions per optimizer (default 600)")
    parser.add_argument("--samples", type=int, default=64, metavar="N", help="candidates per iteration (default 64)")
    parser.add_argument("--hogs", type=int, metavar="P", help="processes that keep the cores busy (default: one per core)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page, between its marks")


def main(args) -> dict:
    """Overrun in ms, p50, p99 and the greatest, for each optimizer, and what else had the processor meanwhile."""
    import torch

    from objective_agent.types import InputError

    if min(args.repeats, args.samples - 3) < 1 or not args.budget > 0:
        raise InputError("bench deadline: --repeats must be at least 1, --samples at least 4, --budget more than 0 ms")
    if args.hogs is not None and args.hogs < 0:
        raise InputError("bench deadline: --hogs must be at least 0")
    page = None if args.write is None else pages.Page(args.write, "deadline")
    hogs = (os.cpu_count() or 1) if args.hogs is None else args.hogs
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = measure(args, hogs)
    finally:
        torch.set_num_threads(threads)
    found = {
        "hardware": pages.machine(threads=1),
        "budget_ms": args.budget,
        "hogs": hogs,
        "samples": args.samples,
        "rows": rows,
    }
    if page is not None:
        page.put(table(found), found)
    return found


def measure(args, hogs: int) -> list[dict]:
    """One row per optimizer; they take turns, block by block, so that what the machine does besides meets all of them."""
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.plugins import create

    endless = {"samples": args.samples, "iterations": 1000, "patience": 1000, "tolerance": 0.0}
    made = {
        name: create("optimizer", PluginSpec(plugin=name, **endless), RobotParameters(), "bench deadline")
        for name in args.optimizers
    }
    problem, budget = optimizer_tasks.decision("doorway").problem, 1e-3 * args.budget
    blocks = {name: [] for name in made}
    with busy(hogs) as pids:
        for optimizer in made.values():
            for _ in range(5):  # the first ones pay for warming up
                optimizer.solve(problem, time.perf_counter() + budget)
        for begin in range(0, args.repeats, BLOCK):
            for name, optimizer in made.items():
                before = processor(pids)
                answers = [_answer(optimizer, problem, budget) for _ in range(min(BLOCK, args.repeats - begin))]
                blocks[name].append((others(before, processor(pids)), answers))
    return [_row(name, args.budget, some) for name, some in blocks.items()]


@contextlib.contextmanager
def busy(count: int) -> Iterator[list[int]]:
    """Ids of `count` processes that do nothing but keep a core busy each."""
    hogs = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        time.sleep(0.3 if hogs else 0.0)
        yield [hog.pid for hog in hogs]
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def _answer(optimizer, problem, budget: float):
    """Overrun in ms, and the plan."""
    deadline = time.perf_counter() + budget
    plan = optimizer.solve(problem, deadline)
    return max(0.0, 1e3 * (time.perf_counter() - deadline)), plan


def processor(pids: list[int]) -> tuple[float, float, float] | None:
    """Seconds so far of all cores, those in which they were busy, and those of this process and `pids`; None: not on Linux."""
    try:
        every = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        fields = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split() for pid in (os.getpid(), *pids)]
    except (OSError, ValueError, IndexError):
        return None
    tick = os.sysconf("SC_CLK_TCK")
    own = sum(int(field[11]) + int(field[12]) for field in fields)  # user and system time: proc(5)
    return sum(every) / tick, (sum(every) - every[3] - every[4]) / tick, own / tick


def others(before: tuple | None, after: tuple | None) -> float | None:
    """The share of the processor that went to anybody else between two moments."""
    if before is None or after is None or after[0] <= before[0]:
        return None
    whole, taken, own = (now - then for then, now in zip(before, after, strict=True))
    return min(1.0, max(0.0, taken - own) / whole)


def _row(name: str, budget: float, blocks: list[tuple[float | None, list]]) -> dict:
    answers = [answer for _, block in blocks for answer in block]
    late, plans = zip(*answers, strict=True)
    reasons = [plan.stop_reason for plan in plans]
    shares = [share for share, _ in blocks if share is not None]
    quiet = [late for share, block in blocks if share is not None and share < QUIET for late, _ in block]
    return {
        "optimizer": name,
        "decisions": len(late),
        "used_p50": round(statistics.median(1e3 * plan.seconds / budget for plan in plans), 3),
        "overrun_ms": _summary(late),
        "late_share": round(sum(value > 0 for value in late) / len(late), 4),
        "others": round(statistics.mean(shares), 3) if shares else None,
        "others_by_block": [round(share, 3) for share in shares],
        "quiet": {"decisions": len(quiet), "overrun_ms": _summary(quiet) if quiet else None},
        "iterations": round(sum(plan.iterations for plan in plans) / len(plans), 1),
        "stop_reasons": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
    }


def _summary(late) -> dict[str, float]:
    ordered = sorted(late)
    ranks = {"p50": len(ordered) // 2, "p99": min(len(ordered) - 1, int(0.99 * len(ordered))), "max": -1}
    return {name: round(ordered[rank], 3) for name, rank in ranks.items()}


def table(found: dict) -> str:
    """Markdown; overruns in ms."""
    head = ["optimizer", "decisions", "deadline used, p50", "overrun p50", "p99", "max", "others' share"]
    head += ["quiet decisions", "p99 of these"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in found["rows"]:
        late, quiet = row["overrun_ms"], row["quiet"]
        cells = [f"`{row['optimizer']}`", str(row["decisions"]), f"{100 * row['used_p50']:.0f} %"]
        cells += [f"{late[name]:.1f}" for name in ("p50", "p99", "max")]
        cells += ["-" if row["others"] is None else f"{100 * row['others']:.0f} %", str(quiet["decisions"])]
        cells += ["-" if quiet["overrun_ms"] is None else f"{quiet['overrun_ms']['p99']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    said = f"{found['budget_ms']:g} ms for a decision, {found['hogs']} busy processes; overruns in ms."
    return f"{said}\n\n" + "\n".join(lines)
