"""Memory's log of plans: what Mode-1 is distilled from (`objective_agent.memory.plans`), written while the robot drives.

    state, state/odom, actor/trajectory, actor/status, cmd_vel, configuration  ->  the file of the parameter `plans`

A row is what the actor knew, what it found, and what the gate then let pass.  Whatever goes wrong with the file is said, and
costs rows, never a decision: a thread of its own writes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import String
from trajectory_msgs.msg import MultiDOFJointTrajectory

from objective_agent.memory.plan_notes import Decided, PlanNotes
from objective_agent.memory.plans import PlanLog, PlanRow
from objective_agent.types import InputError, WorldState
from objective_agent_nodes import convert, diagnostics, qos
from objective_agent_nodes.matching import StampMatcher
from objective_agent_nodes.snapshot import SentCommands, StateReader, read

WAITING, BYTES = 1000, 64 * 2**20
"""Rows that may wait for the disk, and the memory that they may take (a row of its own any); more are lost."""
CLOSING = 5.0
"""How long the end is put off for a disk that does not answer, s."""


class Waiting:
    """Rows on their way to the thread that writes them, oldest first."""

    def __init__(self) -> None:
        self._rows: deque[tuple[str, float, PlanRow]] = deque()
        self._bytes = 0
        self._wake, self._closed = threading.Condition(), False

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, model: str, dt: float, row: PlanRow) -> bool:
        """Whether there was room."""
        with self._wake:
            if len(self._rows) >= WAITING or (self._rows and self._bytes + _bytes(row) > BYTES):
                return False
            self._bytes += _bytes(row)
            self._rows.append((model, dt, row))
            self._wake.notify()
            return True

    def take(self) -> tuple[str, float, PlanRow] | None:
        """The oldest, as soon as there is one; None after the last one of a closed queue."""
        with self._wake:
            self._wake.wait_for(lambda: self._rows or self._closed)
            if not self._rows:
                return None
            job = self._rows.popleft()
            self._bytes -= _bytes(job[2])
            return job

    def close(self) -> None:
        """What waits can still be taken."""
        with self._wake:
            self._closed = True
            self._wake.notify()


def _bytes(row: PlanRow) -> int:
    return sum(value.nbytes for value in vars(row).values() if isinstance(value, np.ndarray))


class PlanKeeper:
    """Made in the memory node's `setup`; with an empty `path` it does nothing."""

    def __init__(self, node, path: str):
        self._path, self._node = path, node
        self.logged = self.lost = 0
        if not path:
            return
        self._notes = PlanNotes(self._keep, f"{node.get_namespace()} {time.time_ns()}")
        self._matcher = StampMatcher(("state", "plan", "status"))
        self._task, self._episode, self._dt, self._newest = None, 0, 0.2, 0.0
        self._waiting = Waiting()
        self._thread = threading.Thread(target=self._write, name="plans", daemon=True)
        self._thread.start()
        node.keep(lambda keeper: keeper.close(), self)
        StateReader(node, self._on_state, SentCommands(), points=False)
        node.listen(MultiDOFJointTrajectory, "actor/trajectory", self._on_plan)
        node.listen(DiagnosticStatus, "actor/status", self._on_status)
        stamped = convert.command_type(node.common.enable_stamped_cmd_vel)
        node.listen(stamped, "cmd_vel", lambda m: self._notes.sent(convert.command_from(m, node.now())), qos.HISTORY)
        node.listen(String, "configuration", self._on_configuration, qos.LATCHED, always=True)

    @property
    def values(self) -> dict[str, object]:
        return {"plans_logged": self.logged, "plans_lost": self.lost} if self._path else {}

    def close(self) -> None:
        """Returns when all that was heard is in the file, and the file is closed; can be called twice."""
        self._notes.flush()
        self._waiting.close()
        self._thread.join(CLOSING)
        if self._thread.is_alive():
            left = f"{len(self._waiting)} rows still wait for the disk; they are lost if the process ends now"
            self._node.get_logger().error(f"{self._path}: log of plans: {left}")

    def _begin(self) -> None:
        self._notes.flush()
        self._episode += 1
        self._notes.begin(self._episode)
        self._matcher.clear()

    def _on_configuration(self, message: String) -> None:
        configuration = read(message)
        self._dt = configuration.actor.dt
        if configuration.task != self._task:
            self._task = configuration.task
            self._begin()

    def _on_state(self, state: WorldState, exact) -> None:
        if state.stamp < self._newest:  # time went back: what follows is another episode
            self._begin()
        self._newest = state.stamp
        self._add("state", convert.nanoseconds(exact), state)

    def _on_plan(self, message: MultiDOFJointTrajectory) -> None:
        if not message.points or not all(point.velocities for point in message.points):
            raise InputError("a plan needs a velocity at every point")
        actions = [(point.velocities[0].linear.x, point.velocities[0].angular.z) for point in message.points]
        self._add("plan", convert.nanoseconds(message.header.stamp), np.array(actions, np.float32))

    def _on_status(self, message: DiagnosticStatus) -> None:
        values = diagnostics.values(message)
        with suppress(KeyError, ValueError):  # a decision without a plan, or without a place to go to
            position = np.array([float(values["subgoal_x"]), float(values["subgoal_y"])], np.float32)
            found = (float(values["energy"]), values["feasible"] == "true", values["mode"], position)
            self._add("status", int(values["observation"]), found)

    def _add(self, part: str, stamp: int, item) -> None:
        parts = self._matcher.add(part, stamp, item)
        if parts is not None:
            self._notes.decided(parts["state"], Decided(parts["plan"], *parts["status"]))
            self._model = parts["state"].model

    def _keep(self, row: PlanRow) -> None:
        self.lost += not self._waiting.add(self._model, self._dt, row)

    def _write(self) -> None:
        """In its own thread, which owns the file."""
        log: PlanLog | None = None
        while (job := self._waiting.take()) is not None:
            model, dt, row = job
            try:
                if log is not None and log.encoder != model:
                    log.close()
                    log = None
                if log is None:
                    log = PlanLog(self._path, model, {"dt": dt})
                log.append(row)
                self.logged += 1
            except Exception as error:  # whatever it is, the next row may be luckier
                self.lost += 1
                self._node.refuse(str(error))
        if log is not None:
            log.close()
