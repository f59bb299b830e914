"""A planning problem made ready for the search: checked once, and every array a float32 tensor on the device of its state.

What comes from the CPU is checked there, and goes to another device in one copy; limits that are there already stay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

from objective_agent import devices
from objective_agent.types import Goal, InputError, Problem

LIMITS = ("action_low", "action_high", "rate_limit", "last_action")
GIVEN = (*LIMITS, "warm_start", "proposals")
ARRAYS = ("state", "goal", *GIVEN)

_there: dict[tuple, dict[str, Tensor]] = {}
"""The last few limits on other devices, by their numbers: mostly they are the same from decision to decision."""


@dataclass(frozen=True)
class Ready(Problem):
    """A problem as `as_tensors` gives it.

    `loose`: any action within the bounds may follow any other; `limits` as numbers, so that nobody asks a device for them.
    """

    loose: bool = False
    limits: tuple = ()


def as_tensors(problem: Problem, differentiable: bool = False) -> Ready:
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
    free, limits = _check(problem, given)
    key = (device, limits, torch.is_inference_mode_enabled())
    given |= _there.get(key, {})
    goal = [_tensor(value) for value in (problem.goal.position, problem.goal.heading, problem.goal.representation)]
    sent = devices.send([*goal, *given.values()], device)
    ready = dict(zip(given, sent[len(goal) :], strict=True))
    if device.type != "cpu" and key not in _there:
        if len(_there) >= 8:
            _there.clear()
        _there[key] = {name: ready[name] for name in LIMITS}
    goal = Goal(*sent[: len(goal)], problem.goal.final)
    ready |= {"state": problem.state.to_torch(device), "goal": goal, "loose": free, "limits": limits}
    return Ready(**(vars(problem) | ready))


def _tensor(value: Any) -> Tensor | None:
    return None if value is None else torch.as_tensor(value, dtype=torch.float32)


def _check(problem: Problem, given: dict[str, Tensor | None]) -> tuple[bool, tuple]:
    """(whether any action within the bounds may follow any other, the limits as numbers); InputError for what can't be
    planned with."""
    batch, (dims,) = problem.state.batch, given["action_low"].shape[-1:] or (0,)
    shapes = {"action_low": (dims,), "action_high": (dims,), "rate_limit": (dims,), "last_action": (batch, dims)}
    if given["warm_start"] is not None:
        shapes["warm_start"] = (batch, problem.horizon, dims)
    if given["proposals"] is not None:
        shapes["proposals"] = (batch, *given["proposals"].shape[1:2], problem.horizon, dims)
    for name, shape in shapes.items():
        if tuple(given[name].shape) != shape:
            raise InputError(f"problem.{name}: shape {tuple(given[name].shape)}; need {shape}")
    values = {name: given[name].flatten().tolist() for name in LIMITS}  # so few that nothing is as fast as plain numbers
    for name, numbers in values.items():
        if not all(map(math.isfinite, numbers)):
            raise InputError(f"problem.{name}: has NaN or infinite values")
    low, high, rate, last = values.values()
    if any(a > b for a, b in zip(low, high, strict=True)):
        raise InputError("problem.action_low is above action_high; give bounds with low <= high")
    if min(rate) <= 0:
        raise InputError("problem.rate_limit must be > 0 for every action")
    free = all(problem.dt * change >= 1.01 * (b - a) for change, a, b in zip(rate, low, high, strict=True))
    free = free and all(a <= value <= b for value, a, b in zip(last, low * batch, high * batch, strict=True))
    return free, tuple(map(tuple, values.values()))


def _normal(value: Any) -> Any:
    """`value` with every tensor in it that was made in inference mode copied; anything else is shared."""
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if is_dataclass(value):
        return replace(value, **{each.name: _normal(getattr(value, each.name)) for each in fields(value)})
    return value
