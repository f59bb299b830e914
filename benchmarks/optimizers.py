"""All optimizers on the same tasks: how often each comes near the optimum, how near, and in how much time.

Toy problems with known optima, decisions of the robot with the analytic world model, and whole episodes in test apartments
(`--episodes`, with the analytic model or a learned one).  Every optimizer runs with its own default settings, but for a second
row on the toys in which none of them stops early.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import optimizer_tasks

HELP = "every optimizer on toy problems with known optima and on the robot: success, energy, time"
EXAMPLE = "objective-agent bench optimizers --write docs/optimizers.md --json optimizers.json"
BEGIN, END = "<!-- table: objective-agent bench optimizers -->", "<!-- end of table -->"
PATIENT = {"iterations": 40, "patience": 1000, "tolerance": 0.0}


def add_arguments(parser) -> None:
    parser.add_argument(
        "--optimizers", nargs="+", default=list(optimizer_tasks.NAMES), metavar="NAME", help="optimizer plugins (default: all)"
    )
    parser.add_argument("--seeds", type=int, default=10, metavar="S", help="solves of each problem (default 10)")
    parser.add_argument("--courses", type=int, default=60, metavar="C", help="problems with obstacles (default 60)")
    parser.add_argument("--episodes", type=int, default=0, metavar="N", help="episodes of task apartment as well (default 0)")
    parser.add_argument("--model", metavar="DIR", help="in these, drive with this learned model")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, between its marks")


def main(args) -> dict:
    import torch

    from objective_agent.types import InputError

    if min(args.seeds, args.courses, args.episodes + 1) < 1:
        raise InputError("bench optimizers: --seeds and --courses must be at least 1, --episodes at least 0")
    if args.write is not None:
        _marks(args.write)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = _rows(args)
    finally:
        torch.set_num_threads(threads)
    found = {"seeds": args.seeds, "courses": args.courses, "threads": 1, "rows": rows}
    if args.episodes:
        found |= {"episodes": args.episodes, "model": args.model or "unicycle"}
    if args.write is not None:
        begin, end, text = _marks(args.write)
        _write(args.write, f"{text[:begin]}\n\n{table(found)}\n{text[end:]}")
    return found


def _rows(args) -> list[dict]:
    toys = [optimizer_tasks.lqr(), optimizer_tasks.wall(), optimizer_tasks.bandit()]
    decisions = [optimizer_tasks.decision(where) for where in ("open_floor", "doorway", "dead_end")]
    courses = [optimizer_tasks.course(seed) for seed in range(args.courses)]
    rows = []
    for name in args.optimizers:
        for task in toys:
            rows.append(_solve(name, task, args.seeds, use_library=False))
            rows.append(_solve(name, task, args.seeds, use_library=False, **PATIENT) | {"task": f"{task.name}, 40 iterations"})
        rows.append(_constraints(name, courses))
        rows += [_solve(name, task, args.seeds) for task in decisions]
        if args.episodes:
            rows.append(_episodes(name, args.episodes, args.model))
    for task in decisions:  # the optimum is not known: compare with the best that any of them has found
        same = [row for row in rows if row["task"] == task.name]
        least = min(row.pop("least") for row in same)
        for row in same:
            energies = row.pop("energies")
            row["energy"] = round(statistics.mean(energies) / least, 4)
            row["success"] = round(sum(energy <= task.close * least for energy in energies) / len(energies), 3)
    return rows


def _solve(name: str, task: optimizer_tasks.Task, seeds: int, **settings) -> dict:
    """`success`: share of the solves that come `close`; `energy`: share of the optimum (bandit: the mean energy itself)."""
    plans, times = [], []
    for seed in range(seeds):
        optimizer = make(name, **settings)
        optimizer.reset(seed)
        begun = time.process_time()
        plans.append(optimizer.solve(task.problem, float("inf")))
        times.append(1e3 * (time.process_time() - begun))
    energies = [float(plan.energy[0]) for plan in plans]
    row = {
        "optimizer": name,
        "task": task.name,
        "cpu_ms": round(statistics.median(times), 2),
        "iterations": round(statistics.mean(plan.iterations for plan in plans), 1),
        "evaluations": round(statistics.mean(plan.evaluations for plan in plans)),
        "violations": sum(bool(plan.feasible.all()) and float(plan.violation.max()) > 0 for plan in plans),
    }
    if task.optimum is None:
        return row | {"energies": energies, "least": min(energies)}
    known = task.optimum > 0
    limit = task.close * task.optimum if known else task.close
    row["energy"] = round(statistics.mean(energies) / task.optimum if known else statistics.mean(energies), 4)
    row["success"] = round(sum(energy <= limit for energy in energies) / seeds, 3)
    return row


def _constraints(name: str, courses: list[optimizer_tasks.Course]) -> dict:
    """`success`: share of the problems in which it does what brute force says can be done; `energy` means nothing here."""
    times, missed, broken, braked = [], 0, 0, 0
    for case in courses:
        optimizer, begun = make(name, use_library=False), time.process_time()
        plan = optimizer.solve(case.problem, float("inf"))
        times.append(1e3 * (time.process_time() - begun))
        velocity = case.problem.state.velocity[0].numpy()
        clear = optimizer_tasks.clearances(case.discs, velocity, plan.actions.numpy().astype(float))[0]
        feasible = bool(plan.feasible.all())
        missed += int(case.exists and not feasible)
        broken += bool(feasible and clear < -1e-5)
        braked += int(not feasible and not bool(plan.actions.any()))
    possible = sum(case.exists for case in courses)
    return {
        "optimizer": name,
        "task": "obstacles",
        "cpu_ms": round(statistics.median(times), 2),
        "possible": possible,
        "missed": missed,
        "violations": broken,
        "braked": braked,
        "success": round(1 - missed / max(1, possible), 4),
    }


def _episodes(name: str, count: int, model: str | None) -> dict:
    from objective_agent.cli import evaluate
    from objective_agent.config import PluginSpec
    from objective_agent.simulation.evaluation import Evaluator, Protocol

    parameters, gate = evaluate.load(None, "learned.yaml" if model else "sim.yaml")
    if model:
        parameters = evaluate.with_model(parameters, model)
    actor = parameters.actor.model_copy(update={"optimizer": PluginSpec(plugin=name)})
    evaluator = Evaluator(Protocol("apartment", 1, parameters.model_copy(update={"actor": actor}), gate, (), None, ()))
    records = [evaluator.run(index) for index in range(count)]
    outcomes = [record["rows"]["agent"] for record in records]
    times = sorted(ms for record in records for ms in record["timing"]["agent"]["planning_ms"])
    reached = [outcome["seconds"] for outcome in outcomes if outcome["success"]]
    return {
        "optimizer": name,
        "task": "apartment",
        "ms": round(times[len(times) // 2], 2),
        "ms_p99": round(times[min(len(times) - 1, int(0.99 * len(times)))], 2),
        "success": round(len(reached) / count, 3),
        "seconds_to_goal": round(statistics.mean(reached), 2) if reached else None,
        "contacts": sum(outcome["contacts"] for outcome in outcomes),
    }


def make(name: str, **settings):
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.plugins import create

    return create("optimizer", PluginSpec(plugin=name, **settings), RobotParameters(), "bench optimizers")


TOYS = ("lqr", "wall", "bandit", "obstacles")


def table(found: dict) -> str:
    """The rows as Markdown, toys and robot apart: one line per optimizer, one column per task."""
    tasks = list(dict.fromkeys(row["task"] for row in found["rows"]))
    toys = [task for task in tasks if task.startswith(TOYS)]
    return "\n".join(_lines(found["rows"], group) for group in (toys, [task for task in tasks if task not in toys]))


def _lines(rows: list[dict], tasks: list[str]) -> str:
    lines = ["| optimizer | " + " | ".join(tasks) + " |", "|---|" + "---|" * len(tasks)]
    for name in dict.fromkeys(row["optimizer"] for row in rows):
        own = {row["task"]: row for row in rows if row["optimizer"] == name}
        lines.append(f"| `{name}` | " + " | ".join(_cell(own[task]) for task in tasks) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: dict) -> str:
    success = f"{100 * row['success']:.0f} %"
    if row["task"] == "obstacles":
        return f"{success}, {row['violations']} broken, {row['cpu_ms']:.0f} ms"
    if row["task"] == "apartment":
        return f"{success}, {row['contacts']} contacts, {row['ms']:.0f} ms"
    return f"{success}, {row['energy']:.3f}, {row['cpu_ms']:.0f} ms"


def _marks(page: Path) -> tuple[int, int, str]:
    """(end of the first mark, begin of the second, text) of a page; InputError without them."""
    from objective_agent.types import InputError

    try:
        text = page.read_text()
        begin = text.index(BEGIN) + len(BEGIN)
        return begin, text.index(END, begin), text
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{page}: can't be read: {error}; give a page of text with --write") from None
    except ValueError:
        raise InputError(f"{page}: has no line {BEGIN!r} followed by {END!r}; put them where the table shall be") from None


def _write(page: Path, text: str) -> None:
    from objective_agent.types import InputError

    try:
        page.write_text(text)
    except OSError as error:
        raise InputError(f"{page}: can't be written: {error.strerror}") from None
