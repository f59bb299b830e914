"""What keeps the gate apart from everybody else's troubles: real-time scheduling, and no memory shared with them.

Fast DDS's shared-memory transport takes locks that lie in memory shared with the receiver: a process that is frozen (SIGSTOP, a
debugger) at the wrong moment keeps others from sending until it goes on. So the gate talks through sockets alone, except where
the middleware does not let it: with ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST rmw_fastrtps always adds shared memory.
"""

from __future__ import annotations

import os
from pathlib import Path

from objective_agent import resources
from objective_agent.types import InputError

PRIORITY = 10
"""Of 99: above every ordinary process, below the kernel's own threads."""


PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def stand_apart() -> str:
    """Before rclpy starts: sockets only, real-time priority; says what came of both."""
    return f"scheduling {raise_priority()}, transport {sockets_only()}"


def sockets_only() -> str:
    """Turns the shared-memory transport off for this process, where that can be done; says what is so.

    A profile file of the user's own is left as it is.
    """
    for name in PROFILES:
        given = os.environ.get(name)
        if given and not _shipped(given):
            return f"as {name}={given} says; it should leave shared memory out"
        os.environ.pop(name, None)
    os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
    if os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "LOCALHOST":
        return "UDPv4 and shared memory (because of ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST)"
    return "UDPv4"


def _shipped(profile: str) -> bool:
    try:
        return Path(profile).samefile(resources.resource("config", "fastdds.xml"))
    except (OSError, InputError):
        return False


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
