"""The gate before everything else on a busy machine: real-time scheduling where the system permits it."""

from __future__ import annotations

import os

PRIORITY = 10
"""Of 99: above every ordinary process, below the kernel's own threads."""


def raise_priority() -> str:
    """Puts this thread, and those it will start, on the first-in-first-out scheduler; says what came of it.

    Needs CAP_SYS_NICE or an rtprio limit (`/etc/security/limits.d`); without it the gate runs as an ordinary process.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except (AttributeError, OSError) as error:
        return f"ordinary ({error}; allow rtprio {PRIORITY} for its user)"
    return "real-time"


def raise_observer() -> None:
    """The same for all present threads of this process, but not for processes that it starts: a measurement's own clockwork."""
    for thread in os.listdir("/proc/self/task"):
        try:
            os.sched_setscheduler(int(thread), os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY - 1))
        except (AttributeError, OSError):
            return
