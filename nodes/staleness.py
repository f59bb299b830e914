"""Is this input fresh?  Age by header stamp in ROS time AND by arrival on the steady clock.

The stamp catches data that was old when it came (a driver that repeats itself, a slow network); the arrival catches a clock
that stands still with the data.  A stream that went stale counts as fresh again after several good messages in a row.
"""

from __future__ import annotations

import math

FUTURE = 0.05
"""A stamp further ahead of the clock than this is refused, s."""
SIMULATED_FUTURE = 1.0
"""The same under simulated time, s."""


class Freshness:
    """Watches one topic.

    topic: named in reasons.  limit: greatest age of the newest good message, s.  arrival_limit: the same on the steady clock
    (default: `limit`).  resume: good messages in a row after which a stale stream is fresh again.
    """

    def __init__(self, topic: str, limit: float, arrival_limit: float | None = None, resume: int = 3, future: float = FUTURE):
        self.topic, self.limit, self.resume, self.future = topic, limit, resume, future
        self.arrival_limit = limit if arrival_limit is None else arrival_limit
        self.rejected = 0
        self.rejection = ""
        self.clear()

    def clear(self) -> None:
        """Forgets everything received; the stream starts anew (after a jump of simulated time, a deactivation)."""
        self.stamp = self.arrival = -math.inf
        self._good = 0

    def accept(self, stamp: float, now: float, arrival: float) -> bool:
        """Notes a message (`stamp` s; `now` ROS time, `arrival` steady clock); False when it must not be used."""
        if not math.isfinite(stamp) or stamp <= 0:
            return self._refuse("has stamp 0; the driver must stamp its messages")
        if stamp > now + self.future:
            return self._refuse(f"is stamped {stamp - now:.3f} s in the future; synchronise the clocks")
        if stamp <= self.stamp:
            return self._refuse(f"has a stamp {self.stamp - stamp:.3f} s before the last one's; stamps must increase")
        if self.stale(now, arrival):
            self._good = 0
        self.stamp, self.arrival = stamp, arrival
        self._good += 1
        return True

    def _refuse(self, why: str) -> bool:
        self.rejected += 1
        self.rejection = f"{self.topic} {why}"
        return False

    def age(self, now: float, arrival: float) -> float:
        """Seconds since the newest good message, by whichever clock says more; inf when there was none."""
        return max(now - self.stamp, arrival - self.arrival)

    def stale(self, now: float, arrival: float) -> bool:
        """True when the newest good message is too old by either clock."""
        return now - self.stamp > self.limit or arrival - self.arrival > self.arrival_limit

    def problem(self, now: float, arrival: float) -> str:
        """Why the stream can't be used at this moment, naming topic and age; empty when it is fresh."""
        if not math.isfinite(self.stamp):
            return f"no {self.topic} received" + (f" ({self.rejected} refused: {self.rejection})" if self.rejected else "")
        if self.stale(now, arrival):
            return f"{self.topic} is {self.age(now, arrival):.2f} s old (limit {self.limit:.2f} s)"
        if self._good < self.resume:
            return f"{self.topic} is coming back ({self._good} of {self.resume} fresh messages)"
        return ""
