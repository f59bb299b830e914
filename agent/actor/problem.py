"""A planning problem made ready for the search: checked once, and every array a float32 tensor on the device of its state.

What comes from the CPU is checked there, and goes to another device in one copy.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from objective_agent import devices
from objective_agent.types import Goal, InputError, Problem

GIVEN = ("action_low", "action_high", "rate_limit", "last_action", "warm_start", "proposals")
ARRAYS = ("state", "goal", *GIVEN)


def as_tensors(problem: Problem, differentiable: bool = False) -> Problem:
    """InputError for limits that make no sense and for wrong shapes.

    A warm start or a proposal that is not finite becomes standing still there: both are only hints, and a policy that fails
    must not stop the robot's planning.  `differentiable`: no array was made in inference mode, where autograd can't keep it.
    """
    if differentiable:
        problem = replace(problem, **{name: _normal(getattr(problem, name)) for name in ARRAYS})
    device = problem.state.pose.device if isinstance(problem.state.pose, Tensor) else torch.device("cpu")
    given = {name: _tensor(getattr(problem, name)) for name in GIVEN}
    for name in ("warm_start", "proposals"):
        if given[name] is not None:
            given[name] = torch.nan_to_num(given[name], nan=0.0, posinf=0.0, neginf=0.0)
    _check(replace(problem, **given))
    goal = [_tensor(value) for value in (problem.goal.position, problem.goal.heading, problem.goal.representation)]
    sent = devices.send([*goal, *given.values()], device)
    ready = dict(zip(given, sent[len(goal) :], strict=True))
    goal = Goal(*sent[: len(goal)], problem.goal.final)
    return replace(problem, state=problem.state.to_torch(device), goal=goal, **ready)


def _tensor(value: Any) -> Tensor | None:
    return None if value is None else torch.as_tensor(value, dtype=torch.float32)


def _check(problem: Problem) -> None:
    batch, (dims,) = problem.state.batch, problem.action_low.shape[-1:] or (0,)
    shapes = {"action_low": (dims,), "action_high": (dims,), "rate_limit": (dims,), "last_action": (batch, dims)}
    if problem.warm_start is not None:
        shapes["warm_start"] = (batch, problem.horizon, dims)
    if problem.proposals is not None:
        shapes["proposals"] = (batch, *problem.proposals.shape[1:2], problem.horizon, dims)
    for name, shape in shapes.items():
        value = getattr(problem, name)
        if tuple(value.shape) != shape:
            raise InputError(f"problem.{name}: shape {tuple(value.shape)}; need {shape}")
        if not _holds(torch.isfinite(value)):
            raise InputError(f"problem.{name}: has NaN or infinite values")
    if not _holds(problem.action_low <= problem.action_high):
        raise InputError("problem.action_low is above action_high; give bounds with low <= high")
    if not _holds(problem.rate_limit > 0):
        raise InputError("problem.rate_limit must be > 0 for every action")


def _holds(true: Tensor) -> bool:
    """Whether all are true; what lies in the computer's own memory is looked at there, without a tensor's read-back."""
    return bool(true.numpy().all() if true.device.type == "cpu" else true.all())


def _normal(value: Any) -> Any:
    """`value` with every tensor in it that was made in inference mode copied; anything else is shared."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if is_dataclass(value):
        return replace(value, **{each.name: _normal(getattr(value, each.name)) for each in fields(value)})
    return value
