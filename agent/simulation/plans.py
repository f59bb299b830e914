"""Plans of the robot's Mode-2 in training apartments: what its Mode-1 is distilled from (`memory/plans.py`, docs/mode1.md).

The agent drives as in an evaluation (camera, lidar, safety gate, the planning time as a fixed delay), but in apartments of the
training seeds.  Every decision is the search's.  In a share of the time the robot does not do what was planned but something
beside it, so that the log knows the ways back (as DART does: Laskey et al. 2017).

All randomness of episode i comes from (seed, i): the log does not depend on the number of processes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from objective_agent import weights
from objective_agent.config import AgentParameters
from objective_agent.memory.plan_notes import Decided, PlanNotes
from objective_agent.memory.plans import PlanLog, PlanRow, unused
from objective_agent.planner import Decision
from objective_agent.safety import GateParameters
from objective_agent.simulation.conditions import condition
from objective_agent.simulation.episode import run_episode
from objective_agent.simulation.evaluation import AgentController
from objective_agent.simulation.generator import TRAIN_SEEDS
from objective_agent.simulation.tasks import ApartmentTask, Episode
from objective_agent.types import Command

WRONG, LASTS = (0.15, 0.8), 4
"""Standard deviations (m/s, rad/s) of what is done beside the plan, and for how many decisions in a row."""

LIMIT = 40.0
"""Seconds of an episode."""


@dataclass(frozen=True)
class PlanSettings:
    """What is driven; travels to worker processes.  `noise`: share of the decisions that are not done as planned."""

    task: str
    parameters: AgentParameters
    gate: GateParameters
    seed: int = 0
    noise: float = 0.15


class Recorder(AgentController):
    """Drives as the agent does, mostly, and keeps what it decided: `rows`."""

    def __init__(self, settings: PlanSettings):
        super().__init__(settings.parameters, settings.parameters.actor.deadline)
        self._settings = settings

    def reset(self, episode: Episode) -> None:
        super().reset(episode)
        self.rows: list[PlanRow] = []
        self._notes = PlanNotes(self.rows.append, f"{self._settings.task} {self._settings.seed}")
        self._notes.begin(episode.index)
        self._random, self._wrong, self._left = np.random.default_rng([episode.seed, 11]), np.zeros(2), 0

    def command_sent(self, command: Command) -> None:
        super().command_sent(command)
        self._notes.sent(command)

    def act(self, now: float) -> tuple[float, float]:
        command = np.array(super().act(now))
        decided = decided_of(self.decision)
        if decided is not None:
            self._notes.decided(self.decision.state, decided)
        if self._left == 0 and self._random.random() < self._settings.noise / LASTS:
            self._wrong, self._left = self._random.normal(0.0, WRONG), LASTS
        self._left = max(0, self._left - 1)
        v, w = command + (self._wrong if self._left else 0.0)
        return float(v), float(w)


def decided_of(decision: Decision) -> Decided | None:
    """What there is to log of a decision; None where nothing was planned, or no place is the goal."""
    plan = decision.plan
    if plan is None or decision.state is None or decision.subgoal is None:
        return None
    actions, energy, feasible = (np.asarray(value)[0] for value in (plan.actions, plan.energy, plan.feasible))
    return Decided(actions, float(energy), bool(feasible), plan.mode, decision.subgoal)


def collect_plans(
    settings: PlanSettings,
    path: str | Path,
    model: str,
    episodes: int,
    jobs: int = 1,
    about: dict[str, Any] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Logs the plans of `episodes` training episodes to a new log; `report` gets (episodes done, in all).  Returns counts."""
    from objective_agent.learning.workers import in_processes

    path = unused(path)
    encoder = str(weights.read_card(weights.find_model(model))["sha256"]["encoder"])
    said = {"task": settings.task, "seed": settings.seed, "noise": settings.noise, "dt": settings.parameters.actor.dt,
            **(about or {})}  # fmt: skip
    found = {"episodes": 0, "decisions": 0, "reached": 0, "contacts": 0}
    calls = [(settings, number) for number in range(episodes)]
    if jobs == 1 or episodes == 1:
        driven = (drive(*call) for call in calls)
    else:
        driven = in_processes(drive, calls, min(jobs, episodes), "try again with fewer --jobs", in_order=True)
    with PlanLog(path, encoder, said) as log:
        for reached, contacts, rows in driven:
            log.extend(rows)
            for name, value in (("episodes", 1), ("decisions", len(rows)), ("reached", reached), ("contacts", contacts)):
                found[name] += value
            report(found["episodes"], episodes)
    return found


def drive(settings: PlanSettings, number: int) -> tuple[bool, int, list[PlanRow]]:
    """(whether episode `number` reached its goal, contacts, the rows)."""
    import torch

    torch.set_num_threads(1)
    actor, robot = settings.parameters.actor, settings.parameters.robot
    recorder = Recorder(settings)
    episode = _task(settings.task, settings.seed, robot).episode(number)
    outcome = run_episode(episode, recorder, robot, settings.gate, actor.period, actor.deadline, True, limit=LIMIT)
    return outcome.success, outcome.contacts, recorder.rows


@lru_cache(maxsize=1)
def _task(name: str, seed: int, robot) -> ApartmentTask:
    return ApartmentTask(seed, robot, condition(name), TRAIN_SEEDS)
