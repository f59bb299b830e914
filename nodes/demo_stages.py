"""Where the time from a camera frame to its command goes, stage by stage, from a demo's recording alone.

Every message on the way carries its observation's stamp, so a frame is followed by its stamp from topic to topic; the gate says
with each command that leaves which observation it was made from.  Times are when the recorder heard of it (a process that gives
way to the others, so single ones come late).

    camera/image_raw -> representation     perception: waiting for its turn, encoding
    representation -> state                memory
    state -> cmd_vel_raw                   actor: waiting for its turn, advancing the state, the search
    cmd_vel_raw -> cmd_vel                 safety gate
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from objective_agent.visualization.bag import messages, status_values, typestore

TOPICS = ("camera/image_raw", "representation", "state", "cmd_vel_raw", "cmd_vel")
GATE = "safety_gate/state"
TOLERANCE = 2000
"""The gate's numbers are text in between, ns."""


def stages(mcap: str | Path) -> dict[str, dict[str, float]]:
    """ "from -> to" -> p50 and p99 in ms, over the frames that came through; empty when none did."""
    heard = {topic: {} for topic in TOPICS}
    left: list[tuple[int, int]] = []
    for topic, kind, time, data in messages(mcap):
        name = topic.lstrip("/")
        if name in heard:
            seconds, nanoseconds = struct.unpack_from("<iI", data, 4)  # every one of them begins with a header
            heard[name].setdefault(seconds * 10**9 + nanoseconds, time)
        elif name == GATE:
            origin = status_values(typestore().deserialize_cdr(data, kind)).get("command_stamp", np.nan)
            if isinstance(origin, float) and np.isfinite(origin):
                left.append((round(origin * 1e9), time))
    heard["cmd_vel"] = _first(left, np.array(sorted(heard["cmd_vel_raw"])))
    whole = [stamp for stamp in heard["cmd_vel"] if all(stamp in heard[topic] for topic in TOPICS)]
    if not whole:
        return {}
    times = np.array([[heard[topic][stamp] for topic in TOPICS] for stamp in whole]) / 1e6
    pairs = [*zip(range(len(TOPICS) - 1), range(1, len(TOPICS)), strict=True), (0, len(TOPICS) - 1)]
    return {f"{TOPICS[a]} -> {TOPICS[b]}": _quantiles(times[:, b] - times[:, a]) for a, b in pairs}


def _first(left: list[tuple[int, int]], stamps: np.ndarray) -> dict[int, int]:
    """When the first command made from each of the observations `stamps` left the gate."""
    found: dict[int, int] = {}
    for origin, time in left if len(stamps) else ():
        nearest = int(stamps[np.abs(stamps - origin).argmin()])
        if abs(nearest - origin) <= TOLERANCE:
            found.setdefault(nearest, time)
    return found


def _quantiles(values: np.ndarray) -> dict[str, float]:
    return {f"p{share}": round(float(np.percentile(values, share)), 1) for share in (50, 99)}
