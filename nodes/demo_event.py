"""The demo's impossible event: on the way to the second goal a wall appears across the way, and after some seconds it is gone.

Nobody of the agent is told; what it makes of it is what the world model says (`surprise`), and what the robot then does.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from std_srvs.srv import SetBool

from objective_agent_nodes.demo_watch import Watch

GOAL = 1
"""The event belongs to the way to this goal (counted from 0), or to a later one where this one has no room for it."""
DRIVEN, MOVING, STRAIGHT = 1.2, 0.35, 0.3
"""It comes when the robot has driven this far towards the goal (m), this fast (m/s), turning no faster than this (rad/s)."""
STAYS = 1.5
"""Seconds until the wall is gone again: before the robot has gone far on the long way round, for its odometry drifts."""
PATIENCE = 0.1
"""Seconds between two tries."""


class WallEvent:
    """`step` it often while the robot drives; the recorder is told."""

    def __init__(self, watch: Watch, say: Callable[[str, str], None]):
        self._watch, self._say = watch, say
        self._client = watch.create_client(SetBool, "simulator/set_wall")
        self._asked = None
        self._tried = self._since = 0.0
        self.up, self.happened = False, False

    def step(self, index: int) -> None:
        """`index`: the goal that is driven to."""
        if self._asked is not None:
            self._listen()
        elif self.up:
            if time.monotonic() - self._since > STAYS:
                self._ask(False)
        elif not self.happened and index >= GOAL and self._due() and time.monotonic() - self._tried > PATIENCE:
            self._ask(True)

    def _due(self) -> bool:
        gate = self._watch.gate.fresh()
        speed, turn = gate.get("v_out"), gate.get("w_out")
        known = isinstance(speed, float) and isinstance(turn, float)
        return known and self._watch.driven > DRIVEN and speed > MOVING and abs(turn) < STRAIGHT

    def _ask(self, up: bool) -> None:
        self._tried = time.monotonic()
        if self._client.service_is_ready():
            self._asked = (up, self._client.call_async(SetBool.Request(data=up)))

    def _listen(self) -> None:
        up, future = self._asked
        if not future.done():
            if time.monotonic() - self._tried > 1.0:  # lost; ask again
                self._asked = None
            return
        self._asked = None
        answer = future.result()
        if answer is None or not answer.success:
            return
        self.up, self._since = up, time.monotonic()
        self._watch.tell("wall", up=up)
        if up:
            self.happened = True
            self._say("a wall appears across the robot's way", "bold magenta")
        else:
            self._say("the wall is gone", "magenta")
