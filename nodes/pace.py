"""How fast the actor is, measured: what a decision takes, and what its command then needs until it has left the gate.

    latency = seconds of such a decision + hand-over                           what a plan counts on, besides the actuator delay
    budget  = min(deadline, reaction - age of the observation - hand-over)     for the search

Decisions of a kind are averaged: to follow a plan takes a millisecond, to search for one many times as long, and their mean is
the time of neither.  Who will act is not known when the moment is needed from which a plan is imagined; there a search is
counted on, unless nobody ever searches (mode policy).

The hand-over ends when the actor hears the first command that left the gate after its own was published.  On the steady clock:
simulated time only moves in steps that are longer.
"""

from __future__ import annotations

import math
import time
from collections import deque

from objective_agent.config import ActorParameters
from objective_agent.following import FOLLOWED
from objective_agent.types import HABIT, Plan

SEARCHED, POLICY = "searched", "policy"
SHARE = 0.1
"""Of a new measurement in what is known."""
LONGEST = 0.2
"""A command that takes longer was not on its way all the time, s."""


class Pace:
    """The planner's thread calls `decided`, the callbacks' thread `left`."""

    def __init__(self, deadline: float):
        """Until it is measured a decision takes `deadline` seconds, and no time where a plan is followed."""
        self._unknown = {SEARCHED: deadline, POLICY: deadline, FOLLOWED: 0.0}
        self._deciding: dict[str, float] = {}
        self.handover = 0.0
        self._published = math.inf
        self._times: deque[float] = deque(maxlen=60)
        self.misses = self.count = 0

    def latency(self, mode: str) -> float:
        """Seconds until a plan that is yet to be imagined will have left the gate, where `mode` says who may act."""
        return self._takes(POLICY if mode == "policy" else SEARCHED) + self.handover

    @property
    def following(self) -> float:
        """... until the next action of the plan under way will."""
        return self._takes(FOLLOWED) + self.handover

    def _takes(self, kind: str) -> float:
        return self._deciding.get(kind, self._unknown[kind])

    def budget(self, actor: ActorParameters, age: float) -> float:
        """Seconds that the search has for an observation that is `age` seconds old."""
        return min(actor.deadline, actor.reaction - age - self.handover)

    def decided(self, plan: Plan | None, seconds: float, missed: bool) -> None:
        """A command is about to be published; `seconds` were spent on its plan, None where nothing was planned."""
        self._published = time.monotonic()
        self._times.append(self._published)
        self.count += 1
        self.misses += missed
        if plan is not None:
            habit = FOLLOWED if plan.mode == FOLLOWED else POLICY
            kind = habit if plan.stop_reason == HABIT else SEARCHED
            self._deciding[kind] = self._takes(kind) + SHARE * (seconds - self._takes(kind))

    def left(self) -> None:
        """A command that left the gate was heard."""
        took, self._published = time.monotonic() - self._published, math.inf
        if 0 <= took <= LONGEST:
            self.handover += SHARE * (took - self.handover)

    def milliseconds(self, mode: str) -> dict[str, float]:
        """For the diagnostics: what a plan counts on, and what it is made of."""
        kinds = {f"{kind}_ms": 1000 * seconds for kind, seconds in self._deciding.copy().items()}
        return {"latency_ms": 1000 * self.latency(mode), "handover_ms": 1000 * self.handover, **kinds}

    def rate(self) -> float:
        """Decisions per second over the last 60."""
        times = list(self._times)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
