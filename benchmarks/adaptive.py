"""Does the search think as long as the decision needs?  Compute spent against difficulty, and success against compute.

    fixed       N candidates x I iterations, whatever comes of them
    adaptive    N candidates; another iteration until the best energy falls by less than a share `tolerance` of what the plan
                gains over standing still (or of the energy itself), `patience` times in a row; at most 16

`decisions`: the robot's single decisions (open floor, doorway, dead end) with the analytic world model.  `episodes`: whole
episodes of benchmark tasks with their models, the same for all searches; a decision there is `open`, at a `wall` or a `detour`
(benchmarks/searches.py).  Compute is counted in candidates imagined and in processor time of one thread, without the encoder.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

HELP = "compute spent against difficulty, success against compute: fixed and adaptive budgets"
EXAMPLE = "objective-agent bench adaptive --episodes 100 --jobs 8 --write docs/adaptive.md --json adaptive.json"
MOST = 16
NEVER = {"patience": 1000, "tolerance": 0.0, "rescue": 0}
FIXED = tuple((n, i) for n in (4, 8, 16, 32, 64, 128, 256) for i in (1, 2, 4, 8))
# samples, tolerance, of what, patience
ADAPTIVE = (
    *((n, share, "gain", 1) for n in (8, 16, 32, 64) for share in (0.2, 0.05, 0.02)),
    *((32, 0.05, "gain", patience) for patience in (2,)),
    *((32, share, "energy", 1) for share in (0.05, 0.02, 0.002)),
)
UNTIL = {  # the robot's decisions: until the best energy falls by less than this share of what the plan gains, so many times
    "5 %": {"tolerance": 0.05, "patience": 1},
    "2 %": {"tolerance": 0.02, "patience": 2},
    "0.5 %": {"tolerance": 0.005, "patience": 2},
    "0.2 %": {"tolerance": 0.002, "patience": 3},
}
SHOWN = "0.5 %"
SHARE = 0.05
"""The adaptive searches whose compute is shown by difficulty."""

SEARCHERS = ("cem", "mppi", "hybrid")
WHERE = ("open_floor", "doorway", "dead_end")


def add_arguments(parser) -> None:
    from objective_agent.cli import arguments

    parser.add_argument("--tasks", nargs="+", default=["two_room_random", "maze"], metavar="TASK", help="benchmark tasks")
    parser.add_argument("--models", default="models", metavar="DIR", help="folder of models, one per task (default models)")
    parser.add_argument("--episodes", type=arguments.count, default=20, metavar="N", help="paired episodes (default 20)")
    parser.add_argument("--seed", type=arguments.seed, default=1, metavar="S", help="draws the episodes (default 1)")
    parser.add_argument("--seeds", type=arguments.count, default=10, metavar="S", help="solves of each decision (default 10)")
    parser.add_argument("--candidates", nargs="+", type=int, metavar="N", help="searches with these many candidates only")
    parser.add_argument("--jobs", type=arguments.count, default=1, metavar="J", help="processes for the episodes (default 1)")
    parser.add_argument(
        "--from", dest="earlier", nargs="+", type=Path, default=[], metavar="JSON", help="show these, run nothing"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put tables into this page, between its marks; and a figure")
    parser.add_argument(
        "--figure", type=Path, metavar="PNG", help="draw the figure here (--write: images/adaptive.png beside it)"
    )


def main(args) -> dict:
    from benchmarks.pages import Page, machine

    page = None if args.write is None else Page(args.write, "adaptive")
    figure = args.figure or (None if page is None else args.write.parent / "images" / "adaptive.png")
    if args.earlier:
        found = together(args.earlier)
    else:
        chosen = searches_of(args.candidates)
        found = {"seed": args.seed, "hardware": machine(threads=1), "decisions": decisions(args.seeds)}
        found["tasks"] = {task: episodes(task, args, chosen) for task in args.tasks}
    if figure is not None:
        draw(found, figure)
    if page is not None:
        page.put(tables(found), found)
    return found


def together(paths: list[Path]) -> dict:
    from benchmarks.pages import machines, read_result
    from objective_agent.types import InputError

    found, results = {"tasks": {}}, {path: read_result(path) for path in paths}
    for path, known in results.items():
        if "decisions" not in known or "tasks" not in known:
            raise InputError(f"{path}: is no result of bench adaptive; give one with --from")
        found = known | {"tasks": found["tasks"] | known["tasks"]}
    return found | {"hardware": machines(*results.values())}


def searches_of(candidates: list[int] | None) -> dict:
    """Name -> what the search changes; those with one of these numbers of candidates."""
    from objective_agent.types import InputError

    found = {f"{n} x {i}": {"samples": n, "iterations": i, **NEVER} for n, i in FIXED}
    for n, share, whole, patience in ADAPTIVE:
        name = f"{n}, {100 * share:g} % of {whole}" + (f", patience {patience}" if patience > 1 else "")
        found[name] = {"samples": n, "iterations": MOST, "tolerance": share, "tolerance_of": whole, "patience": patience}
    if candidates:
        found = {name: search for name, search in found.items() if search["samples"] in candidates}
        if not found:
            raise InputError(f"--candidates: no search has {candidates}; there are 4, 8, 16, 32, 64, 128 and 256")
    return found


def episodes(task: str, args, chosen: dict) -> dict:
    from benchmarks import searches
    from benchmarks.budget import changed

    rows = tuple((name, changed(4, **search)) for name, search in chosen.items())
    protocol = searches.Searches(task, args.seed, str(Path(args.models) / task), rows)
    records, model = searches.run(protocol, args.episodes, args.jobs)
    found = []
    for name, search in chosen.items():
        row = searches.row_of(records, name) | {"adaptive": search["iterations"] == MOST, "samples": search["samples"]}
        own = [record["rows"][name] for record in records]
        row["by_difficulty"] = {hard: searches.spent(own, hard) for hard in searches.DIFFICULTIES}
        found.append(row)
    return {"model": model, "episodes": len(records), "rows": found}


def decisions(seeds: int) -> list[dict]:
    """The robot's single decisions, without the library of arcs that would solve the easy ones at once: what an optimizer
    spends until it has converged, and what its plan costs, as a share of the best plan of any of them."""
    import statistics
    import time

    import torch

    from benchmarks import optimizer_tasks
    from benchmarks.optimizers import make

    threads, rows = torch.get_num_threads(), []
    torch.set_num_threads(1)
    adaptive = {name: {"iterations": 60, "tolerance_of": "gain", "rescue": 0, **until} for name, until in UNTIL.items()}
    fixed = {f"{i} iterations": {"iterations": i, **NEVER} for i in (2, 5, 10, 20, 40)}
    for where in WHERE:
        problem, here = optimizer_tasks.decision(where).problem, []
        for name in SEARCHERS:
            for label, search in {**fixed, **adaptive}.items():
                plans, times = [], []
                for seed in range(seeds):
                    optimizer = make(name, use_library=False, **search)
                    optimizer.reset(seed)
                    begun = time.process_time()
                    plans.append(optimizer.solve(problem, float("inf")))
                    times.append(1e3 * (time.process_time() - begun))
                here.append(
                    {
                        "where": where,
                        "optimizer": name,
                        "budget": label,
                        "iterations": statistics.mean(plan.iterations for plan in plans),
                        "evaluations": statistics.mean(plan.evaluations for plan in plans),
                        "cpu_ms": round(statistics.median(times), 2),
                        "converged": statistics.mean(plan.stop_reason == "converged" for plan in plans),
                        "energies": [float(plan.energy[0]) for plan in plans],
                    }
                )
        least = min(min(row["energies"]) for row in here)
        for row in here:
            row["energy"] = round(statistics.mean(row.pop("energies")) / least, 4)
        rows += here
    torch.set_num_threads(threads)
    return rows


def tables(found: dict) -> str:
    lines = ["| decision | optimizer | iterations | candidates imagined | ms | energy | 2 iterations | 40 iterations |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for where in WHERE:
        for name in SEARCHERS:
            own = {row["budget"]: row for row in found["decisions"] if (row["where"], row["optimizer"]) == (where, name)}
            row, few, many = own[SHOWN], own["2 iterations"], own["40 iterations"]
            cells = (where, f"`{name}`", f"{row['iterations']:.1f}", f"{row['evaluations']:.0f}", f"{row['cpu_ms']:.0f}")
            ends = (f"{each['energy']:.3f}, {each['cpu_ms']:.0f} ms" for each in (few, many))
            lines.append("| " + " | ".join((*cells, f"{row['energy']:.3f}", *ends)) + " |")
    for task, result in found["tasks"].items():
        lines += ["", f"`{task}`, {result['episodes']} episodes:", ""]
        lines.append("| search | success | steps | candidates per decision | ms per decision | open | wall | detour |")
        lines.append("|---|---|---|---|---|---|---|---|")
        for row in result["rows"]:
            low, high = row["interval"]
            hard = (row["by_difficulty"][each]["evaluations"] for each in ("open", "wall", "detour"))
            lines.append(
                f"| {row['search']} | {100 * row['success']:.0f} % [{100 * low:.0f}, {100 * high:.0f}] | {row['steps']:.1f} | "
                f"{row['evaluations']:.0f} | {row['cpu_ms']:.1f} | "
                + " | ".join("-" if value is None else f"{value:.0f}" for value in hard)
                + " |"
            )
    return "\n".join(lines)


def draw(found: dict, path: Path) -> None:
    """Above: compute by difficulty; below: energy, or success and steps, against compute.  First the robot, then the tasks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    tasks = list(found["tasks"])
    figure, axes = pyplot.subplots(3, 1 + len(tasks), figsize=(4.6 * (1 + len(tasks)), 10.4), squeeze=False)
    _decisions(axes[:, 0], found["decisions"])
    for place, task in enumerate(tasks, 1):
        _task(axes[:, place], task, found["tasks"][task])
    for axis in axes[1:].flat:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _decisions(axes, rows: list[dict]) -> None:
    above = axes[0]
    for place, name in enumerate(SEARCHERS):
        own = [row for row in rows if row["optimizer"] == name and row["budget"] == SHOWN]
        spots = [where + 0.26 * (place - 1) for where in range(len(own))]
        above.bar(spots, [row["evaluations"] for row in own], 0.24, label=name)
    above.set_xticks(range(len(WHERE)), [where.replace("_", " ") for where in WHERE])
    above.set_ylabel("candidates imagined")
    above.set_title(f"the robot, adaptive ({SHOWN} of gain): compute by decision", fontsize=10)
    above.legend(fontsize=8)
    for axis, name in zip(axes[1:], (SEARCHERS[0], SEARCHERS[-1]), strict=True):
        for where, colour in zip(WHERE, ("tab:green", "tab:blue", "tab:red"), strict=True):
            own = [row for row in rows if (row["where"], row["optimizer"]) == (where, name)]
            fixed, free = ([row for row in own if (row["budget"] in UNTIL) == adaptive] for adaptive in (False, True))
            _line(axis, fixed, "energy", "o-", ms=4, color=colour, label=where.replace("_", " "))
            _line(axis, free, "energy", "*", ms=13, color=colour)
        axis.set_xlabel("candidates imagined")
        axis.set_ylabel("energy, share of the best known plan's")
        axis.set_title(f"{name}; lines: fixed, stars: adaptive", fontsize=10)
        axis.legend(fontsize=8)


def _task(axes, task: str, result: dict) -> None:
    rows, above = result["rows"], axes[0]
    hard = ("open", "wall", "detour")
    shown = [row for row in rows if row["search"] in (f"{n}, {100 * SHARE:g} % of gain" for n in (8, 16, 32, 64))]
    for place, row in enumerate(shown):
        spots = [x + 0.8 / len(shown) * (place - (len(shown) - 1) / 2) for x in range(3)]
        heights = [row["by_difficulty"][each]["iterations"] or 0 for each in hard]
        above.bar(spots, heights, 0.75 / len(shown), label=row["search"])
    above.set_xticks(range(3), hard)
    above.set_ylabel("iterations")
    above.set_title(f"{task}, adaptive: iterations by decision", fontsize=10)
    above.legend(fontsize=7, loc="lower left")
    for axis, key, label in ((axes[1], "success", "success, share"), (axes[2], "steps", "steps of an episode")):
        for samples in sorted({row["samples"] for row in rows}):
            own = [row for row in rows if row["samples"] == samples and not row["adaptive"]]
            _line(axis, own, key, "o-", ms=3, lw=0.9, label=f"{samples} x 1, 2, 4, 8")
        _line(axis, [row for row in rows if row["adaptive"]], key, "k*", ms=9, label="adaptive")
        axis.set_xlabel("candidates imagined per decision")
        axis.set_ylabel(label)
        axis.set_title(f"{task}, {result['episodes']} episodes", fontsize=10)
        axis.legend(fontsize=7)


def _line(axis, rows: list[dict], key: str, style: str, **more) -> None:
    if rows:
        axis.plot([row["evaluations"] for row in rows], [row[key] for row in rows], style, **more)
