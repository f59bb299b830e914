"""The memory node's measured actuator delay: how it is told, to whom, and what the diagnostics say of it.

Topic `actuator_delay` (Float64MultiArray, dimensions `LABELS`), once a second, when `memory.actuator_delay` is
`measured`; NaN while the delay is unknown.  Measured it is in any case, for the diagnostics.
"""

from __future__ import annotations

import math

from std_msgs.msg import Float64MultiArray

from objective_agent.memory.delay import DelayEstimator
from objective_agent.types import Command, Odometry
from objective_agent_nodes.snapshot import labelled

PERIOD = 1.0
LABELS = ("actuator_delay", "actuator_delay_deviation")


class MeasuredDelay:
    """`command_sent` and `measured` take what memory hears; `node` is the memory node, in its `setup`."""

    def __init__(self, node):
        self._node, self._estimator = node, DelayEstimator(node.robot)
        self._output = node.speak(Float64MultiArray, "actuator_delay")
        self._now, self._said = 0.0, -math.inf

    def command_sent(self, command: Command) -> None:
        self._estimator.command_sent(command)

    def measured(self, odometry: Odometry) -> None:
        self._now = odometry.stamp
        self._estimator.measured(odometry)
        if self._node.parameters.actuator_delay == "measured" and not 0 <= self._now - self._said < PERIOD:
            self._said = self._now
            self._output.publish(labelled(self.values))

    @property
    def values(self) -> dict[str, float]:
        """The delay and its deviation in s; NaN while they are unknown."""
        seconds, delay = self._estimator.seconds(self._now), self._estimator.delay
        known = seconds is not None and delay is not None
        values = (seconds, delay.deviation) if known else (math.nan, math.nan)
        return dict(zip(LABELS, values, strict=True))
