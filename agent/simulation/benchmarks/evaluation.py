"""An evaluation on a benchmark task: the same held-out episodes under every controller.

    agent           plans with the model                  random         random actions
    no_stuck        ... without the stuck rule            zero           does nothing
    l2              ... without the learned steps to go   straight_line  knows the true state; walks straight to the goal
    shuffled        ... shown another moment's image's tokens instead of the present one's
    propose, adaptive, policy     ... with Mode-1 (docs/mode1.md), for models that have a policy; not among "all"

Everything is deterministic in the protocol, except what stands under `timing`: wall-clock figures of this machine.  Episodes
run to their own end: success, or the task's budget of steps.  Starts that are solved already are left out and counted.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from objective_agent.results.statistics import paired, wilson
from objective_agent.simulation import benchmarks
from objective_agent.simulation.benchmarks.controller import BenchmarkController, ControllerSettings, Mind, Notes, settings_of

AGENT = "agent"
ROWS = ("no_stuck", "l2", "shuffled")
BASELINES = ("zero", "random", "straight_line")
Act = Callable[[np.ndarray, dict[str, Any]], np.ndarray]


@dataclass(frozen=True)
class BenchmarkProtocol:
    """All that an evaluation's result depends on; travels to worker processes."""

    task: str
    seed: int
    model: str
    settings: ControllerSettings = field(default_factory=ControllerSettings)
    rows: tuple[str, ...] = ROWS
    baselines: tuple[str, ...] = BASELINES

    @property
    def controllers(self) -> tuple[str, ...]:
        return (AGENT, *self.rows, *self.baselines)

    def missing(self, record: dict | None) -> tuple[str, ...]:
        """The controllers that `record` of an episode still lacks."""
        known = record["rows"] if record else {}
        names = [name for name in self.controllers if name not in known]
        return (AGENT, *names) if "shuffled" in names and AGENT not in names else tuple(names)

    def digest(self) -> str:
        """sha256 over the task, its protocol and the settings; not over which controllers stand in the result."""
        about = {"settings": self.settings.model_dump(mode="json"), "task": self.task, "seed": self.seed}
        about["protocol"] = benchmarks.make(self.task).protocol
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def evaluator(self) -> BenchmarkEvaluator:
        """What runs episodes; made once in every process."""
        return BenchmarkEvaluator(self)


class BenchmarkEvaluator:
    """Runs a protocol's episodes one by one."""

    def __init__(self, protocol: BenchmarkProtocol):
        import torch

        torch.set_num_threads(protocol.settings.threads)
        self.protocol, self.env = protocol, benchmarks.make(protocol.task)
        self._next = 0

    @cached_property
    def mind(self) -> Mind:
        return Mind(self.protocol.model, self.protocol.settings)

    def run(self, index: int, known: dict | None = None) -> dict:
        """The record of episode `index` under every controller that `known` lacks, added to it; JSON values only."""
        begun = time.perf_counter()
        _, info = self._reset(index)
        rows, timing, models, habits, seen = {}, {}, {}, {}, []
        for row in self.protocol.missing(known):
            if row in BASELINES:
                rows[row] = self.drive(index, self._baseline(row, index))
                continue
            controller = BenchmarkController(
                self.mind, settings_of(row, self.protocol.settings), seen if row == "shuffled" else None
            )
            controller.reset(info["goal_image"], seed=index)
            rows[row] = self.drive(index, lambda image, _, act=controller.act: act(image))
            rows[row] |= {"stuck": controller.notes.stuck, "modes": dict(sorted(controller.notes.modes.items()))}
            timing[row] = spent(controller.notes)
            models[row] = self.mind.world_model.model
            habits |= self.habits((row,))
            seen = controller.notes.seen if row == AGENT else seen
        timing["seconds"] = round(time.perf_counter() - begun, 3)
        if known is not None:
            timing["seconds"] = round(timing["seconds"] + known["timing"]["seconds"], 3)
            rows, timing, models = known["rows"] | rows, known["timing"] | timing, known["models"] | models
            habits = known.get("habits", {}) | habits
        return {
            "index": index,
            "layout": int(info["layout"]),
            "start": _rounded(info["state"]),
            "goal": _rounded(info["goal_state"]),
            "shortest": round(float(info["shortest"]), 3) if math.isfinite(info["shortest"]) else None,
            "detour": bool(info["detour"]),
            "budget": int(info["budget"]),
            "already_solved": bool(info["success"]),
            "rows": rows,
            "models": models,
            **({"habits": habits} if habits else {}),
            "timing": timing,
        }

    def habits(self, rows: Sequence[str]) -> dict[str, str]:
        """The sha256 of the policy, for those of `rows` that have habits.  ConfigurationError where the model has none."""
        return {row: self.mind.policy.model for row in rows if settings_of(row, self.protocol.settings).mode != "plan"}

    def _reset(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        return self.env.reset(seed=self.protocol.seed, options={"split": "test", "index": index})

    def drive(self, index: int, act: Act) -> dict:
        """Episode `index` under `act`: success, steps taken, distance at the end, and the nearest on the way."""
        image, info = self._reset(index)
        steps, ended, nearest = 0, bool(info["success"]), float(info["distance"])
        while not ended:
            image, _, success, cut, info = self.env.step(act(image, info))
            steps, ended, nearest = steps + 1, success or cut, min(nearest, float(info["distance"]))
        return {
            "success": bool(info["success"]),
            "steps": steps,
            "distance": round(float(info["distance"]), 4),
            "nearest": round(nearest, 4),
        }

    def _baseline(self, name: str, index: int) -> Act:
        env, size = self.env, self.env.action_space.shape[0]
        if name == "zero":
            return lambda image, info: np.zeros(size, np.float32)
        if name == "random":
            random = np.random.default_rng([self.protocol.seed, index, 11])
            return lambda image, info: random.uniform(-1, 1, size).astype(np.float32)
        return lambda image, info: straight(env, info)


def spent(notes: Notes) -> dict[str, Any]:
    """Milliseconds of each decision, and of the whole episode by what they were spent on."""
    encoder, whole = sum(notes.encoder_ms), sum(notes.planning_ms)
    return {
        "planning_ms": notes.planning_ms,
        "episode_ms": {"planning": round(whole - encoder, 2), "encoder": round(encoder, 2)},
    }


def straight(env, info: dict[str, Any]) -> np.ndarray:
    """Straight to the goal, with the true state: the task's own rule, or the first components of the state as a position."""
    toward = getattr(env.unwrapped, "toward", None)
    if toward is not None:
        return toward(info["state"], info["goal_state"])
    size = env.action_space.shape[0]
    gap = np.zeros(size, np.float32)
    count = min(size, len(info["state"]))
    gap[:count] = (np.asarray(info["goal_state"]) - np.asarray(info["state"]))[:count]
    return gap / max(float(np.abs(gap).max()), 1e-6)


def summarize(protocol: BenchmarkProtocol, records: Sequence[dict], model: str, hardware: dict, push: dict | None) -> dict:
    """The result's JSON from one record per episode; episodes that were solved at their start are counted and left out."""
    records = sorted(records, key=lambda record: record["index"])
    solved = sum(record["already_solved"] for record in records)
    records = [record for record in records if not record["already_solved"]]
    names = [name for name in protocol.controllers if all(name in record["rows"] for record in records)]
    return {
        "kind": "benchmark",
        "task": protocol.task,
        "model": model,
        "episodes": len(records),
        "seed": protocol.seed,
        "already_solved": solved,
        "rows": {name: row_of(records, name) for name in names},
        "push_test": push,
        "protocol": benchmarks.make(protocol.task).protocol,
        "settings": protocol.settings.model_dump(mode="json"),
        "digest": protocol.digest(),
        "hardware": hardware,
        "per_episode": [_compact(record) for record in records],
    }


def row_of(records: Sequence[dict], name: str) -> dict:
    """A controller's figures: all episodes, those with a detour, steps against the shortest way, planning times."""
    rows = [record["rows"][name] for record in records]
    detours = [row["success"] for row, record in zip(rows, records, strict=True) if record["detour"]]
    reached = [(row["steps"], record["shortest"]) for row, record in zip(rows, records, strict=True) if row["success"]]
    ratios = [steps / max(1.0, shortest) for steps, shortest in reached if shortest]
    planning = [ms for record in records for ms in record["timing"].get(name, {}).get("planning_ms", [])]
    found: dict[str, Any] = share_of([row["success"] for row in rows]) | {
        "detours": share_of(detours) | {"episodes": len(detours)},
        "steps": float(np.mean([steps for steps, _ in reached])) if reached else None,
        "steps_to_shortest": float(np.median(ratios)) if ratios else None,
    }
    if planning:
        found["planning_ms"] = {f"p{part}": round(float(np.percentile(planning, part)), 2) for part in (50, 99)}
        found["stuck_share"] = sum(row["stuck"] for row in rows) / max(1, sum(row["steps"] for row in rows))
        found |= by_episode(records, name)
    if name != AGENT:
        found["paired"] = paired([record["rows"][AGENT]["success"] for record in records], [row["success"] for row in rows])
    return found


def by_episode(records: Sequence[dict], name: str) -> dict[str, Any]:
    """Planning time per episode (from representation to action; the encoder's apart), also as a share of the agent's on the
    same episodes, and the share of the decisions that each mode made.  Empty for records that don't know yet."""
    times = [record["timing"].get(name, {}).get("episode_ms") for record in records]
    if not all(times):
        return {}
    found: dict[str, Any] = {
        "per_episode_ms": {part: round(float(np.mean([at[part] for at in times])), 2) for part in ("planning", "encoder")}
    }
    agents = [record["timing"].get(AGENT, {}).get("episode_ms") for record in records]
    if name != AGENT and all(agents):
        whole = sum(at["planning"] for at in agents)
        found["planning_share"] = round(sum(at["planning"] for at in times) / max(whole, 1e-9), 4)
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(record["rows"][name].get("modes", {}))
    total = max(1, sum(counts.values()))
    found["modes"] = {mode: round(count / total, 4) for mode, count in sorted(counts.items())}
    return found


def share_of(successes: Sequence[bool]) -> dict[str, Any]:
    count = sum(map(bool, successes))
    return {"success_rate": count / len(successes) if successes else None, "interval": wilson(count, len(successes))}


def _compact(record: dict) -> dict:
    """A record with the planning times of single decisions summed up."""
    timing = {"seconds": record["timing"]["seconds"]}
    for row, values in record["timing"].items():
        if row != "seconds" and values["planning_ms"]:
            timing[row] = {f"p{part}": round(float(np.percentile(values["planning_ms"], part)), 2) for part in (50, 99)}
            timing[row] |= {"episode_ms": values["episode_ms"]} if "episode_ms" in values else {}
    return record | {"timing": timing}


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]
