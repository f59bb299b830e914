"""A thread that works on the newest job and lets the older ones go: what thinks must not make callbacks wait."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any


class NewestFirst:
    """`work(job)` runs in the thread for the newest job given, on average at most once per `period()` seconds.

    A turn is due one period after the one before was due, not after it came: jobs that come once per period, give or take half
    of one, then never wait.  Counted from when it came, one late job would make all later ones wait as long.  `failed(error)`
    gets what `work` raises; the thread lives on.
    """

    def __init__(self, work: Callable[[Any], None], failed: Callable[[Exception], None], period: Callable[[], float]):
        self._work, self._failed, self._period = work, failed, period
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._job: Any = None
        self.stopping = True

    def give(self, job: Any) -> None:
        with self._wake:
            self._job = job
            self._wake.notify()

    def start(self) -> None:
        self.stopping, self._job = False, None
        self._thread = threading.Thread(target=self._run, name="planner", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the job that it is doing; can be called twice."""
        with self._wake:
            self.stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(5.0)
            self._thread = None

    def _run(self) -> None:
        due = -math.inf
        while True:
            with self._wake:
                rest = due - time.perf_counter()
                if rest > 0:
                    self._wake.wait_for(lambda: self.stopping, rest)
                self._wake.wait_for(lambda: self.stopping or self._job is not None)
                if self.stopping:
                    return
                job, self._job = self._job, None
            period = self._period()
            due = max(due, time.perf_counter() - 0.5 * period) + period
            try:
                self._work(job)
            except Exception as error:
                if not self.stopping:  # else a publisher was taken away while it worked
                    self._failed(error)
