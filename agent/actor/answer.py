"""The search's answer: the best feasible plan or the braking plan, and the runner-up modes.

A mode is another way of doing it: left of the obstacle instead of right.  Modes are picked greedily, the best first, from the
first iteration's candidates (where the search is widest) and the last one's, each farther than `apart` from the plan and from
the modes before it.  They are what the search saw, not refined.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from objective_agent import devices
from objective_agent.actor.evaluation import Evaluation
from objective_agent.types import Plan, Problem, Trajectory

BRAKING, INCUMBENT = 0, 1
"""Places of these two among the candidates, in every iteration."""


class Pool:
    """Candidates to pick modes from."""

    def __init__(self, modes: int, apart: float):
        self._modes, self._apart = modes, apart
        self._actions: list[Tensor] = []
        self._paths: list[Tensor] = []
        self._energy: list[Tensor] = []

    def add(self, actions: Tensor, evaluation: Evaluation, problem: Problem) -> None:
        if self._modes:
            self._actions.append(actions)
            self._paths.append(paths(actions, evaluation, problem))
            self._energy.append(torch.where(evaluation.feasible, evaluation.energy, torch.inf))

    def pick(self, plan: Tensor) -> tuple[Tensor, Tensor] | None:
        """(actions [B, M, H, A], energies [B, M]) beside the plan at the place `plan` [B] of what was added last."""
        if not self._modes:
            return None
        last = self._paths[-1]
        order = slice(None, None, -1)
        actions, path, energy = (torch.cat(each[order], 1) for each in (self._actions, self._paths, self._energy))
        index, found = distinct(energy, path, self._modes, self._apart, taken=take(last, plan))
        found = found & torch.isfinite(energy.gather(1, index))
        chosen = actions[torch.arange(len(index), device=index.device)[:, None], index]
        return torch.where(found[:, :, None, None], chosen, 0.0), torch.where(found, energy.gather(1, index), torch.inf)


def paths(actions: Tensor, evaluation: Evaluation, problem: Problem) -> Tensor:
    """Where candidates go [B, N, H, P]: positions in the first future; for models that give none, the sum of the actions."""
    poses = evaluation.trajectory.poses
    if poses.stride(1) or poses.stride(3):
        return poses[:, :, 0, :, :2]
    half = (0.5 * (problem.action_high - problem.action_low)).clamp(min=1e-6)
    return torch.cumsum(actions / half, 2)


def distinct(score: Tensor, path: Tensor, count: int, apart: float, taken: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """(places [B, count], which of them are distinct [B, count]): the best by `score` [B, N], smallest first, whose paths
    [B, N, H, P] are farther than `apart` from those picked before and from `taken` [B, H, P].

    Where there are too few of these, the best of the others follow.
    """
    limit = apart * path.shape[2] ** 0.5
    near = torch.zeros_like(score, dtype=torch.bool)
    used = torch.zeros_like(near)
    rank = torch.argsort(torch.argsort(score, dim=1, stable=True), dim=1).float()  # so that inf and large numbers do no harm
    places, found = [], []
    for _ in range(min(count, score.shape[1])):
        if taken is not None:
            near = near | (torch.linalg.vector_norm(path - taken[:, None], dim=(2, 3)) <= limit)
        place = (rank + near * score.shape[1] + used * 3 * score.shape[1]).argmin(1)
        places.append(place)
        found.append(~take(near | used, place))
        used = used.scatter(1, place[:, None], True)
        taken = take(path, place)
    return torch.stack(places, 1), torch.stack(found, 1)


def take(values: Tensor, index: Tensor) -> Tensor:
    """values[b, index[b]] for every problem b."""
    if len(index) == 1:  # nothing to go through
        return values.index_select(1, index)[:, 0]
    return values[torch.arange(len(index), device=values.device), index]


def saved(plan: Plan) -> Tensor:
    """[B]: which share of what standing still costs the plan saves, as far as was imagined; 0 where that costs nothing."""
    standing = plan.candidate_energy[:, BRAKING]
    return torch.where(standing > 0, 1 - plan.energy / standing, 0.0)


def only(imagined: Trajectory, index: Tensor) -> Trajectory:
    """What was imagined of the candidates at `index` [B] alone; shares nothing with the rest."""

    def chosen(value: Tensor | None) -> Tensor | None:
        return None if value is None else take(value, index)[:, None]

    return replace(
        imagined,
        actions=chosen(imagined.actions),
        poses=chosen(imagined.poses),
        velocities=chosen(imagined.velocities),
        representations=chosen(imagined.representations),
        readouts={name: chosen(value) for name, value in imagined.readouts.items()},
    )


def make_plan(
    problem: Problem,
    actions: Tensor,
    evaluation: Evaluation,
    index: Tensor,
    pool: Pool,
    iterations: int,
    evaluations: int,
    stop_reason: str,
) -> Plan:
    """The Plan for the candidates at `index` [B] of the last iteration, not yet timed."""
    feasible = take(evaluation.feasible, index)
    index = torch.where(feasible, index, BRAKING)
    imagined = evaluation.trajectory
    poses = imagined.poses
    modes = pool.pick(index)

    told = {"actions": actions, "energy": evaluation.energy, "violation": evaluation.violation, "poses": poses}
    told |= {("energies", name): value for name, value in evaluation.energies.items()}
    told |= {("margins", name): value for name, value in evaluation.margins.items()}
    told |= {("promises", name): value.amin(2) for name, value in imagined.readouts.items()}
    found = {name: take(value, index) for name, value in told.items()} | {"feasible": feasible}
    found |= {"candidates": poses[:, :, 0], "all": evaluation.energy, "all_feasible": evaluation.feasible}
    if modes is not None:
        found |= {"modes": modes[0], "mode_energy": modes[1]}
    found |= {("asked", name): value for name, value in problem.asked.items()}
    found = dict(zip(found, devices.fetch([*found.values()]), strict=True))

    def each(kind: str) -> dict[str, Tensor]:
        return {name[1]: value for name, value in found.items() if name[0] == kind}

    return Plan(
        actions=found["actions"],
        feasible=found["feasible"],
        energy=found["energy"],
        energies=each("energies"),
        margins=each("margins"),
        violation=found["violation"],
        poses=found["poses"],
        iterations=iterations,
        evaluations=evaluations,
        seconds=0.0,
        stop_reason=stop_reason,
        mode="optimizer" if any(found["feasible"].tolist()) else "braking",
        dt=problem.dt,
        stamp=problem.state.stamp,
        candidates=found["candidates"],
        candidate_energy=found["all"],
        candidate_feasible=found["all_feasible"],
        promises=each("promises"),
        imagined=only(imagined, index) if problem.remember else None,
        start=problem.state.stamp if imagined.start is None else imagined.start,
        modes=found.get("modes"),
        mode_energy=found.get("mode_energy"),
        told=each("asked"),
    )
