"""Planning time per episode beside CEM at the budget that the peers publish, at what success.

    peers     CEM, 300 samples x 30 iterations, horizon 5, 30 elites, white noise of width 1, no early stop: what
              stable-worldmodel, and with it LeWM, PLDM and DINO-WM, plan their benchmarks with
    N x H x I our CEM: N samples, H steps ahead, I iterations; 64x4x2 is what `evaluate` takes

Both get the same model, cost, rule for who is stuck and the same held-out episodes, and plan in every step.  Counted is the
search, without the encoder: processor time of one thread (`cpu_ms`), so that other jobs on the machine count little, and wall
time (`ms`) beside it.  `cheapest` is the search of ours with the least mean time whose success is no lower than the peers'.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

HELP = "planning time per episode, and success, beside CEM at the peers' published budget"
EXAMPLE = "objective-agent bench budget --tasks maze two_room_random --episodes 100 --jobs 8 --json budget.json"
PEERS, THEIRS = "peers", "stable-worldmodel"
NAMES = {PEERS: "CEM 300 x 30, H 5, ours", THEIRS: "CEM 300 x 30, H 5, stable-worldmodel's"}
PUBLISHED = {
    "samples": 300,
    "iterations": 30,
    "elites": 0.1,
    "noise": 1.0,
    "noise_kind": "white",
    "patience": 1000,
    "tolerance": 0.0,
    "rescue": 0,
    "modes": 0,
    "use_library": False,
}
AHEAD = 5
SIZES = ("64x4x2", "64x4x1", "32x4x2", "32x4x1", "16x4x2", "16x4x1", "8x4x1")


def add_arguments(parser) -> None:
    from objective_agent.cli import arguments

    parser.add_argument("--tasks", nargs="+", default=["maze", "two_room_random"], metavar="TASK", help="benchmark tasks")
    parser.add_argument("--models", default="models", metavar="DIR", help="folder of models, one per task (default models)")
    parser.add_argument("--episodes", type=arguments.count, default=6, metavar="N", help="paired episodes (default 6)")
    parser.add_argument("--seed", type=arguments.seed, default=1, metavar="S", help="draws the episodes (default 1)")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), metavar="NxHxI", help="searches of ours")
    environment = "stable-worldmodel's own solver as well, out of this virtual environment (bench planning makes one)"
    parser.add_argument("--environment", type=Path, metavar="DIR", help=environment)
    parser.add_argument("--jobs", type=arguments.count, default=1, metavar="J", help="processes (default 1)")
    parser.add_argument(
        "--from", dest="earlier", nargs="+", type=Path, default=[], metavar="JSON", help="show these, run nothing"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into this page, between its marks")


def main(args) -> dict:
    from benchmarks.pages import Page, machine, machines, read_result
    from objective_agent.types import InputError

    page = None if args.write is None else Page(args.write, "budget")
    if args.earlier:
        results = {path: read_result(path) for path in args.earlier}
        found = {"tasks": {}, "hardware": machines(*results.values())}
        for path, known in results.items():
            if "tasks" not in known:
                raise InputError(f"{path}: is no result of bench budget; give one with --from")
            found["tasks"] |= known["tasks"]
    else:
        sizes = {size: settings(size) for size in args.sizes}
        found = {"tasks": {task: measure(task, args, sizes) for task in args.tasks}, "hardware": machine(threads=1)}
    if page is not None:
        page.put(table(found), found)
    return found


def settings(size: str):
    """ControllerSettings of a search "NxHxI" of ours; InputError for anything else."""
    from objective_agent.types import InputError

    parts = re.fullmatch(r"(\d{1,4})x(\d{1,2})x(\d{1,3})", size)
    if parts is None or min(int(part) for part in parts.groups()) < 1 or int(parts[1]) < 4:
        raise InputError(f"--sizes {size}: give NxHxI, as in 32x4x1: samples (4 or more), steps ahead, iterations")
    samples, horizon, iterations = (int(part) for part in parts.groups())
    return changed(horizon, samples=samples, iterations=iterations)


def changed(horizon: int, **search):
    """The settings that `evaluate` takes, but for these."""
    from objective_agent.config import PluginSpec
    from objective_agent.simulation.benchmarks.controller import ControllerSettings

    usual = ControllerSettings()
    own = usual.optimizer
    optimizer = PluginSpec(**{"plugin": own.plugin, **own.settings, **search})
    return usual.model_copy(update={"horizon": horizon, "optimizer": optimizer})


def theirs(environment: Path):
    """The settings under which stable-worldmodel's own solver searches."""
    from benchmarks.planning import environment as made
    from objective_agent.config import PluginSpec

    made(environment.expanduser())
    spec = PluginSpec(plugin="benchmarks.budget_peer:StableWorldModelCEM", environment=str(environment))
    return changed(AHEAD).model_copy(update={"optimizer": spec})


def measure(task: str, args, sizes: dict) -> dict:
    from benchmarks import searches

    rows = ((PEERS, changed(AHEAD, **PUBLISHED)), *sizes.items())
    if args.environment is not None:
        rows = (*rows, (THEIRS, theirs(args.environment)))
    protocol = searches.Searches(task, args.seed, str(Path(args.models) / task), rows)
    records, model = searches.run(protocol, args.episodes, args.jobs)
    found = [searches.row_of(records, name, PEERS) for name, _ in rows]
    asked = found[0]["success"]
    enough = [row for row in found if row["search"] in sizes and row["success"] >= asked]
    cheapest = min(enough, key=lambda row: row["episode_cpu_ms"]["mean"], default=None)
    return {
        "model": model,
        "seed": args.seed,
        "episodes": len(records),
        "rows": found,
        "cheapest": None if cheapest is None else cheapest["search"],
    }


def table(found: dict) -> str:
    lines = []
    for task, result in found["tasks"].items():
        lines += [f"`{task}`, {result['episodes']} episodes, seed {result['seed']}:", ""]
        lines.append("| search | success | search per decision, ms | per episode, ms: median, mean | less than the peers' |")
        lines.append("|---|---|---|---|---|")
        for row in result["rows"]:
            low, high = row["interval"]
            name = NAMES.get(row["search"], row["search"].replace("x", " x "))
            mark = "**" if row["search"] == result["cheapest"] else ""
            times, less = row["episode_cpu_ms"], row.get("less_cpu_ms")
            lines.append(
                f"| {mark}{name}{mark} | {100 * row['success']:.1f} % [{100 * low:.1f}, {100 * high:.1f}] | "
                f"{row['cpu_ms_p50']:.1f} | {times['median']:.0f}, {times['mean']:.0f} | "
                + (f"{less['of_means']:.0f} x |" if less else "- |")
            )
        lines.append("")
    return "\n".join(lines)
