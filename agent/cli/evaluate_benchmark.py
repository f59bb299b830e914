"""`objective-agent evaluate --task two_room …`: the benchmark tasks' part of `evaluate` (docs/benchmarks.md).

Same promises as for the robot: held-out episodes that depend on (task, seed, index) alone, baselines on the same episodes,
Wilson intervals, a line per finished episode on the disk, `--resume` and `--jobs`.  The push test runs once, at the end.
"""

from __future__ import annotations

import argparse

from objective_agent.cli import arguments
from objective_agent.types import InputError

GYM = "gym:"
NOT_HERE = ("world", "promises", "part")
PUSHES = 200
DEFAULT_ROWS = "agent_without_gate"
"""What --rows says when nothing was asked for; here that means all rows."""


def is_benchmark(task: str) -> bool:
    """Whether `task` is a benchmark of images, not one of the robot's."""
    if task.startswith(GYM):
        return True
    try:
        from objective_agent.simulation.benchmarks import BENCHMARKS
    except ImportError:  # no gymnasium: then there are no benchmarks, and the robot's tasks must work all the same
        return False
    return task in BENCHMARKS


def main(args: argparse.Namespace) -> int:
    from objective_agent import devices
    from objective_agent.cli.evaluate import Partial, hardware, run_missing
    from objective_agent.simulation.benchmarks.evaluation import AGENT, summarize

    protocol = make_protocol(args)
    if args.resume and args.json is None:
        raise InputError("--resume needs --json OUT: that run's OUT.partial.jsonl is what is gone on with")
    evaluator = protocol.evaluator()
    model = evaluator.mind.world_model.model
    habits = evaluator.habits((AGENT, *protocol.rows))
    partial = Partial(args.json, protocol.digest(), args.resume, model, habits)
    records = run_missing(protocol, partial, args.episodes, args.jobs)
    from objective_agent.simulation.benchmarks.push import push_test

    push = push_test(evaluator.env, evaluator.mind, PUSHES, args.seed)
    on = {} if evaluator.mind.device.type == "cpu" else {"device": devices.title(evaluator.mind.device)}
    result = summarize(protocol, records, model, hardware() | on, push) | {
        "command": command(args),
        "training": training(args.model),
    }
    if args.json is not None:
        arguments.write_json(args.json, result)
        partial.remove()
    show(result)
    return 0


def make_protocol(args: argparse.Namespace):
    """The BenchmarkProtocol of the arguments.  Raises InputError or ConfigurationError before anything runs."""
    from objective_agent import devices, plugins
    from objective_agent.cli.evaluate import names
    from objective_agent.config import PluginSpec
    from objective_agent.simulation.benchmarks.evaluation import BASELINES, ROWS, BenchmarkProtocol
    from objective_agent.types import MODES

    arguments.refuse(args, NOT_HERE, f"is for the robot's tasks; {args.task} is a benchmark")
    if not args.model:
        raise InputError(f"--task {args.task} needs --model DIR: a model that train made of this task's data")
    settings = load_settings(args.params, args.task)
    if args.optimizer and args.optimizer != settings.optimizer.plugin:
        kept = plugins.resolve("optimizer", args.optimizer).Config.model_fields
        same = {name: value for name, value in settings.optimizer.settings.items() if name in kept}
        settings = settings.model_copy(update={"optimizer": PluginSpec(plugin=args.optimizer, **same)})
    settings = settings.model_copy(update={"device": str(devices.find(args.device or settings.device, "--device"))})
    rows = ROWS if args.rows in (DEFAULT_ROWS, "all") else names("--rows", args.rows, (*ROWS, *MODES))
    known = BASELINES if args.baselines == "all" else (*BASELINES, "map_pursuit")
    baselines = tuple(name for name in names("--baselines", args.baselines, known) if name in BASELINES)
    return BenchmarkProtocol(args.task, args.seed, args.model, settings, rows, baselines)


def training(model: str) -> dict:
    """What the model's card says of its training: seed, minutes, command."""
    from objective_agent import weights

    card = weights.read_card(weights.find_model(model))
    spent = card.get("training") or {}
    return {
        "seed": card.get("seed"),
        "minutes": spent.get("minutes"),
        "steps": spent.get("steps"),
        "command": card.get("command"),
    }


def load_settings(path: str | None, task: str):
    """The ControllerSettings of a YAML file; without one, what ships for the task (config/plan_TASK.yaml), or the defaults."""
    from objective_agent import resources
    from objective_agent.config import validate
    from objective_agent.simulation.benchmarks.controller import ControllerSettings

    shipped = f"plan_{task}.yaml"
    if path is None and shipped in resources.listing("config"):
        path = str(resources.resource("config", shipped))
    return (
        ControllerSettings() if path is None else validate(ControllerSettings, arguments.read_settings(path, "--params"), path)
    )


def command(args: argparse.Namespace) -> str:
    """The command that gives this result again, without what changes nothing in it."""
    usual = {"rows": DEFAULT_ROWS, "baselines": "all"}
    names = ("task", "params", "model", "optimizer", "episodes", "seed", "rows", "baselines", "device")
    told = (name for name in names if name not in usual or getattr(args, name) != usual[name])
    return arguments.again("evaluate", args, told) + " --json OUT"


def show(result: dict) -> None:
    """The result as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    from objective_agent.types import MODES

    table = Table(title=f"{result['task']}: {result['episodes']} episodes, seed {result['seed']}, model {result['model'][:12]}")
    head = ("controller", "success", "95 % interval", "detours", "steps / shortest", "p50 / p99", "stuck", "agent - it (p)")
    for column in head:
        table.add_column(column, justify="left" if column == "controller" else "right")
    for name, row in result["rows"].items():
        low, high = row["interval"]
        detours, planning, versus = row["detours"], row.get("planning_ms"), row.get("paired")
        table.add_row(
            name,
            _percent(row["success_rate"]),
            f"{low:.1%} - {high:.1%}",
            f"{_percent(detours['success_rate'])} of {detours['episodes']}",
            f"{row['steps_to_shortest']:.2f}" if row["steps_to_shortest"] else "-",
            f"{planning['p50']:.1f} / {planning['p99']:.1f} ms" if planning else "-",
            _percent(row.get("stuck_share")),
            f"{versus['difference']:+.1%} ({versus['p']:.2g})" if versus else "",
        )
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(table)
    push = result["push_test"]
    if push is not None:
        console.print(
            f"push test: imagined beyond the wall: {push['crossed']:.1%} of {push['pushes']} pushes that the wall stopped, "
            f"{push['passed']:.1%} of {push['openings']} through an opening; read-out R2 {push['probe_r2']:.3f}"
        )
    console.print(f"already solved (left out): {result['already_solved']}")
    for name, row in result["rows"].items():
        if name in MODES and "planning_share" in row:
            shares = ", ".join(f"{mode} {share:.1%}" for mode, share in row["modes"].items())
            console.print(
                f"{name}: {row['planning_share']:.1%} of the agent's planning time per episode "
                f"({row['per_episode_ms']['planning']:.1f} ms; encoder {row['per_episode_ms']['encoder']:.1f} ms); "
                f"decisions: {shares}"
            )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
