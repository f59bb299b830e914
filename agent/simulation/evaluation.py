"""An evaluation: the same episodes under every controller, and statistics that say how much to believe of the difference.

Everything here is deterministic in the protocol, except what stands under `timing`: wall-clock figures of this machine.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from objective_agent.agent import Agent
from objective_agent.config import HABITS, AgentParameters, Task
from objective_agent.results.statistics import paired, wilson
from objective_agent.safety import GateParameters
from objective_agent.simulation.ablations import AGENT, WITHOUT_GATE, alter, habits_digest, parameters_of
from objective_agent.simulation.baselines import BASELINES
from objective_agent.simulation.episode import Outcome, run_episode
from objective_agent.simulation.tasks import Episode, make_task
from objective_agent.simulation.world import World
from objective_agent.types import MODES, Command, Image, Odometry, Representation, Scan

TOLERANCE = 0.15
"""Distance to the goal that the agent is told to reach, m: half the success radius; the rest is for odometry's drift."""


@dataclass(frozen=True)
class Protocol:
    """All that an evaluation's result depends on; travels to worker processes."""

    task: str
    seed: int
    parameters: AgentParameters
    gate: GateParameters
    baselines: tuple[str, ...]
    world: World | None = None
    rows: tuple[str, ...] = (WITHOUT_GATE,)
    promises: int = 0
    """Every so many decisions the agent's plan is carried out in a copy, to see what became of its promises; 0: never."""
    part: tuple[str, ...] = ()
    """Controllers to run now, where not all of them; the result is the same however a run is divided."""

    @property
    def controllers(self) -> tuple[str, ...]:
        """All rows of the result, the agent's first."""
        return (AGENT, *self.rows, *self.baselines)

    def missing(self, record: dict | None) -> tuple[str, ...]:
        """The controllers that `record` of an episode still lacks, of those to run now."""
        known = record["rows"] if record else {}
        names = [name for name in self.controllers if name not in known and (not self.part or name in self.part)]
        needs_agent = "shuffled" in names and AGENT not in names
        return (AGENT, *names) if needs_agent else tuple(names)

    @property
    def period(self) -> float:
        """Control period, s."""
        return self.parameters.actor.period

    @property
    def delay(self) -> float:
        """Simulated planning time: every decision takes as long as the actor's deadline allows, s."""
        return self.parameters.actor.deadline

    def evaluator(self) -> Evaluator:
        """What runs the episodes; made once in every process."""
        return Evaluator(self)

    def digest(self) -> str:
        """sha256 over the parameters, the gate's, the task and the world; not over which controllers stand in the result."""
        promises = {"promises": self.promises} if self.promises else {}
        parameters = self.parameters.model_dump(mode="json")
        if self.parameters.actor.mode == "plan":  # then these change nothing
            parameters["actor"] = {name: value for name, value in parameters["actor"].items() if name not in HABITS}
        del parameters["memory"]["plans"], parameters["actor"]["reaction"]
        if self.parameters.memory.actuator_delay == "given":
            del parameters["memory"]["actuator_delay"]
        text = json.dumps(
            promises
            | {
                "parameters": parameters,
                "gate": self.gate.model_dump(mode="json"),
                "task": self.task,
                "seed": self.seed,
                "world": self.world.xml if self.world else None,
            },
            sort_keys=True,
        )
        return hashlib.sha256(text.encode()).hexdigest()


class AgentController:
    """The agent, as it is in `row`, as the controller of an episode; notes what its decisions were like.

    `seen`: what the agent's own row had seen in this episode.
    """

    def __init__(self, parameters: AgentParameters, delay: float, row: str = AGENT, seen: Sequence[Representation] = ()):
        self.parameters, self.delay = parameters_of(row, parameters), delay
        self._row, self._donated = row, seen

    def reset(self, episode: Episode) -> None:
        # A new object for every run: nothing can leak from one episode into the next, in whatever order workers take them.
        self.agent = Agent(self.parameters, seed=episode.seed)
        self.agent.reset(episode.seed)
        identity = f"episode-{episode.index}"
        if episode.image is not None:
            picture = episode.decoy if self._row == "shuffled_goal" else episode.image
            self.agent.set_task(Task(id=identity), picture)
        else:
            self.agent.set_task(Task(kind="goal_pose", id=identity, position=episode.goal, tolerance=TOLERANCE))
        self.said_there = False
        alter(self._row, self.agent, self._donated, episode.seed)
        self.seen: list[Representation] = []
        self.surprises: list[float] = []
        self.planning_ms: list[float] = []
        self.modes: Counter[str] = Counter()
        self.planner_seconds = 0.0
        self.decisions = self.braking = self.violations = self.misses = 0
        self.closest = math.inf
        self.stop_reasons: dict[str, int] = {}

    def observe(self, reading: Scan | Image | Odometry) -> None:
        self.agent.observe(reading)

    def command_sent(self, command: Command) -> None:
        self.agent.command_sent(command)

    def act(self, now: float) -> tuple[float, float]:
        begun = time.perf_counter()
        decision = self.decision = self.agent.step(now, now, latency=self.delay)
        seconds = time.perf_counter() - begun
        self.decisions += 1
        if decision.state is not None and decision.state.points is not None:
            gaps = np.hypot(*(np.asarray(decision.state.points[0]) - np.asarray(decision.state.pose[0, :2])).T)
            self.closest = min(self.closest, float(gaps.min()) - self.parameters.robot.radius)
        if self.agent.representation is not None:
            self.seen.append(self.agent.representation)
        self.said_there = decision.configuration is not None and decision.configuration.reached
        plan = decision.plan
        if plan is not None:
            self.surprises.append(self.agent.surprise)
            self.planning_ms.append(round(1e3 * seconds, 2))
            self.misses += seconds > self.parameters.actor.deadline
            self.modes[plan.mode] += 1
            self.planner_seconds += decision.worked
            self.braking += plan.mode == "braking"
            self.violations += plan.mode != "braking" and not bool(plan.feasible[0])
            self.stop_reasons[plan.stop_reason] = self.stop_reasons.get(plan.stop_reason, 0) + 1
        return decision.command.v, decision.command.w

    def notes(self) -> dict:
        closest = round(self.closest, 4) if math.isfinite(self.closest) else None
        return {
            "decisions": self.decisions,
            "braking": self.braking,
            "guardrail_violations": self.violations,
            "closest_m": closest,
            "surprise": {f"p{share}": _percentile(np.array(self.surprises or [0.0]), share) for share in (50, 99)},
            "stop_reasons": dict(sorted(self.stop_reasons.items())),
            "modes": dict(sorted(self.modes.items())),
            **({"said_there": True} if self.said_there else {}),
        }


class Evaluator:
    """Runs a protocol's episodes one by one; made once in every worker process."""

    def __init__(self, protocol: Protocol):
        import torch

        torch.set_num_threads(1)  # results must not depend on how sums are split among threads
        self.protocol = protocol
        self.task = make_task(protocol.task, protocol.seed, protocol.parameters.robot, protocol.world)

    def run(self, index: int, known: dict | None = None) -> dict:
        """The record of episode `index` under every controller to run now, added to the `known` one; JSON values only."""
        protocol, robot = self.protocol, self.protocol.parameters.robot
        begun = time.perf_counter()
        episode = self.task.episode(index)
        rows, timing, models, habits = {}, {}, {}, {}
        kept = {}
        seen: Sequence[Representation] = ()
        missing = protocol.missing(known)
        for row in (name for name in (AGENT, *protocol.rows) if name in missing):
            controller = AgentController(protocol.parameters, protocol.delay, row, seen)
            camera = controller.parameters.perception.encoder.plugin != "scan" and not (row == "shuffled" and len(seen))
            gate = None if row == WITHOUT_GATE else protocol.gate
            witness = self._witness(controller) if row == AGENT else None
            limit, end = self._end(episode, controller)
            each = witness if end is None else end
            outcome = run_episode(episode, controller, robot, gate, protocol.period, protocol.delay, camera, each, limit)
            if witness is not None:
                kept = {"promises": witness.record()}
            seen = controller.seen if row == AGENT else seen
            rows[row] = self._describe(episode, outcome) | controller.notes()
            timing[row] = {
                "planning_ms": controller.planning_ms,
                "deadline_misses": controller.misses,
                "planner_ms": round(1e3 * controller.planner_seconds, 2),
            }
            models[row] = controller.agent.planner.world_model.model
            if controller.agent.planner.habits is not None:
                habits[row] = habits_digest(controller.parameters.actor, controller.agent.planner.habits.policy)
        for row in (name for name in protocol.baselines if name in missing):
            times, (limit, _) = (protocol.period, protocol.delay), self._end(episode, None)
            outcome = run_episode(episode, BASELINES[row](robot), robot, protocol.gate, *times, limit=limit)
            rows[row] = self._describe(episode, outcome)
        timing["seconds"] = round(time.perf_counter() - begun, 3)
        if known is not None:
            timing["seconds"] = round(timing["seconds"] + known["timing"]["seconds"], 3)
            rows, timing, models = known["rows"] | rows, known["timing"] | timing, known["models"] | models
            kept = {"promises": known["promises"]} | kept if "promises" in known else kept
            habits = known.get("habits", {}) | habits
        return {
            "index": index,
            "world": episode.world.name,
            "start": [round(value, 4) for value in episode.start],
            "goal": [round(value, 4) for value in episode.goal],
            "path_length": round(episode.path_length, 3) if math.isfinite(episode.path_length) else None,
            "blocked": episode.blocked,
            "already_solved": episode.already_solved,
            "rows": rows,
            "models": models,
            **({"habits": habits} if habits else {}),
            "timing": timing,
            **kept,
        }

    @staticmethod
    def _end(episode: Episode, controller: AgentController | None):
        """(time limit, what ends the episode besides): where the goal is a picture the agent has to say that it is there."""
        if episode.image is None:
            return None, None
        from objective_agent.simulation.goal_images import LIMIT

        return LIMIT, None if controller is None else lambda now, simulation: getattr(controller, "said_there", False)

    @staticmethod
    def _describe(episode: Episode, outcome: Outcome) -> dict:
        if episode.image is None:
            return describe(outcome)
        from objective_agent.simulation.goal_images import notes

        return describe(outcome) | notes(episode, outcome.track)

    def _witness(self, controller: AgentController):
        if not self.protocol.promises:
            return None
        from objective_agent.learning.promises import Witness

        return Witness(controller, self.protocol.delay, self.protocol.parameters.robot.radius, self.protocol.promises)


def describe(outcome: Outcome) -> dict:
    """An outcome as JSON values."""
    return {
        "success": bool(outcome.success),
        "seconds": outcome.seconds,
        "distance": round(outcome.distance, 3),
        "travelled": round(outcome.travelled, 3),
        "contacts": outcome.contacts,
        "contacts_moving": outcome.contacts_moving,
        "gate_ticks": outcome.gate_ticks,
        "gate_held": outcome.gate_held,
        "gate_stops": dict(sorted(outcome.gate_reasons.items(), key=lambda item: -item[1])[:5]),
        "track": outcome.track,
    }


def summarize(protocol: Protocol, records: Sequence[dict], model: str, hardware: dict) -> dict:
    """The result's JSON from one record per episode."""
    records = sorted(records, key=lambda record: record["index"])
    agent = _row(records, AGENT)
    ours = [record["rows"][AGENT]["success"] for record in records]
    rows = [record["rows"][AGENT] for record in records]
    ticks = sum(row["gate_ticks"] for row in rows)
    without = _row(records, WITHOUT_GATE) if WITHOUT_GATE in protocol.rows else {}
    return {
        "task": protocol.task,
        "model": model,
        "episodes": len(records),
        "seed": protocol.seed,
        "success_rate": agent["success_rate"],
        "interval": agent["interval"],
        "collisions": agent["collisions"],
        "collisions_moving": agent["collisions_moving"],
        "collisions_without_gate": without.get("collisions"),
        "success_rate_without_gate": without.get("success_rate"),
        "gate_held_share": sum(row["gate_held"] for row in rows) / max(1, ticks),
        "guardrail_violations": sum(row["guardrail_violations"] for row in rows),
        "braking_share": _braking(rows),
        **_timing(records, AGENT),
        "baselines": {
            name: _row(records, name) | {"paired": paired(ours, [record["rows"][name]["success"] for record in records])}
            for name in protocol.baselines
        },
        "rows": {
            name: _row(records, name)
            | {
                "braking_share": _braking([record["rows"][name] for record in records]),
                **_timing(records, name),
                **_share(records, name),
                "paired": paired(ours, [record["rows"][name]["success"] for record in records]),
            }
            for name in protocol.rows
        },
        "already_solved": sum(record["already_solved"] for record in records),
        "blocked_share": sum(record["blocked"] for record in records) / max(1, len(records)),
        "optimizer": protocol.parameters.actor.optimizer.plugin,
        "parameters_digest": protocol.digest(),
        "hardware": hardware,
        **_promises(protocol, records),
        **_pictures(protocol, records),
        "per_episode": [_compact(record, protocol.controllers) for record in records],
    }


def _pictures(protocol: Protocol, records: Sequence[dict]) -> dict:
    """What else counts where the goal was a picture."""
    if "passed" not in records[0]["rows"][AGENT]:
        return {}
    from objective_agent.simulation.goal_images import summarize as pictures

    return {"goal_image": pictures(records, protocol.controllers)}


def _promises(protocol: Protocol, records: Sequence[dict]) -> dict:
    if not protocol.promises:
        return {}
    from objective_agent.learning.promises import summarize as kept

    return {"promises": kept([record["promises"] for record in records])}


def _row(records: Sequence[dict], name: str) -> dict:
    rows = [record["rows"][name] for record in records]
    successes = sum(row["success"] for row in rows)
    return {
        "success_rate": successes / max(1, len(rows)),
        "interval": wilson(successes, len(rows)),
        "collisions": sum(row["contacts"] for row in rows),
        "collisions_moving": sum(row["contacts_moving"] for row in rows),
        "seconds_to_goal": float(np.mean([row["seconds"] for row in rows if row["success"]])) if successes else None,
    }


def _timing(records: Sequence[dict], name: str) -> dict:
    planning = np.array([ms for record in records for ms in record["timing"][name]["planning_ms"]] or [math.nan])
    worked = [record["timing"][name].get("planner_ms") for record in records]
    modes = sum((Counter(record["rows"][name].get("modes", {})) for record in records), Counter())
    return {
        "planning_ms": {"p50": _percentile(planning, 50), "p99": _percentile(planning, 99)},
        **({} if None in worked else {"per_episode_ms": {"planning": round(float(np.mean(worked)), 1)}}),
        "modes": {mode: round(count / modes.total(), 4) for mode, count in sorted(modes.items())},
        "deadline_misses": sum(record["timing"][name]["deadline_misses"] for record in records),
    }


def _share(records: Sequence[dict], name: str) -> dict:
    """The row's planning time (the planner's alone, processor time) as a share of the agent's on the same episodes.

    Empty for records that don't know it yet: a run that was begun before may be gone on with.
    """
    times = [(record["timing"][name].get("planner_ms"), record["timing"][AGENT].get("planner_ms")) for record in records]
    if name not in MODES or any(None in each for each in times):
        return {}
    return {"planning_share": round(sum(mine for mine, _ in times) / max(sum(whole for _, whole in times), 1e-9), 4)}


def _braking(rows: Sequence[dict]) -> float:
    return sum(row["braking"] for row in rows) / max(1, sum(row["decisions"] for row in rows))


def _percentile(values: np.ndarray, share: float) -> float | None:
    return round(float(np.percentile(values, share)), 2) if np.isfinite(values).all() else None


def _compact(record: dict, names: Sequence[str]) -> dict:
    """A record of the controllers `names` with the planning times of single decisions summed up."""
    rows = {name: row for name, row in record["rows"].items() if name in names}
    timing: dict = {"seconds": record["timing"]["seconds"]}
    for row in [name for name in rows if name in record["timing"]]:
        values = np.array(record["timing"][row]["planning_ms"] or [math.nan])
        timing[row] = {
            "planning_ms": {"p50": _percentile(values, 50), "p99": _percentile(values, 99)},
            **{name: value for name, value in record["timing"][row].items() if name != "planning_ms"},
        }
    return record | {"rows": rows, "timing": timing}
