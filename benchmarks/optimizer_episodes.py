"""Whole episodes under every optimizer, for `bench optimizers`: the benchmarks of images with their models, and apartments."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks import searches

COMPARED = 3
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
    from objective_agent import plugins
    from objective_agent.config import PluginSpec
    from objective_agent.simulation.benchmarks.controller import ControllerSettings

    usual = ControllerSettings()
    known = plugins.resolve("optimizer", name).Config.model_fields
    task = ("noise", "correlation", "elites", "use_library")
    same = {key: value for key, value in usual.optimizer.settings.items() if key in known and key in task}
    return usual.model_copy(update={"optimizer": PluginSpec(plugin=name, **same)})


@dataclass(frozen=True)
class Apartments:
    """The same apartments under several optimizers, each with an evaluation protocol; travels to worker processes."""

    protocols: tuple[tuple[str, object], ...]

    def missing(self, record: dict | None) -> tuple[str, ...]:
        return tuple(name for name, _ in self.protocols if record is None or name not in record["rows"])

    def evaluator(self) -> Apartments:
        return self

    def run(self, index: int, known: dict | None = None) -> dict:
        rows = dict(known["rows"]) if known else {}
        for name, protocol in self.protocols:
            if name not in rows:
                record = protocol.evaluator().run(index)
                rows[name] = record["rows"]["agent"] | {"planning_ms": record["timing"]["agent"]["planning_ms"]}
        return {"index": index, "already_solved": record["already_solved"], "rows": rows, "models": {}}


def apartment(args) -> list[dict]:
    """`ms`: a whole decision, from what was seen to the command, by the clock."""
    from objective_agent.cli import evaluate
    from objective_agent.config import PluginSpec
    from objective_agent.simulation.evaluation import Protocol

    parameters, gate = evaluate.load(None, "learned.yaml" if args.model else "sim.yaml")
    if args.model:
        parameters = evaluate.with_model(parameters, args.model)

    def protocol(name: str) -> Protocol:
        actor = parameters.actor.model_copy(update={"optimizer": PluginSpec(plugin=name)})
        return Protocol("apartment", args.seed, parameters.model_copy(update={"actor": actor}), gate, (), None, ())

    protocols = Apartments(tuple((name, protocol(name)) for name in args.optimizers))
    records = evaluate.run_missing(protocols, evaluate.Partial(None, "", False), args.episodes, args.jobs)
    records = [record for record in records if not record["already_solved"]]
    return [_apartment(name, [record["rows"][name] for record in records], args.model) for name in args.optimizers]


def _apartment(name: str, rows: list[dict], model: str | None) -> dict:
    from objective_agent.results.statistics import wilson

    times = sorted(ms for row in rows for ms in row["planning_ms"])
    reached = [row["seconds"] for row in rows if row["success"]]
    return {
        "optimizer": name,
        "task": "apartment",
        "episodes": len(rows),
        "model": model or "unicycle",
        "ms": round(times[len(times) // 2], 2),
        "ms_p99": round(times[min(len(times) - 1, int(0.99 * len(times)))], 2),
        "success": round(len(reached) / max(1, len(rows)), 3),
        "interval": wilson(len(reached), len(rows)),
        "seconds_to_goal": round(statistics.mean(reached), 2) if reached else None,
        "contacts": sum(row["contacts"] for row in rows),
        "guardrail_violations": sum(row["guardrail_violations"] for row in rows),
    }
