"""How fast the actor is, measured: what a decision takes, and what its command then needs until it has left the gate.

    latency = seconds of a decision + hand-over                                what a plan counts on, besides the actuator delay
    budget  = min(deadline, reaction - age of the observation - hand-over)     for the search

The hand-over ends when the actor hears the first command that left the gate after its own was published.  On the steady clock:
simulated time only moves in steps that are longer.
"""

from __future__ import annotations

import math
import time
from collections import deque

from objective_agent.config import ActorParameters

SHARE = 0.1
"""Of a new measurement in what is known."""
LONGEST = 0.2
"""A command that takes longer was not on its way all the time, s."""


class Pace:
    """The planner's thread calls `decided`, the callbacks' thread `left`."""

    def __init__(self, deadline: float):
        """Until it is measured a decision takes `deadline` seconds."""
        self._deciding, self.handover = deadline, 0.0
        self._published = math.inf
        self._times: deque[float] = deque(maxlen=60)
        self.misses = self.count = 0

    @property
    def latency(self) -> float:
        return self._deciding + self.handover

    def budget(self, actor: ActorParameters, age: float) -> float:
        """Seconds that the search has for an observation that is `age` seconds old."""
        return min(actor.deadline, actor.reaction - age - self.handover)

    def decided(self, seconds: float | None, missed: bool) -> None:
        """A command is about to be published, planned for `seconds`, or None where nothing was planned."""
        self._published = time.monotonic()
        self._times.append(self._published)
        self.count += 1
        self.misses += missed
        if seconds is not None:
            self._deciding += SHARE * (seconds - self._deciding)

    def left(self) -> None:
        """A command that left the gate was heard."""
        took, self._published = time.monotonic() - self._published, math.inf
        if 0 <= took <= LONGEST:
            self.handover += SHARE * (took - self.handover)

    def rate(self) -> float:
        """Decisions per second over the last 60."""
        times = list(self._times)
        return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else 0.0
