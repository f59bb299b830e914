"""The contracts between the modules of the architecture (LeCun 2022, "A Path Towards Autonomous Machine Intelligence", fig. 2).

Each module is a small Protocol with one main method.  Every implementation is a plugin (see `plugins.py`): a class with a
`Config` (a pydantic model) and a constructor `__init__(self, config, robot)`.  Shapes: see `types.py`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from objective_agent.config import Configuration, Task
from objective_agent.types import (
    Array,
    Command,
    Goal,
    Observation,
    Plan,
    Problem,
    Representation,
    Trajectory,
    WorldState,
)


@runtime_checkable
class Encoder(Protocol):
    """Perception: estimates the current state of the world, as a representation."""

    model: str
    """Which model makes the representations: a sha256, or plugin name and version for models without weights."""
    tokens: int
    features: int

    def encode(self, observation: Observation) -> Representation:
        """Tokens [B, T, D].  Works with a modality missing; raises InputError for an observation it can't use."""
        ...


@runtime_checkable
class WorldModel(Protocol):
    """Predicts in representation space what actions lead to."""

    model: str

    def rollout(self, state: WorldState, actions: Array, futures: int = 1, dt: float = 0.2) -> Trajectory:
        """Imagines `actions` [B, N, H, A] from `state` in K = `futures` futures each."""
        ...

    def advance(self, state: WorldState, until: float) -> WorldState:
        """The state predicted for time `until` (s) under the commands already sent: latency is part of the state."""
        ...


@runtime_checkable
class Objective(Protocol):
    """One named energy term, >= 0, low = good; the caller weights it and averages it over the WHOLE trajectory."""

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        """[B, N, K, H]"""
        ...


@runtime_checkable
class Guardrail(Protocol):
    """A hard constraint on imagined trajectories.  Not a weight: no goal can argue it away."""

    def margin(self, trajectory: Trajectory) -> Array:
        """[B, N, K, H]; >= 0 means allowed."""
        ...


@runtime_checkable
class Reachability(Protocol):
    """Learned goal-conditioned quasimetric on representations."""

    def steps(self, state: Array, goal: Array) -> Array:
        """How many steps from each state [B, T, D] to each goal [B, T, D]: [B], >= 0."""
        ...


@runtime_checkable
class Critic(Protocol):
    """Learned expectation of intrinsic energy beyond the horizon."""

    def value(self, state: Array) -> Array:
        """[B], from representations [B, T, D]."""
        ...


@runtime_checkable
class Optimizer(Protocol):
    """The actor's Mode-2: searches for the actions of least energy among the feasible ones."""

    def solve(self, problem: Problem, deadline: float) -> Plan:
        """The best feasible plan found by `deadline` (time.perf_counter() s; inf: run to convergence or the last iteration).

        Always returns.  When nothing feasible was found the plan is the braking plan and says so.
        """
        ...

    def reset(self, seed: int | None = None) -> None:
        """Forgets earlier problems; with a seed, makes what follows repeatable."""
        ...


@runtime_checkable
class Policy(Protocol):
    """The actor's Mode-1: proposes actions without search."""

    def propose(self, state: WorldState, goal: Goal, n: int) -> Array:
        """[B, n, H, A]"""
        ...


@runtime_checkable
class ShortTermMemory(Protocol):
    """Estimates the present from what came and from the commands that were really sent."""

    def command_sent(self, command: Command) -> None: ...

    def update(self, representation: Representation, observation: Observation) -> WorldState: ...

    def reset(self) -> None: ...


@runtime_checkable
class RouteMemory(Protocol):
    """Remembers where one can go."""

    def update(self, observation: Observation) -> None: ...

    def route(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray | None:
        """Way points [n, 2] in odom from `start` to `goal` (both [2]), None when no way is known to exist."""
        ...

    def reset(self) -> None: ...


@runtime_checkable
class Configurator(Protocol):
    """Turns a task and the modules' parameters into one numbered immutable snapshot."""

    def configure(self, task: Task, status: dict) -> Configuration: ...
