"""What the ground and the load do to a robot's commands, hidden for one episode: the condition `apartment_slip`.

    wheels asked for (v, w)  ->  speed_gain v,  turn_gain w + turn_bias v,  reached under acceleration x the limits,
                                 extra_delay later

Gate and analytic model keep their nominal parameters.  Odometry measures how the body really moved, so what a command does has
to be inferred from what commands have done: that is what a history is for.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from objective_agent.types import InputError

SPEED_GAIN, TURN_GAIN, TURN_BIAS = (0.6, 1.0), (0.7, 1.1), (-0.4, 0.4)
PAYLOAD, DELAY = (0.4, 1.0), (0.05, 0.3)
"""Ranges that an episode's slip is drawn from; `DELAY` is the whole way from command to motion, s."""


@dataclass(frozen=True)
class Slip:
    """Gains of speed and turn rate, `turn_bias` rad per metre driven, `acceleration` of the limits, `extra_delay` s."""

    speed_gain: float = 1.0
    turn_gain: float = 1.0
    turn_bias: float = 0.0
    acceleration: float = 1.0
    extra_delay: float = 0.0

    def __post_init__(self):
        if not all(map(math.isfinite, asdict(self).values())):
            raise InputError(f"slip {asdict(self)}: must be finite numbers")
        if min(self.speed_gain, self.turn_gain, self.acceleration) <= 0:
            raise InputError(f"slip {asdict(self)}: gains and acceleration must be above 0")

    def body(self, v: float, w: float) -> tuple[float, float]:
        """Speed and turn rate of the body when the wheels are asked for `v`, `w`."""
        return self.speed_gain * v, self.turn_gain * w + self.turn_bias * v


NONE = Slip()


def draw_slip(random: np.random.Generator, delay: float) -> Slip:
    """An episode's slip for a robot with the nominal actuator delay `delay` s."""
    gain, turn, bias, payload, whole = (float(random.uniform(*r)) for r in (SPEED_GAIN, TURN_GAIN, TURN_BIAS, PAYLOAD, DELAY))
    return Slip(gain, turn, bias, payload, whole - delay)
