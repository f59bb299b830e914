"""`objective-agent evaluate`: a task's published protocol, with baselines, intervals and a file per run that survives a kill.

The protocol stands in docs/evaluation.md.  One line per finished episode goes to OUT.partial.jsonl at once, so killing a run
loses the episode that was running and no other; `--resume` goes on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from objective_agent.cli import arguments
from objective_agent.types import MODES, InputError

logger = logging.getLogger(__name__)
HELP = "success rate, collisions and planning times on a task's published protocol"
EXAMPLE = "objective-agent evaluate --task apartment --episodes 100 --seed 1 --jobs 2 --json result.json"
BASELINE_NAMES = ("zero", "random", "straight_line", "map_pursuit")
ROW_NAMES = ("agent_without_gate", "analytic", "shuffled", "no_route", "mean_futures", "no_history")
PICTURES, IMAGE_ROWS = "apartment_goal_image", ("l2", "value", "shuffled_goal", "shuffled", "agent_without_gate")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    tasks = "apartment (default), apartment_camera, apartment_people, apartment_slip: test apartments under a condition; "
    tasks += "apartment_goal_image: the goal is a picture; two_room, maze, push_t, gym:ID ...: benchmarks of images"
    parser.add_argument("--task", default="apartment", help=tasks)
    parser.add_argument("--world", metavar="FILE", help="evaluate on the start and goal sites of this world instead")
    params = "ROS parameter file (default: the shipped config/sim.yaml); benchmarks: YAML of the planner's settings"
    parser.add_argument("--params", metavar="FILE", help=params)
    parser.add_argument("--episodes", type=arguments.count, default=100, metavar="N", help="how many (default: 100)")
    parser.add_argument("--seed", type=arguments.seed, default=1, metavar="S", help="draws episodes and noise (default: 1)")
    parser.add_argument("--optimizer", metavar="NAME", help="mppi, cem or another optimizer plugin (default: the file's)")
    parser.add_argument(
        "--baselines", default="all", metavar="LIST", help=f"all, none, or some of {','.join(BASELINE_NAMES)} (default: all)"
    )
    parser.add_argument(
        "--model", metavar="DIR", help="drive with this learned model (parameters: config/learned.yaml unless --params)"
    )
    parser.add_argument(
        "--rows",
        default="agent_without_gate",
        metavar="LIST",
        help=f"the agent less one thing: all, none, or some of {','.join(ROW_NAMES)} (default: agent_without_gate); "
        f"with habits: {','.join(MODES)}; "
        f"where the goal is a picture, of {','.join(IMAGE_ROWS)}; benchmarks: all, or of no_stuck,l2,shuffled, and of "
        "propose,adaptive,policy for a model with a policy",
    )
    promises = "follow every 20th plan in a copy of the simulation: what became of what it promised (a tenth slower)"
    parser.add_argument("--promises", action="store_true", help=promises)
    part = "run only these controllers now (agent, rows, baselines); a later --resume without it runs the others"
    parser.add_argument("--part", metavar="LIST", help=part)
    parser.add_argument(
        "--jobs", type=arguments.count, default=1, metavar="N", help="processes; the result does not depend on N"
    )
    parser.add_argument("--device", metavar="D", help="benchmarks: torch device, cpu or cuda (default: the file's, or cpu)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run of the same protocol")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the result here")


def main(args: argparse.Namespace) -> int:
    from objective_agent.cli import evaluate_benchmark

    if evaluate_benchmark.is_benchmark(args.task):
        return evaluate_benchmark.main(args)
    if args.device:
        raise InputError("--device: is for benchmarks; a robot's devices stand in its parameter file (actor.device)")
    if args.resume and args.json is None:
        raise InputError("--resume needs --json OUT: that run's OUT.partial.jsonl is what is gone on with")
    from objective_agent.simulation.ablations import AGENT, habits_of

    protocol, model = make_protocol(args)
    if protocol.part and args.json is None:
        raise InputError("--part needs --json OUT: OUT.partial.jsonl is what a later --resume ends")
    partial = Partial(args.json, protocol.digest(), args.resume, model, habits_of((AGENT, *protocol.rows), protocol.parameters))
    records = run_missing(protocol, partial, args.episodes, args.jobs)
    if protocol.part:
        logger.info("%s: ran %s; --resume without --part runs the rest", partial.path, ", ".join(protocol.part))
        return 0
    from objective_agent.simulation.evaluation import summarize

    result = summarize(protocol, records, model, hardware()) | {"command": command(args)}
    if args.json is not None:
        arguments.write_json(args.json, result)
        partial.remove()
    show(result)
    return 0


def run_missing(protocol, partial: Partial, episodes: int, jobs: int) -> list[dict]:
    """The records of all episodes: those on the disk, and those that are missing, which are run and put there."""
    known = {index: partial.records.get(index) for index in range(episodes)}
    missing = [(index, record) for index, record in known.items() if protocol.missing(record)]
    with partial, progress_bar(episodes, episodes - len(missing)) as report:
        for record in run_all(protocol, missing, jobs):
            partial.append(record)
            report(record)
    return [partial.records[index] for index in range(episodes)]


def command(args: argparse.Namespace) -> str:
    """The command that gives this result again, without what changes nothing in it."""
    what = "world" if args.world else "task"
    names = (what, "params", "model", "optimizer", "episodes", "seed", "rows", "baselines")
    return arguments.again("evaluate", args, names) + (" --promises" if args.promises else "")


def make_protocol(args: argparse.Namespace):
    """(Protocol, model name) of the arguments.  Raises InputError or ConfigurationError before anything runs."""
    from objective_agent import plugins
    from objective_agent.agent import Agent
    from objective_agent.config import PluginSpec, Task
    from objective_agent.learning.promises import EVERY
    from objective_agent.simulation.evaluation import Protocol
    from objective_agent.simulation.tasks import make_task
    from objective_agent.simulation.world import World

    pictures = args.task == PICTURES and not args.world
    parameters, gate = load(args.params, "goal_image.yaml" if pictures else "learned.yaml" if args.model else "sim.yaml")
    if args.model:
        parameters = with_model(parameters, args.model)
    if args.optimizer and args.optimizer != parameters.actor.optimizer.plugin:
        plugins.resolve("optimizer", args.optimizer)
        actor = parameters.actor.model_copy(update={"optimizer": PluginSpec(plugin=args.optimizer)})
        parameters = parameters.model_copy(update={"actor": actor})
    world = World.load(args.world, parameters.robot) if args.world else None
    task = "world" if world is not None else args.task
    make_task(task, args.seed, parameters.robot, world)
    agent = Agent(parameters)
    agent.planner.prepare(agent.configurator.configure(Task(), {}))
    known = IMAGE_ROWS if pictures else ROW_NAMES
    more = () if pictures or args.rows == "all" else MODES
    baselines, rows = names("--baselines", args.baselines, BASELINE_NAMES), names("--rows", args.rows, (*known, *more))
    every = EVERY if args.promises else 0
    protocol = Protocol(task, args.seed, parameters, gate, baselines, world, rows, every)
    if args.part:
        protocol = replace(protocol, part=names("--part", args.part, protocol.controllers))
    return protocol, agent.planner.world_model.model


def with_model(parameters, folder: str):
    """`parameters` with the learned encoder and world model of `folder`, and a memory that knows them."""
    from objective_agent.config import PluginSpec

    def learned(spec: PluginSpec) -> PluginSpec:
        settings = spec.settings if spec.plugin == "jepa" else {}
        return PluginSpec(**{**settings, "plugin": "jepa", "model": folder})

    perception = parameters.perception.model_copy(update={"encoder": learned(parameters.perception.encoder)})
    world_model = parameters.world_model.model_copy(update={"world_model": learned(parameters.world_model.world_model)})
    actor = parameters.actor
    if actor.policy.plugin == "distilled":
        actor = actor.model_copy(update={"policy": PluginSpec(**{**actor.policy.model_dump(), "model": folder})})
    terms = parameters.cost.terms.items()
    terms = {name: t.model_copy(update={"model": folder}) if "model" in t.settings else t for name, t in terms}
    cost = parameters.cost.model_copy(update={"terms": terms})
    memory, short_term = parameters.memory, parameters.memory.short_term
    if "model" in short_term.settings:
        memory = memory.model_copy(update={"short_term": short_term.model_copy(update={"model": folder})})
    modules = {"perception": perception, "world_model": world_model, "cost": cost, "memory": memory, "actor": actor}
    return parameters.model_copy(update=modules)


def load(path: str | None, default: str = "sim.yaml"):
    """(AgentParameters, GateParameters) of a parameter file; without one, of the shipped `default`."""
    from objective_agent import resources
    from objective_agent.config import AgentParameters, load_node_parameters, load_parameters, validate
    from objective_agent.safety import GateParameters, default_parameters

    if path is None:
        try:
            path = str(resources.resource("config", default))
        except InputError:
            parameters = AgentParameters()
            return parameters, default_parameters(parameters.robot)
    parameters = load_parameters(path)
    section = load_node_parameters(path).get("safety_gate")
    if section is None:
        return parameters, default_parameters(parameters.robot)
    known = {name: value for name, value in section.items() if name in GateParameters.model_fields}
    return parameters, validate(GateParameters, known, f"{path}: safety_gate")


def run_all(protocol, episodes: list[tuple[int, dict | None]], jobs: int) -> Iterator[dict]:
    """The records of `episodes` (index, what is known of it already), in the order in which they are finished."""
    if not episodes:
        return
    if jobs == 1:
        yield from itertools.starmap(protocol.evaluator().run, episodes)
        return
    from objective_agent.learning.workers import in_processes

    jobs = min(jobs, len(episodes))
    yield from in_processes(_run_in_worker, episodes, jobs, "go on with --resume", _prepare_worker, (protocol,))


_evaluator = None


def _prepare_worker(protocol) -> None:
    global _evaluator
    _evaluator = protocol.evaluator()


def _run_in_worker(index: int, known: dict | None) -> dict:
    return _evaluator.run(index, known)


class Partial:
    """OUT.partial.jsonl: a header with the protocol's digest, then one record per line, on the disk before the next episode."""

    def __init__(self, out: Path | None, digest: str, resume: bool, model: str = "", habits: Mapping[str, str] | None = None):
        """`model`, `habits`: what makes the rows now, by row where it has habits; InputError for rows made with others."""
        self.path = None if out is None else out.with_name(f"{out.name}.partial.jsonl")
        self.records: dict[int, dict] = {}
        self._file = None
        if self.path is None:
            return
        header = {"protocol": digest}
        found = self._read() if self.path.exists() else []
        if found and not resume:
            raise InputError(f"{self.path}: an unfinished run; go on with --resume, or remove the file")
        if found and found[0] != header:
            raise InputError(f"{self.path}: was made with other parameters or arguments; remove the file, or restore them")
        self.records = {record["index"]: record for record in found[1:]}
        made = [record.get("models", {}).items() for record in found[1:]]
        others = {sha for models in made for row, sha in models if row != "analytic"} - {model}
        if others:
            raise InputError(f"{self.path}: made with another model ({min(others)[:12]}...); remove the file, or restore that")
        for row, now in (habits or {}).items():
            if any(row in record["rows"] and record.get("habits", {}).get(row) != now for record in found[1:]):
                raise InputError(
                    f"{self.path}: {row} was made with another policy or settings of it; remove the file, or restore them"
                )
        # Written anew, so that a line cut off by a kill can't spoil the next one.
        arguments.write(self.path, "\n".join(json.dumps(line) for line in [header, *self.records.values()]))

    def _read(self) -> list[dict]:
        lines = []
        try:
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    lines.append(json.loads(line))
        except OSError as error:
            raise InputError(f"{self.path}: can't be read: {error.strerror}") from None
        return [line for line in lines if isinstance(line, dict) and ("protocol" in line or "rows" in line)]

    def __enter__(self) -> Partial:
        if self.path is not None:
            self._file = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *_) -> None:
        if self._file is not None:
            self._file.close()

    def append(self, record: dict) -> None:
        self.records[record["index"]] = record
        if self._file is not None:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def remove(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def progress_bar(total: int, done: int) -> Iterator[Callable[[dict], None]]:
    """A progress bar on stderr with rate and time left; yields what to call with every finished record."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = ("episodes", BarColumn(), MofNCompleteColumn(), "{task.fields[rate]}", TimeElapsedColumn(), "left",
               TimeRemainingColumn(elapsed_when_finished=True), "{task.fields[note]}")  # fmt: skip
    columns = [TextColumn(column) if isinstance(column, str) else column for column in columns]
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as progress:
        bar = progress.add_task("", total=total, completed=done, rate="", note="")
        reached = shown = 0
        contacts: int | None = None

        def report(record: dict) -> None:
            nonlocal reached, contacts, shown
            row = record["rows"].get("agent") or next(iter(record["rows"].values()))
            reached, shown = reached + row["success"], shown + 1
            contacts = (contacts or 0) + row["contacts"] if "contacts" in row else None
            progress.advance(bar)
            speed = progress.tasks[0].speed
            note = f"{reached}/{shown} reached" + ("" if contacts is None else f", {contacts} contacts")
            progress.update(bar, rate=f"{60 * speed:.1f}/min" if speed else "", note=note)

        yield report


def show(result: dict) -> None:
    """The result as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{result['task']}: {result['episodes']} episodes, seed {result['seed']}, model {result['model']}")
    for column in ("controller", "success", "95 % interval", "collisions", "to goal", "agent - it (p)"):
        table.add_column(column, justify="left" if column == "controller" else "right")

    def add(name: str, row: dict, against: dict | None) -> None:
        low, high = row["interval"]
        seconds = f"{row['seconds_to_goal']:.1f} s" if row.get("seconds_to_goal") is not None else "-"
        versus = f"{against['difference']:+.1%} ({against['p']:.2g})" if against else ""
        table.add_row(name, f"{row['success_rate']:.1%}", f"{low:.1%} - {high:.1%}", str(row["collisions"]), seconds, versus)

    reached = [episode["rows"]["agent"]["seconds"] for episode in result["per_episode"] if episode["rows"]["agent"]["success"]]
    add("agent", result | {"seconds_to_goal": sum(reached) / len(reached) if reached else None}, None)
    for name, row in result["baselines"].items():
        add(name, row, row["paired"])
    for name, row in result["rows"].items():
        add(name, row, row["paired"])
    console = Console()
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no width to fit into
    console.print(table)
    for name, kept in result.get("promises", {}).items():
        low, high = kept["interval"] or (0.0, 1.0)
        steps = ", ".join(f"{at}: {share:.1%}" for at, share in kept["by_step"].items() if share is not None)
        console.print(
            f"promises of selected plans, {name}: {kept['kept'] or 0:.1%} of {kept['steps']} near steps kept "
            f"({low:.1%} - {high:.1%}), by step {steps}; "
            f"95 % or more in {kept['episodes_kept'] or 0:.1%} of {kept['episodes']} episodes"
        )
    for name in MODES:
        row = result["rows"].get(name, {})
        if "planning_share" in row:
            acted = ", ".join(f"{mode} {share:.1%}" for mode, share in row["modes"].items())
            console.print(f"{name}: {row['planning_share']:.1%} of the agent's planning time per episode; decided by {acted}")
    planning = result["planning_ms"]
    console.print(
        f"without the gate: {result['collisions_without_gate']} collisions; "
        f"gate held {result['gate_held_share']:.1%} of the time; guardrail violations {result['guardrail_violations']}; "
        f"planning p50 {planning['p50']} ms, p99 {planning['p99']} ms, deadline misses {result['deadline_misses']}; "
        f"already solved (left out) {result['already_solved']}"
    )


def hardware() -> dict:
    """What the timings were taken on."""
    import torch

    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": name,
        "cores": usable,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": sys.platform,
    }


def names(option: str, text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    if text in ("all", "none"):
        return known if text == "all" else ()
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise InputError(f"{option} {text}: unknown {', '.join(unknown) or 'list'}; give all, none, or {','.join(known)}")
    return names
