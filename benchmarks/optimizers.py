"""All optimizers on the same tasks: how often each comes near the optimum, how near, and in how much time.

Toy problems with known optima, decisions of the robot with the analytic world model, whole episodes of the benchmarks of images
with their models, and whole episodes in test apartments (with the analytic model or a learned one).  Every optimizer runs with
its own default settings, but for a second row on the toys in which none of them stops early, and for the noise of the
benchmarks of images, which is `evaluate`'s for all.  `--from` puts together what several runs have found.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import optimizer_episodes, optimizer_tasks, pages

HELP = "every optimizer on toy problems with known optima and on the robot: success, energy, time"
EXAMPLE = "objective-agent bench optimizers --write docs/optimizers.md --json optimizers.json"
TOYS = ("lqr", "wall", "bandit", "obstacles")
DECISIONS = ("open_floor", "doorway", "dead_end")
IMAGES = ("two_room", "two_room_random", "maze", "point_maze")
GROUPS = ("toys", "decisions", *IMAGES, "apartment")
PATIENT = {"iterations": 40, "patience": 1000, "tolerance": 0.0}


def add_arguments(parser) -> None:
    from objective_agent.cli import arguments

    parser.add_argument(
        "--optimizers", nargs="+", default=list(optimizer_tasks.NAMES), metavar="NAME", help="optimizer plugins (default: all)"
    )
    parser.add_argument(
        "--tasks", nargs="+", choices=GROUPS, default=["toys", "decisions"], metavar="TASK", help=f"some of {', '.join(GROUPS)}"
    )
    parser.add_argument("--seeds", type=int, default=10, metavar="S", help="solves of each problem (default 10)")
    parser.add_argument("--courses", type=int, default=60, metavar="C", help="problems with obstacles (default 60)")
    parser.add_argument("--episodes", type=arguments.count, default=50, metavar="N", help="episodes of a task (default 50)")
    parser.add_argument("--seed", type=arguments.seed, default=1, metavar="S", help="draws the episodes (default 1)")
    parser.add_argument("--jobs", type=arguments.count, default=1, metavar="J", help="processes for the episodes (default 1)")
    parser.add_argument("--models", default="models", metavar="DIR", help="folder of the benchmarks' models (default models)")
    parser.add_argument("--model", metavar="DIR", help="in apartments, drive with this learned model")
    parser.add_argument(
        "--from", dest="earlier", nargs="+", type=Path, default=[], metavar="JSON", help="show these, run nothing"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, between its marks")


def main(args) -> dict:
    import torch

    from objective_agent.types import InputError

    if min(args.seeds, args.courses) < 1:
        raise InputError("bench optimizers: --seeds and --courses must be at least 1")
    page = None if args.write is None else pages.Page(args.write, "optimizers")
    if args.earlier:
        found = _together(args.earlier)
    else:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            rows = _rows(args)
        finally:
            torch.set_num_threads(threads)
        about = {name: getattr(args, name) for name in ("seeds", "courses", "episodes", "seed", "model")}
        found = about | {"hardware": pages.machine(threads=1), "rows": rows}
    if page is not None:
        page.put(table(found), found)
    return found


def _together(paths: list[Path]) -> dict:
    """Earlier results as one: of the same optimizer and task the last row."""
    from objective_agent.types import InputError

    rows, results = {}, {path: pages.read_result(path) for path in paths}
    for path, found in results.items():
        try:
            rows |= {(row["task"], row["optimizer"]): row for row in found["rows"]}
        except (KeyError, TypeError):
            raise InputError(f"{path}: is no result of bench optimizers; give one with --from") from None
    return {"hardware": pages.machines(*results.values()), "rows": list(rows.values())}


def _rows(args) -> list[dict]:
    rows = []
    if "toys" in args.tasks:
        toys = [optimizer_tasks.lqr(), optimizer_tasks.wall(), optimizer_tasks.bandit()]
        courses = [optimizer_tasks.course(seed) for seed in range(args.courses)]
        for name in args.optimizers:
            for task in toys:
                rows.append(_solve(name, task, args.seeds, use_library=False))
                endless = _solve(name, task, args.seeds, use_library=False, **PATIENT)
                rows.append(endless | {"task": f"{task.name}, 40 iterations"})
            rows.append(_constraints(name, courses))
    if "decisions" in args.tasks:
        for task in map(optimizer_tasks.decision, DECISIONS):
            rows += _compared([_solve(name, task, args.seeds) for name in args.optimizers], task.close)
    for task in args.tasks:
        if task in IMAGES:
            rows += optimizer_episodes.images(task, args)
        elif task == "apartment":
            rows += optimizer_episodes.apartment(args)
    return rows


def _compared(rows: list[dict], close: float) -> list[dict]:
    """The optimum is not known: success and energy as shares of the best that any of them has found."""
    least = min(row.pop("least") for row in rows)
    for row in rows:
        energies = row.pop("energies")
        row["energy"] = round(statistics.mean(energies) / least, 4)
        row["success"] = round(sum(energy <= close * least for energy in energies) / len(energies), 3)
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


def make(name: str, **settings):
    from objective_agent.config import PluginSpec, RobotParameters
    from objective_agent.plugins import create

    return create("optimizer", PluginSpec(plugin=name, **settings), RobotParameters(), "bench optimizers")


def table(found: dict) -> str:
    """The rows as Markdown, in three tables: one line per optimizer, one column per task."""
    tasks = list(dict.fromkeys(row["task"] for row in found["rows"]))
    toys = [task for task in tasks if task.startswith(TOYS)]
    decisions = [task for task in tasks if task in DECISIONS]
    groups = (toys, decisions, [task for task in tasks if task not in (*toys, *decisions)])
    return "\n".join(_lines(found["rows"], group) for group in groups if group)


def _lines(rows: list[dict], tasks: list[str]) -> str:
    own = {(row["optimizer"], row["task"]): row for row in rows}
    episodes = {row["task"]: f", {row['episodes']} episodes" for row in rows if "episodes" in row}
    lines = [
        "| optimizer | " + " | ".join(task + episodes.get(task, "") for task in tasks) + " |",
        "|---|" + "---|" * len(tasks),
    ]
    for name in dict.fromkeys(row["optimizer"] for row in rows if row["task"] in tasks):
        cells = (own.get((name, task)) for task in tasks)
        lines.append(f"| `{name}` | " + " | ".join("-" if cell is None else _cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: dict) -> str:
    success = f"{100 * row['success']:.0f} %"
    if row["task"] == "obstacles":
        return f"{success}, {row['violations']} broken, {row['cpu_ms']:.0f} ms"
    contacts = f", {row['contacts']} contacts" if "contacts" in row else ""
    return f"{success}{contacts}, {row['energy']:.3f}, {row['cpu_ms']:.0f} ms"
