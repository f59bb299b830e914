"""Plans of Mode-2 on a benchmark task's training episodes: what Mode-1 is distilled from (`memory/plans.py`, docs/mode1.md).

Every decision is the search's and goes into the log.  What is done is the plan's first action, but in a share of the steps a
random one, so that the log knows the ways back (as DART does: Laskey et al. 2017).  With `policy`, that share of the episodes
is driven by the model's policy while the search says what it would have done: DAgger (Ross et al. 2011).

All randomness of episode i comes from (seed, i): the log does not depend on the number of processes.  Test layouts, and the
starts and goals of evaluations, are never visited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from objective_agent import weights
from objective_agent.actor.evaluation import evaluate
from objective_agent.learning.batches import generator
from objective_agent.learning.workers import in_processes
from objective_agent.memory.plans import PlanLog, PlanRow, Plans, unused
from objective_agent.simulation import benchmarks
from objective_agent.simulation.benchmarks.controller import DT, BenchmarkController, ControllerSettings, Mind
from objective_agent.types import Goal, InputError, Plan, Problem, WorldState

CHUNK = 8
"""Episodes that a process drives at a time."""

TRAINING = 1_000_003
"""Added to the seed: starts and goals of no evaluation, which takes small seeds (tasks with one layout hold these out)."""


@dataclass(frozen=True)
class PlanSettings:
    """What is driven; travels to worker processes.  `noise`: share of the steps with a random action in place of the plan's."""

    task: str
    model: str
    seed: int = 0
    noise: float = 0.15
    policy: float = 0.0
    controller: ControllerSettings = field(default_factory=ControllerSettings)


class Recorder(BenchmarkController):
    """Drives as the controller does, asks the search at every step, and keeps what it said: `rows`."""

    def start(self, goal_image: np.ndarray, seed: int, number: int, noise: float) -> None:
        self.reset(goal_image, seed)
        self._noise, self._number, self._draw = noise, number, generator(seed, "plan noise", number)
        self.rows: list[PlanRow] = []

    def _solve(self, problem: Problem, stuck: bool) -> Plan:
        self._searched = super()._solve(problem, stuck)
        if self.settings.mode == "plan":
            return self._searched
        acting, self._searched = self._searched, self.optimizer.solve(problem, np.inf)
        return acting

    def _disturb(self, action: np.ndarray) -> np.ndarray:
        if self._draw.random() < self._noise:
            return self._draw.uniform(-1, 1, action.shape).astype(np.float32)
        return action

    def act(self, image: np.ndarray) -> np.ndarray:
        done = super().act(image)
        state, plan = self._before, self._searched
        self.rows.append(
            PlanRow(
                run=f"{self.mind.folder.name}", episode=self._number, step=len(self.rows), stamp=DT * len(self.rows),
                state=state.representation[0].cpu().numpy(), goal=self._goal.representation[0].cpu().numpy(),
                plan=plan.actions[0].numpy(), done=done, energy=float(plan.energy[0]), feasible=bool(plan.feasible[0]),
                mode=self.plan.mode,
            )
        )  # fmt: skip
        return done


def collect_plans(
    settings: PlanSettings,
    path: str | Path,
    episodes: int,
    jobs: int = 1,
    about: dict[str, Any] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Logs the plans of `episodes` training episodes to a new log; `report` gets (episodes done, in all).  Returns counts."""
    path = unused(path)
    if settings.controller.deadline:
        raise InputError("deadline: such plans differ in length, a log holds plans of one: give --params with deadline: false")
    mind = _mind(settings)
    said = {"task": settings.task, "seed": settings.seed, "noise": settings.noise, "policy": settings.policy, "dt": DT,
            "frames": mind.history, "dynamic": mind.dynamic, **(about or {})}  # fmt: skip
    encoder = str(weights.read_card(mind.folder)["sha256"]["encoder"])
    chunks = [(settings, first, min(first + CHUNK, episodes)) for first in range(0, episodes, CHUNK)]
    found, done = {"episodes": 0, "decisions": 0, "reached": 0}, 0
    with PlanLog(path, encoder, said) as log:
        for reached, rows in drive_all(chunks, jobs):
            log.extend(rows)
            done += len(reached)
            found["episodes"] += len(reached)
            found["decisions"] += len(rows)
            found["reached"] += sum(reached)
            report(done, episodes)
    return found


def drive_all(chunks: list[tuple], jobs: int):
    if jobs == 1 or len(chunks) == 1:
        return (drive(*chunk) for chunk in chunks)
    return in_processes(drive, chunks, min(jobs, len(chunks)), "try again with fewer --jobs", in_order=True)


def drive(settings: PlanSettings, first: int, last: int) -> tuple[list[bool], list[PlanRow]]:
    """(whether each episode of `first` ... `last` - 1 reached its goal, the rows of all)."""
    torch.set_num_threads(settings.controller.threads)
    mind, env = _mind(settings), benchmarks.make(settings.task)
    reached, rows = [], []
    for number in range(first, last):
        random = generator(settings.seed, "plans", number)
        mode = "policy" if random.random() < settings.policy else "plan"
        controller = Recorder(mind, mind.settings.model_copy(update={"mode": mode}))
        image, info = env.reset(seed=TRAINING + settings.seed, options={"split": "train", "index": number})
        controller.start(info["goal_image"], settings.seed, number, settings.noise)
        ended = bool(info["success"])
        while not ended:
            image, _, success, cut, info = env.step(controller.act(image))
            ended = success or cut
        reached.append(bool(info["success"]))
        rows += controller.rows
    return reached, rows


@lru_cache(maxsize=1)
def _mind(settings: PlanSettings) -> Mind:
    return Mind(settings.model, settings.controller)


class Imagined:
    """`energies(rows, plans)` of a log's plans, as `learning/policy_confidence.py` asks for them; `stride`: see `steps`."""

    def __init__(self, model: str, plans: Plans, settings: ControllerSettings | None = None):
        self.plans, self.mind = plans, Mind(model, settings or ControllerSettings())
        self._objectives = BenchmarkController(self.mind).objectives()

    def __call__(self, rows: np.ndarray, plans: Tensor) -> Tensor:
        log, found = self.plans, []
        with torch.inference_mode():
            for row, some in zip(rows, plans, strict=True):
                state, goal = (torch.as_tensor(each[row].astype(np.float32))[None] for each in (log.state, log.goal))
                found.append(evaluate(self._problem(state, goal), some[None]).energy)
        return torch.cat(found)

    def _problem(self, state: Tensor, goal: Tensor) -> Problem:
        mind, size = self.mind, self.mind.actions
        nothing, ones = torch.zeros(1, 3), torch.ones(size)
        past = torch.zeros(1, max(1, mind.history - 1), size)
        world = WorldState(0.0, state, nothing, nothing[:, :2], str(mind.encoder.model), sent=past)
        return Problem(
            state=world, goal=Goal(representation=goal), world_model=mind.world_model, objectives=self._objectives,
            guardrails=(), horizon=self.plans.plan.shape[1], dt=DT, futures=1, action_low=-ones, action_high=ones,
            rate_limit=1e6 * ones, last_action=torch.zeros(1, size),
        )  # fmt: skip


def stride(plans: Plans) -> float:
    """Farther than this in representation space (Euclidean) hardly any step of the log led: what no plan means to do."""
    about = plans.about[0]
    frames, dynamic = int(about.get("frames", 1)), int(about.get("dynamic", plans.state.shape[1]))
    tokens = plans.state.shape[1] // frames
    newest = plans.state[:, -tokens:][:, :dynamic].astype(np.float32).reshape(len(plans), -1)
    moved = np.linalg.norm(np.diff(newest, axis=0), axis=-1)[np.diff(plans.episode) == 0]
    return round(float(np.percentile(moved, 99)), 4)
