"""The safety gate's core: the last word on every velocity command, as pure functions of NumPy arrays.

No learned part, no torch, no rclpy.  `step` maps (state, command, raw sensors, time) to (command that may leave, reason); the
node `safety_gate` only feeds it.  docs/safety.md derives the equations and says what is guaranteed and what is not.
"""

from objective_agent.safety.gate import initial_state, step
from objective_agent.safety.parameters import GateParameters, default_parameters
from objective_agent.safety.state import GateInputs, GateOutput, GateState, Ladder

__all__ = [
    "GateInputs",
    "GateOutput",
    "GateParameters",
    "GateState",
    "Ladder",
    "default_parameters",
    "initial_state",
    "step",
]
