"""How the processes talk: through sockets, not through memory that a frozen process could keep locked.

Over Fast DDS's shared memory a process that is frozen at the wrong moment (SIGSTOP, a debugger) silences everybody who sends to
it.  ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST, the usual way to stay off the network, always adds shared memory; so here it is
replaced by a profile that listens on the loopback interface only (`config/fastdds_loopback.xml`), which does both.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

from objective_agent import resources
from objective_agent.types import InputError

PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
RANGE, OLD_RANGE, BUILTIN = "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY", "FASTDDS_BUILTIN_TRANSPORTS"
LOOPBACK, LARGE = "fastdds_loopback.xml", "fastdds.xml"


def choose(environment: MutableMapping[str, str], images: bool = False) -> str:
    """Sets the transport of the processes that get this environment, before they start rclpy; says which it is.

    `images`: large camera images will come from processes of others, so shared memory, enlarged, is the lesser evil.  A profile
    file of the user's own, and another middleware than Fast DDS, are left as they are.
    """
    if not environment.get("RMW_IMPLEMENTATION", "rmw_fastrtps").startswith("rmw_fastrtps"):
        return f"as {environment['RMW_IMPLEMENTATION']} does"
    for name in PROFILES:
        if environment.get(name):
            return "UDPv4, this machine only" if is_shipped(environment[name], LOOPBACK) else f"as {name} says"
    if environment.get(RANGE, "").upper() == "LOCALHOST" or environment.get(OLD_RANGE) == "1":
        return stay_here(environment)
    if images:
        profile = _path(LARGE)
        if profile is not None:
            environment[PROFILES[0]] = str(profile)
        return "shared memory and UDPv4"
    environment.setdefault(BUILTIN, "UDPv4")
    return environment[BUILTIN]


def stay_here(environment: MutableMapping[str, str]) -> str:
    """Nothing reaches the network."""
    profile = _path(LOOPBACK)
    if profile is None:  # a broken installation: rather shared memory than the network
        environment[RANGE] = "LOCALHOST"
        return "UDPv4 and shared memory, this machine only"
    if OLD_RANGE in environment:
        environment[OLD_RANGE] = "0"
    environment |= {PROFILES[0]: str(profile), RANGE: "SYSTEM_DEFAULT"}
    return "UDPv4, this machine only"


def is_shipped(profile: str, name: str) -> bool:
    """Whether the file `profile` is the one that ships under `name`."""
    ours = _path(name)
    try:
        return ours is not None and Path(profile).samefile(ours)
    except OSError:
        return False


def _path(name: str) -> Path | None:
    try:
        return Path(os.fspath(resources.resource("config", name)))
    except InputError:
        return None
