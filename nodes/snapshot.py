"""What the consumers of `state` and `configuration` share: reading snapshots, putting states together, noting sent commands."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from nav_msgs.msg import Odometry
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Float64MultiArray, MultiArrayDimension, String

from objective_agent.config import Configuration, validate
from objective_agent.memory.delay import believable
from objective_agent.types import Command, InputError, WorldState
from objective_agent_nodes import convert, convert_state
from objective_agent_nodes.matching import StampMatcher

DELAY_AGE = 3.0
"""Memory says every second what it measured, s."""


def parse(text: str, where: str):
    """JSON, or an InputError in one line."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}") from None


def read(message: String) -> Configuration:
    """The configurator's numbered snapshot.  Raises ConfigurationError when it is not valid."""
    return validate(Configuration, parse(message.data, "configuration"), "configuration")


def labelled(values: dict[str, float]) -> Float64MultiArray:
    """One value per name; the names are the labels of the layout's dimensions."""
    message = Float64MultiArray(data=[float(value) for value in values.values()])
    message.layout.dim = [MultiArrayDimension(label=name, size=1, stride=1) for name in values]
    return message


class SentCommands:
    """The newest commands as they left the gate, oldest first."""

    def __init__(self, capacity: int = 64):
        self._commands: deque[Command] = deque(maxlen=capacity)

    def add(self, command: Command) -> None:
        """InputError for a command that is not finite; stamps that run backwards start over."""
        if not np.isfinite([command.stamp, command.v, command.w]).all():
            raise InputError(f"command ({command.v}, {command.w}) at {command.stamp} is not finite")
        if self._commands and command.stamp < self._commands[-1].stamp:
            self._commands.clear()
        self._commands.append(command)

    def clear(self) -> None:
        self._commands.clear()

    def newest(self) -> Command | None:
        return self._commands[-1] if self._commands else None

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Stamps [L] and values [1, L, 2]."""
        commands = list(self._commands)
        values = np.array([(command.v, command.w) for command in commands], np.float32).reshape(1, -1, 2)
        return np.array([command.stamp for command in commands], np.float64), values


class StateReader:
    """Puts `state`, `state/odom` and (with `points`) `state/points` of one stamp together and hands the WorldState on."""

    def __init__(self, node, callback: Callable[[WorldState, object], None], sent: SentCommands, points: bool = True):
        """`callback(state, stamp)`: the stamp is the message's own, exact."""
        self._callback, self._sent = callback, sent
        self.matcher = StampMatcher(("state", "odom", "points") if points else ("state", "odom"))
        node.listen(Image, "state", lambda message: self._add("state", message))
        node.listen(Odometry, "state/odom", lambda message: self._add("odom", message))
        if points:
            node.listen(PointCloud2, "state/points", lambda message: self._add("points", message))
        self._delay, self._heard = None, -math.inf
        node.listen(Float64MultiArray, "actuator_delay", self._on_delay)

    def _on_delay(self, message: Float64MultiArray) -> None:
        """What memory measured; whatever can't be a delay, or was not said again for `DELAY_AGE`, counts as unknown."""
        values = dict(zip((dim.label for dim in message.layout.dim), message.data, strict=False))
        self._delay, self._heard = believable(values.get("actuator_delay")), time.monotonic()

    def _add(self, part: str, message) -> None:
        parts = self.matcher.add(part, convert.nanoseconds(message.header.stamp), message)
        if parts is None:
            return
        tokens, model = convert_state.tokens_from(parts["state"])
        odometry = convert.odometry_from(parts["odom"])
        points = convert_state.points_from(parts["points"]) if "points" in parts else None
        stamps, values = self._sent.arrays()
        state = WorldState(
            stamp=odometry.stamp,
            representation=tokens,
            pose=odometry.pose.astype(np.float32)[None],
            velocity=odometry.velocity.astype(np.float32)[None],
            model=model,
            points=None if points is None else points[None],
            sent_stamps=stamps,
            sent=values,
            actuator_delay=self._delay if time.monotonic() - self._heard < DELAY_AGE else None,
        )
        self._callback(state, parts["state"].header.stamp)
