"""Mode-1 at its simplest: a plan that was imagined and checked is followed on, while what it predicted comes true.

    agreement   | observed pose - pose predicted for this moment |  <=  a share of surprise's alarm levels
    check       every guardrail, in every future, on what is left of the plan: its poses moved to where the robot really is,
                the obstacle points of the newest scan, the read-outs that were imagined for those steps

The first action of what is left is what was imagined for this moment (an action holds for its whole step, no mean of two).
For how long that may go on is a parameter (`follow`): then the plan is imagined anew.  NumPy alone: some 0.3 ms against the
search's 20 ms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from objective_agent.actor.answer import saved
from objective_agent.config import Configuration, Task
from objective_agent.cost.distance import KEY
from objective_agent.surprise import errors
from objective_agent.types import HABIT, NamedGuardrail, Plan, Trajectory, WorldState, to_base, to_odom, wrap_angle

FOLLOWED = "followed"

TRIES, LEAST = 5, 0.5
"""After so many plans in a row that saved too little each is followed for at least this share of `follow`: where thinking did
not help, thinking all the time won't either."""


@dataclass(frozen=True)
class Begun:
    """A plan under way: when its first action takes effect, the state that it was made from, and the task."""

    plan: Plan
    effect: float
    state: WorldState
    task: Task
    subgoal: np.ndarray | None = None
    settings: object = None
    """The planner's when it was made: modules and world model."""
    tried: int = 0
    """How many plans in a row before this one saved too little."""

    @cached_property
    def saving(self) -> float:
        """Which share of what standing still costs the plan saves; 1 where that is unknown."""
        return 1.0 if self.plan.candidate_energy is None else float(saved(self.plan)[0])

    def trust(self, gain: float) -> float:
        """For which share of `follow` the plan is followed: all where it saves twice `gain` of what standing still costs.

        Where no plan saves much the place is a hard one.  The next search, which begins with this plan, finds a better one
        there; who follows what was the best of one moment for long turns to and fro.
        """
        return 1.0 if gain == 0 else min(1.0, max(LEAST if self.tried >= TRIES else 0.0, self.saving / (2 * gain)))

    def predicted(self, stamp: float) -> np.ndarray:
        """The pose [3] that was imagined for `stamp`, mean of the futures, linear between the steps."""
        times, poses = self._imagined
        return np.array([np.interp(stamp, times, values) for values in poses])

    @cached_property
    def _imagined(self) -> tuple[np.ndarray, np.ndarray]:
        """(times [1 + H], poses [3, 1 + H] without jumps of the angle), the state's own first."""
        imagined, start = self.plan.imagined, self.plan.start
        times = np.concatenate([[min(self.state.stamp, start)], start + imagined.dt * (1 + np.arange(imagined.poses.shape[3]))])
        begin = np.asarray(self.state.pose[0], float)
        poses = np.concatenate([begin[None], np.asarray(imagined.poses[0, 0]).mean(0)])
        poses[:, 2] = begin[2] + np.cumsum(np.concatenate([[0.0], wrap_angle(np.diff(poses[:, 2]))]))
        return times, np.ascontiguousarray(poses.T)


def follow(
    begun: Begun, configuration: Configuration, state: WorldState, effect: float, guardrails: list[NamedGuardrail]
) -> Plan | None:
    """What is left of `begun` at `state`, for a command that takes effect at `effect`; None where it must not be followed."""
    plan, actor = begun.plan, configuration.actor
    elapsed = effect - begun.effect
    if plan.imagined is None or plan.mode == "braking" or begun.task != configuration.task:
        return None
    # a little before its time, too: what is followed is out sooner than what is searched for
    if (
        not -plan.dt < elapsed <= actor.follow * begun.trust(actor.gain) + 1e-6
        or state.model != begun.state.model
        or state.points is None
    ):
        return None
    where = begun.predicted(state.stamp)
    expected = replace(state, pose=where[None])
    if not errors(expected, state, configuration.world_model, 0.0)["surprise"] <= actor.agreement:
        return None
    done = int(elapsed / plan.dt + 1e-6)
    over = max(done, int(np.floor((state.stamp - plan.start) / plan.dt + 1e-6)))
    if over >= plan.actions.shape[1]:
        return None
    left = rest(plan.imagined, over, where, state)
    margins = {named.name: np.asarray(named.guardrail.margin(left)) for named in guardrails}
    if not all((margin >= 0).all() for margin in margins.values()):
        return None
    return replace(
        plan,
        actions=plan.actions[:, done : done + left.poses.shape[3]],
        margins={name: margin.min((1, 2, 3)) for name, margin in margins.items()},
        poses=left.poses[:, 0],
        iterations=0,
        evaluations=0,
        stop_reason=HABIT,
        mode=FOLLOWED,
        start=plan.start + over * plan.dt,
        promises={name: value[:, over:] for name, value in plan.promises.items()},
        candidates=None,
        candidate_energy=None,
        candidate_feasible=None,
        modes=None,
        mode_energy=None,
        imagined=None,
    )


def rest(imagined: Trajectory, over: int, predicted: np.ndarray, state: WorldState) -> Trajectory:
    """What was imagined from step `over` on, moved as far as `state` is from the pose [3] `predicted` for it; NumPy arrays."""

    def later(value: Any) -> Any:
        return None if value is None else _array(value)[:, :, :, over:]

    pose, poses = np.asarray(state.pose[0], float), _array(imagined.poses)[:, :, :, over:]
    moved = to_odom(pose, to_base(predicted, poses[0, 0, ..., :2]))
    turned = poses[0, 0, ..., 2] + (pose[2] - predicted[2])
    return replace(
        imagined,
        state=state,
        actions=_array(imagined.actions)[:, :, over:],
        poses=np.concatenate([moved, turned[..., None]], -1)[None, None].astype(np.float32),
        velocities=later(imagined.velocities),
        representations=later(imagined.representations),
        readouts={name: later(value) for name, value in imagined.readouts.items() if name != KEY},
        standing={name: later(value) for name, value in imagined.standing.items()},
        start=None if imagined.start is None else imagined.start + over * imagined.dt,
    )


def _array(value: Any) -> np.ndarray:
    return value.cpu().numpy() if hasattr(value, "cpu") else np.asarray(value)
