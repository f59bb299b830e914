"""Whole episodes of a benchmark task of images under several searches: all else is the same for all of them.

Same episodes, model, cost, rule for who is stuck, and a decision in every step; `evaluate`'s own episodes and controller run
them.  Of every decision is kept what it cost and how hard it was:

    open      the straight way to the goal is free, nothing stands within half a step
    wall      the straight way is free, but something stands that near
    detour    the straight way is blocked

The rows of one episode run one after the other in one process, in an order that turns with the episode, so that whatever else
the machine does falls on all of them alike.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from objective_agent.results.statistics import paired, wilson
from objective_agent.simulation import benchmarks
from objective_agent.simulation.benchmarks.controller import BenchmarkController, ControllerSettings
from objective_agent.simulation.benchmarks.evaluation import BenchmarkEvaluator, BenchmarkProtocol
from objective_agent.types import Plan, Problem

DIFFICULTIES = ("open", "wall", "detour")


@dataclass(frozen=True)
class Searches:
    """All that a run depends on; travels to worker processes.

    `compare`: every so many decisions of the first search, all searches solve that very problem, and are compared by the energy
    of their plans; 0: never.
    """

    task: str
    seed: int
    model: str
    searches: tuple[tuple[str, ControllerSettings], ...]
    compare: int = 0

    def missing(self, record: dict | None) -> tuple[str, ...]:
        return tuple(name for name, _ in self.searches if record is None or name not in record["rows"])

    def digest(self) -> str:
        about = {"searches": {name: settings.model_dump(mode="json") for name, settings in self.searches}}
        about |= {"task": self.task, "seed": self.seed, "compare": self.compare}
        about["protocol"] = benchmarks.make(self.task).protocol
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def evaluator(self) -> Episodes:
        return Episodes(self)


class Noted:
    """An optimizer that notes what each of its decisions cost, and keeps the problems if asked to."""

    def __init__(self, optimizer, keep: bool = False):
        self._optimizer, self._keep = optimizer, keep
        self.decisions: list[dict[str, Any]] = []
        self.problems: list[Problem] = []

    def reset(self, seed: int | None = None) -> None:
        self._optimizer.reset(seed)

    def solve(self, problem: Problem, deadline: float) -> Plan:
        begun, worked = time.perf_counter(), time.process_time()
        plan = self._optimizer.solve(problem, deadline)
        self.decisions.append(
            {
                "cpu_ms": round(1e3 * (time.process_time() - worked), 3),
                "ms": round(1e3 * (time.perf_counter() - begun), 3),
                "iterations": plan.iterations,
                "evaluations": plan.evaluations,
                "converged": plan.stop_reason == "converged",
            }
        )
        if self._keep:
            self.problems.append(problem)
        return plan


class Episodes:
    """Runs episodes one by one; made once in every process."""

    def __init__(self, protocol: Searches):
        self.protocol = protocol
        first = protocol.searches[0][1]
        self._base = BenchmarkEvaluator(BenchmarkProtocol(protocol.task, protocol.seed, protocol.model, first, (), ()))

    @property
    def model(self) -> str:
        return self._base.mind.world_model.model

    def run(self, index: int, known: dict | None = None) -> dict:
        """The record of episode `index`; JSON values only."""
        env, mind = self._base.env, self._base.mind
        _, info = env.reset(seed=self.protocol.seed, options={"split": "test", "index": index})
        rows, problems = dict(known["rows"]) if known else {}, []
        missing = self.protocol.missing(known)
        turned = [*missing[index % len(missing) :], *missing[: index % len(missing)]]
        settings = dict(self.protocol.searches)
        compared = self.protocol.searches[0][0] if self.protocol.compare else None
        for name in turned:
            controller = BenchmarkController(mind, settings[name])
            noted = controller.optimizer = Noted(controller.optimizer, keep=name == compared)
            controller.reset(info["goal_image"], seed=index)
            hard: list[str] = []

            def act(image, about, act=controller.act, hard=hard):
                hard.append(difficulty(env, about))
                return act(image)

            rows[name] = self._base.drive(index, act) | {
                "stuck": controller.notes.stuck,
                "whole_ms": [round(ms, 2) for ms in controller.notes.planning_ms],
                "difficulty": hard,
                **{key: [each[key] for each in noted.decisions] for key in (noted.decisions or [{}])[0]},
            }
            problems += noted.problems
        record = {
            "index": index,
            "detour": bool(info["detour"]),
            "already_solved": bool(info["success"]),
            "rows": rows,
            "models": dict.fromkeys(rows, self.model),
        }
        if problems:
            searches = {name: BenchmarkController(mind, settings).optimizer for name, settings in self.protocol.searches}
            record["energies"] = compare(searches, problems[:: self.protocol.compare], index)
        return record


def compare(optimizers: Mapping[str, Any], problems: Sequence[Problem], seed: int) -> dict[str, list[float]]:
    """Name -> the energies of its plans for the same problems; each starts without what it knows of earlier episodes."""
    found = {}
    for name, optimizer in optimizers.items():
        optimizer.reset(seed)
        found[name] = [float(optimizer.solve(problem, float("inf")).energy[0]) for problem in problems]
    return found


def share_of_least(records: Sequence[dict], name: str) -> float:
    """The energies of `name`'s plans, each as a share of the least that any has found for that problem: their mean."""
    shares = []
    for energies in (record["energies"] for record in records):
        least = np.maximum(np.min([*energies.values()], axis=0), 1e-6)
        shares += [*(np.asarray(energies[name]) / least)]
    return round(float(np.mean(shares)), 4)


def difficulty(env, info: dict[str, Any]) -> str | None:
    """How hard a decision is, by the truth, which no search sees; None for tasks whose layouts say nothing of it."""
    layout = getattr(env, "layout", None)
    layout = layout(info["layout"]) if callable(layout) else layout
    if layout is None or not hasattr(layout, "ways"):
        return None
    here, goal = np.asarray(info["state"], float)[:2], np.asarray(info["goal_state"], float)[:2]
    away = float(np.linalg.norm(goal - here))
    if float(layout.ways.length(here[None], goal[None])[0]) > away + 1e-9:
        return "detour"
    turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    around = here + REACH * np.stack([np.cos(turns), np.sin(turns)], -1)
    return "open" if bool(layout.free(around.clip(0, 1)).all()) else "wall"


REACH = 0.06
"""Half a step at full speed, share of the picture's width."""


def row_of(records: Sequence[dict], name: str, against: str | None = None) -> dict:
    """A search's figures over episodes that were not solved at their start; `against` another one, on the same episodes."""
    rows = [record["rows"][name] for record in records]
    successes = [row["success"] for row in rows]
    found = {
        "search": name,
        "success": sum(successes) / max(1, len(rows)),
        "interval": wilson(sum(successes), len(rows)),
        "steps": round(statistics.mean(row["steps"] for row in rows), 2),
        **spent(rows),
    }
    for key in ("cpu_ms", "ms", "whole_ms"):
        each = [sum(row.get(key, [])) for row in rows]
        found[f"episode_{key}"] = {"median": round(statistics.median(each), 2), "mean": round(statistics.mean(each), 2)}
    if against is not None and against != name:
        others = [record["rows"][against] for record in records]
        found["paired"] = paired(successes, [row["success"] for row in others])
        for key in ("cpu_ms", "ms"):
            ours, theirs = ([sum(row.get(key, [])) for row in each] for each in (rows, others))
            ratios = [b / a for a, b in zip(ours, theirs, strict=True) if a > 0]
            found[f"less_{key}"] = {
                "of_means": round(sum(theirs) / max(1e-9, sum(ours)), 2),
                "median": round(statistics.median(ratios), 2) if ratios else None,
            }
    if all("energies" in record for record in records) and records:
        found["energy"] = share_of_least(records, name)
    return found


def spent(rows: Sequence[dict], hard: str | None = None) -> dict:
    """What decisions cost: means of iterations, evaluations and processor time, of all or of those as hard as `hard`."""
    found: dict[str, Any] = {}
    keys = {"iterations": 2, "evaluations": 1, "cpu_ms": 3, "converged": 3}
    for key, digits in keys.items():
        values = [
            value for row in rows for value, how in zip(row.get(key, []), row["difficulty"], strict=True) if hard in (None, how)
        ]
        found[key] = round(float(np.mean(values)), digits) if values else None
        if key == "cpu_ms" and values:
            found["cpu_ms_p50"] = round(float(np.median(values)), digits)
    return found | {"decisions": len(values)}


def run(protocol: Searches, episodes: int, jobs: int) -> tuple[list[dict], str]:
    """(records of the episodes that were not solved at their start, sha256 of the model)."""
    from objective_agent.cli.evaluate import Partial, run_missing

    threads = torch.get_num_threads()
    try:
        records = run_missing(protocol, Partial(None, protocol.digest(), False), episodes, jobs)
    finally:
        torch.set_num_threads(threads)
    model = next(iter(records[0]["models"].values()))
    return [record for record in sorted(records, key=lambda each: each["index"]) if not record["already_solved"]], model
