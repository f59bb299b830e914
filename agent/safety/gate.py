"""One step of the safety gate: (parameters, state, inputs) -> (state, output).

Simplex architecture (Sha 2001): the learned command is the advanced controller, braking the verified baseline.  A command
leaves only if the whole manoeuvre "this command for one period, then brake" stays clear of everything the lidar saw; so at
every step braking was already verified one step earlier.  Order of the checks: time and emergency stop, freshness, clamps,
obstacles.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from objective_agent.safety import limits
from objective_agent.safety.freshness import judge, receive
from objective_agent.safety.limits import Surroundings
from objective_agent.safety.memory import remember_odometry, remember_scan
from objective_agent.safety.parameters import GateParameters
from objective_agent.safety.state import GateInputs, GateOutput, GateState, Ladder, Source
from objective_agent.safety.sweep import problem as scan_problem
from objective_agent.types import Command, Odometry

SAME = 0.01  # a smaller change of a command (m/s, rad/s) is not worth a LIMIT
CLOCK_JUMP = 0.05  # ROS time that runs back by more was set anew (a simulation began again), s
SENT_MEMORY = 1.0
PLAUSIBLE = 1e6  # no robot is this far from its origin (m): such numbers would lose the centimetres in rounding


def initial_state() -> GateState:
    return GateState()


def step(parameters: GateParameters, state: GateState, inputs: GateInputs) -> tuple[GateState, GateOutput]:
    """The command that may leave at `inputs.now`.  Pure; never raises for bad messages, never returns a non-finite number."""
    steady = inputs.now if inputs.steady is None else inputs.steady
    if not (math.isfinite(inputs.now) and math.isfinite(steady)):
        latched = state.latched or inputs.e_stop
        return replace(state, v=0.0, w=0.0, latched=latched), _zero(Ladder.EMERGENCY, "the clock is not a finite number")
    if inputs.now < state.now - CLOCK_JUMP:
        state = GateState(steady=-math.inf if inputs.steady is None else state.steady, latched=state.latched)
    elapsed = min(max(steady - state.steady, 0.0), 2 * parameters.period)
    latched = inputs.e_stop or (state.latched and not inputs.reset)
    state = _receive(parameters, replace(state, latched=latched), inputs, steady)
    state, output = _decide(parameters, state, inputs, steady, elapsed)
    if not (math.isfinite(output.v) and math.isfinite(output.w)):
        output = _zero(Ladder.EMERGENCY, "the limits came out as no number")
    scan = state.scan.message
    output = replace(output, scan_age=inputs.now - scan.stamp if scan is not None else math.nan)
    sent = (*(s for s in state.sent if inputs.now - SENT_MEMORY < s[0] <= inputs.now), (inputs.now, output.v, output.w))
    return replace(state, now=inputs.now, steady=max(steady, state.steady), v=output.v, w=output.w, sent=sent), output


def _receive(parameters: GateParameters, state: GateState, inputs: GateInputs, steady: float) -> GateState:
    now, future = inputs.now, parameters.max_future
    odometry = receive(state.odometry, inputs.odometry, now, steady, parameters.max_odom_age, future, _odometry_problem)
    if odometry.message is not state.odometry.message:
        state = replace(state, odometry_history=remember_odometry(parameters, state.odometry_history, odometry.message))
    scan = state.scan
    if state.odometry_history:  # a scan can't be placed before
        scan = receive(scan, inputs.scan, now, steady, parameters.max_scan_age, future, scan_problem)
        if scan.message is not state.scan.message:
            state = remember_scan(parameters, state, scan.message, steady)
    command = receive(state.command, inputs.command, now, steady, parameters.max_command_age, future, _command_problem)
    return replace(state, odometry=odometry, scan=scan, command=command)


def _command_problem(command: Command) -> str:
    return "" if math.isfinite(command.v) and math.isfinite(command.w) else "has a non-finite field"


def _odometry_problem(odometry: Odometry) -> str:
    values = np.concatenate([np.ravel(odometry.pose), np.ravel(odometry.velocity)])
    if values.shape != (5,) or not np.isfinite(values).all():
        return "has a non-finite or missing field"
    return "" if (np.abs(values) < PLAUSIBLE).all() else "is out of all proportion"


def _decide(
    parameters: GateParameters, state: GateState, inputs: GateInputs, steady: float, elapsed: float
) -> tuple[GateState, GateOutput]:
    if state.latched:
        why = "emergency stop is pressed" if inputs.e_stop else "emergency stop was pressed; release it and call reset"
        return state, _zero(Ladder.LATCHED, why)
    p, now = parameters, inputs.now
    scan, scan_why, scan_fault = judge(state.scan, "scan", now, steady, p.max_scan_age, p.max_scan_age, p.resume_messages)
    odometry, odom_why, odom_fault = judge(
        state.odometry, "odom", now, steady, p.max_odom_age, p.max_odom_age, p.resume_messages
    )
    silence = max(p.command_timeout - 0.5 * p.period, p.command_late)  # the nearest tick: the next one may come just too late
    command, command_why, command_fault = judge(
        state.command, "cmd_vel_raw", now, steady, p.max_command_age, silence, p.resume_messages
    )
    state = replace(state, scan=scan, odometry=odometry, command=command)
    why = "; ".join(filter(None, (scan_why, odom_why, command_why)))
    if scan_fault or odom_fault or command_fault:
        return state, _zero(Ladder.EMERGENCY, why)
    if why:
        return state, _zero(Ladder.STOP, why)
    surroundings = limits.surroundings(parameters, state, now)
    silence = steady - command.arrival
    if silence > p.command_late:
        return state, _comfortable_stop(p, state, surroundings, elapsed, f"cmd_vel_raw is late: {silence:.2f} s")
    return state, _limited(p, state, command, surroundings, elapsed, inputs.max_speed)


def _limited(
    parameters: GateParameters,
    state: GateState,
    source: Source,
    surroundings: Surroundings,
    elapsed: float,
    max_speed: float | None,
) -> GateOutput:
    asked = (float(source.message.v), float(source.message.w))
    clamped, clamp_why = limits.clamp(parameters, asked, (state.v, state.w), elapsed, max_speed)
    (v, w), obstacle_why = limits.clear_command(parameters, surroundings, clamped)
    if (v, w) == (0.0, 0.0) and clamped != (0.0, 0.0):
        return _comfortable_stop(parameters, state, surroundings, elapsed, obstacle_why)
    why = "; ".join(filter(None, (clamp_why, obstacle_why)))
    changed = abs(v - asked[0]) > SAME or abs(w - asked[1]) > SAME
    if changed:
        return GateOutput(v, w, Ladder.LIMIT, why or "limited", False)
    return GateOutput(v, w, Ladder.OK, "", False)


def _comfortable_stop(
    parameters: GateParameters, state: GateState, surroundings: Surroundings, elapsed: float, why: str
) -> GateOutput:
    """The last output braked gently along its arc, if that is verified; else zero at once."""
    fastest = max(
        abs(state.v) / parameters.comfortable_deceleration, abs(state.w) / parameters.robot.max_turn_acceleration, 1e-9
    )
    share = 1.0 - elapsed / fastest
    if share <= 0.0:
        return GateOutput(0.0, 0.0, Ladder.STOP, why, True)
    command = (share * state.v, share * state.w)
    clear, _ = limits.clear_command(parameters, surroundings, command)
    if clear == command:
        return GateOutput(*command, Ladder.STOP, why, True)
    return _zero(Ladder.EMERGENCY, why)


def _zero(level: Ladder, why: str) -> GateOutput:
    return GateOutput(0.0, 0.0, level, why, True)
