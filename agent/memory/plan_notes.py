"""Rows for the log of plans, put together from what comes apart: a decision, and later what was really done.

Memory hears of a decision when it is made and of what the robot was then told when the command has left the gate; a row is
whole, and handed on, when the next decision comes (or the episode ends).  So what was being written when everything stopped is
one row.  Only what was searched for is logged: habits must not learn from themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from objective_agent.memory.plans import PlanRow
from objective_agent.types import Command, WorldState

SEARCHED = ("optimizer", "braking")
"""Modes of `types.Plan` in which Mode-2 made the plan, or nobody found one."""


@dataclass(frozen=True)
class Decided:
    """What the actor made of a state: the plan `actions` [H, 2], its worth, who acted, the subgoal `position` [2] in odom."""

    actions: np.ndarray
    energy: float
    feasible: bool
    mode: str
    position: np.ndarray


class PlanNotes:
    """`decided`, `sent`, `decided`, ...: `write` gets each row when it is whole."""

    def __init__(self, write: Callable[[PlanRow], None], run: str):
        self._write, self._run = write, run
        self.begin(0)

    def begin(self, episode: int) -> None:
        """A new task, or a new life: the steps count from 0."""
        self._episode, self._step = episode, 0
        self._waiting: PlanRow | None = None

    def sent(self, command: Command) -> None:
        """A command as it left the gate."""
        if self._waiting is not None and np.isfinite([command.v, command.w]).all():
            self._waiting = replace(self._waiting, done=np.array([command.v, command.w], np.float32))

    def decided(self, state: WorldState, decided: Decided) -> None:
        self.flush()
        if decided.mode not in SEARCHED:
            return
        self._waiting = PlanRow(
            run=self._run,
            episode=self._episode,
            step=self._step,
            stamp=state.stamp,
            state=np.asarray(state.representation[0], np.float32),
            plan=np.asarray(decided.actions, np.float32),
            done=np.full(2, np.nan, np.float32),  # until a command was sent
            energy=decided.energy,
            feasible=decided.feasible,
            mode=decided.mode,
            velocity=np.asarray(state.velocity[0], np.float32),
            pose=np.asarray(state.pose[0], np.float32),
            position=np.asarray(decided.position, np.float32),
        )
        self._step += 1

    def flush(self) -> None:
        """Hands on the row that waits, unless nothing was done yet."""
        row, self._waiting = self._waiting, None
        if row is not None and np.isfinite(row.done).all():
            self._write(row)
