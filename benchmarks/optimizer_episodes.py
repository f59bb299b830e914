"""Whole episodes under every optimizer, for `bench optimizers`: the benchmarks of images with their models, and apartments."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks import searches
from objective_agent import plugins
from objective_agent.config import PluginSpec, RobotParameters, Strict
from objective_agent.results.statistics import wilson
from objective_agent.simulation.evaluation import Protocol

COMPARED, COMPARED_APARTMENT = 3, 8
"""Every so many decisions of the first optimizer are taken again by all, for the energies of their plans."""

FIRST = "cem"


def images(task: str, args) -> list[dict]:
    """`energy`: of the plans for the same problems, as a share of the least that any optimizer's plan has."""
    names = sorted(args.optimizers, key=lambda name: name != FIRST)
    rows = tuple((name, settings(name)) for name in names)
    protocol = searches.Searches(task, args.seed, str(Path(args.models) / task), rows, COMPARED)
    records, model = searches.run(protocol, args.episodes, args.jobs)
    found = []
    for name in args.optimizers:
        row = searches.row_of(records, name)
        row["optimizer"] = row.pop("search")
        row["cpu_ms"] = row.pop("cpu_ms_p50")
        found.append({"task": task, "episodes": len(records), "model": model, **row})
    return found


def settings(name: str):
    """What `evaluate` takes, searched by optimizer `name`: its own samples and iterations, the task's noise."""
    from objective_agent.simulation.benchmarks.controller import ControllerSettings

    usual = ControllerSettings()
    known = plugins.resolve("optimizer", name).Config.model_fields
    task = ("noise", "correlation", "elites", "use_library")
    same = {key: value for key, value in usual.optimizer.settings.items() if key in known and key in task}
    return usual.model_copy(update={"optimizer": PluginSpec(plugin=name, **same)})


class Watched(searches.Noted):
    """An optimizer as a plugin that keeps the processor time of its decisions and, if asked to, their problems."""

    class Config(Strict):
        optimizer: str
        keep: bool = False

    last: ClassVar[Watched]
    """The newest one: what an evaluation made."""

    def __init__(self, config: Config, robot: RobotParameters):
        super().__init__(plugins.create("optimizer", PluginSpec(plugin=config.optimizer), robot), config.keep)
        Watched.last = self


@dataclass(frozen=True)
class Apartments:
    """The same apartments under several optimizers, each with an evaluation protocol; travels to worker processes."""

    protocols: tuple[tuple[str, Protocol], ...]

    def missing(self, record: dict | None) -> tuple[str, ...]:
        return tuple(name for name, _ in self.protocols if record is None or name not in record["rows"])

    def evaluator(self) -> Apartments:
        return self

    def run(self, index: int, known: dict | None = None) -> dict:
        rows, problems = dict(known["rows"]) if known else {}, []
        for name, protocol in self.protocols:
            if name not in rows:
                record = protocol.evaluator().run(index)
                rows[name] = record["rows"]["agent"]
                if not record["already_solved"]:
                    rows[name]["cpu_ms"] = [decision["cpu_ms"] for decision in Watched.last.decisions]
                    problems += Watched.last.problems
        found = {"index": index, "already_solved": record["already_solved"], "rows": rows, "models": {}}
        if problems:
            robot = self.protocols[0][1].parameters.robot
            made = {name: plugins.create("optimizer", PluginSpec(plugin=name), robot) for name, _ in self.protocols}
            found["energies"] = searches.compare(made, problems[::COMPARED_APARTMENT], index)
        return found


def apartment(args) -> list[dict]:
    """`cpu_ms`: of a search; `energy` as in `images`."""
    from objective_agent.cli import evaluate

    parameters, gate = evaluate.load(None, "learned.yaml" if args.model else "sim.yaml")
    if args.model:
        parameters = evaluate.with_model(parameters, args.model)

    def protocol(name: str) -> Protocol:
        spec = PluginSpec(plugin=f"{Watched.__module__}:Watched", optimizer=name, keep=name == names[0])
        actor = parameters.actor.model_copy(update={"optimizer": spec})
        return Protocol("apartment", args.seed, parameters.model_copy(update={"actor": actor}), gate, (), None, ())

    names = sorted(args.optimizers, key=lambda name: name != FIRST)
    protocols = Apartments(tuple((name, protocol(name)) for name in names))
    records = evaluate.run_missing(protocols, evaluate.Partial(None, "", False), args.episodes, args.jobs)
    records = [record for record in records if not record["already_solved"]]
    return [_apartment(name, records, args.model) for name in args.optimizers]


def _apartment(name: str, records: list[dict], model: str | None) -> dict:
    rows = [record["rows"][name] for record in records]
    times = sorted(ms for row in rows for ms in row["cpu_ms"])
    reached = [row["seconds"] for row in rows if row["success"]]
    return {
        "optimizer": name,
        "task": "apartment",
        "episodes": len(rows),
        "model": model or "unicycle",
        "cpu_ms": times[len(times) // 2],
        "cpu_ms_p99": times[min(len(times) - 1, int(0.99 * len(times)))],
        "energy": searches.share_of_least(records, name),
        "success": round(len(reached) / max(1, len(rows)), 3),
        "interval": wilson(len(reached), len(rows)),
        "seconds_to_goal": round(statistics.mean(reached), 2) if reached else None,
        "contacts": sum(row["contacts"] for row in rows),
        "guardrail_violations": sum(row["guardrail_violations"] for row in rows),
    }
