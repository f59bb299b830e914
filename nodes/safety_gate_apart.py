"""What keeps the gate apart from everybody else's troubles: real-time scheduling, and no memory shared with them.

Fast DDS's shared-memory transport takes locks that lie in memory shared with the receiver: a process that is frozen (SIGSTOP, a
debugger) at the wrong moment keeps others from sending until it goes on. So the gate talks through sockets alone.
"""

from __future__ import annotations

import os

from objective_agent_nodes import transport

PRIORITY = 10
"""Of 99: above every ordinary process, below the kernel's own threads."""


def stand_apart() -> str:
    """Before rclpy starts: sockets only, real-time priority; says what came of both."""
    return f"scheduling {raise_priority()}, transport {sockets_only()}"


def sockets_only() -> str:
    """Turns the shared-memory transport off for this process, where that can be done; says what is so.

    A profile file of the user's own is left as it is.
    """
    for name in transport.PROFILES:
        if transport.is_shipped(os.environ.get(name, ""), transport.LARGE):
            del os.environ[name]
    if os.environ.get(transport.BUILTIN, "").upper() != "UDPV4":
        os.environ.pop(transport.BUILTIN, None)
    said = transport.choose(os.environ)
    return f"{said}; it should leave shared memory out" if said.startswith("as ") else said


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
