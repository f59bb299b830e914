"""The analytic world model: a unicycle with limited accelerations and an actuator delay.

The classical baseline that a learned model has to beat (DESIGN, rule 9).  It predicts the robot's own motion and assumes that
the rest of the world stands still, so the representation stays as it is:

    v' = clip(command_v - v, +-max_acceleration),   w' likewise,   x' = v cos(yaw),   y' = v sin(yaw),   yaw' = w

Speeds ramp linearly to the command and then hold it, so distance and heading have closed forms in time; the path is integrated
as circular arcs between four instants of each step (an arc is exact for constant curvature).  The delay between sending a
command and its effect belongs to `advance`: a command sent at time s acts from s + actuator_delay on (or the state's delay,
measured).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from objective_agent.config import RobotParameters, Strict
from objective_agent.types import Array, InputError, Trajectory, WorldState, array_namespace

SUBSTEPS = 4


class Unicycle:
    """Unicycle kinematics; works on NumPy and on torch states alike.  Its futures are all the same one (expanded views)."""

    class Config(Strict):
        pass

    model = "unicycle-v1"

    def __init__(self, config: Config, robot: RobotParameters):
        self._accelerations = (robot.max_acceleration, robot.max_turn_acceleration)
        self._delay = robot.actuator_delay

    def rollout(self, state: WorldState, actions: Array, futures: int = 1, dt: float = 0.2) -> Trajectory:
        """Imagines `actions` [B, N, H, 2]; actions[..., h, :] is the command in effect from state.stamp + h dt on."""
        xp = array_namespace(actions)
        if len(actions.shape) != 4 or actions.shape[0] != state.batch or actions.shape[-1] != 2:
            raise InputError(f"actions: shape {tuple(actions.shape)}; need [B={state.batch}, N, H, 2]")
        batch, candidates, horizon, _ = actions.shape
        pose, velocity = self._drive(state.pose[:, None], state.velocity[:, None], actions, [dt] * horizon)
        shape = (batch, candidates, futures, horizon)
        pose = xp.broadcast_to(pose[:, :, None], (*shape, 3))
        velocity = xp.broadcast_to(velocity[:, :, None], (*shape, 2))
        tokens = state.representation
        tokens = xp.broadcast_to(tokens[:, None, None, None], (*shape, *tokens.shape[1:]))
        return Trajectory(state, actions, pose, velocity, dt, representations=tokens)

    def advance(self, state: WorldState, until: float) -> WorldState:
        """The state at time `until` (s) under the commands already sent; `state` itself when `until` is not later."""
        if not math.isfinite(until):
            raise InputError(f"advance: until = {until}; give a time in seconds")
        if until <= state.stamp:
            return state
        starts = np.asarray(state.sent_stamps, float) + state.delay(self._delay)
        inside = starts[(starts > state.stamp) & (starts < until)]
        instants = np.unique(np.concatenate([[state.stamp], inside, [until]]))
        commands = self._in_effect(state, starts, instants[:-1])
        pose, velocity = self._drive(state.pose, state.velocity, commands, np.diff(instants).tolist())
        return replace(state, stamp=float(until), pose=pose[:, -1], velocity=velocity[:, -1])

    def _in_effect(self, state: WorldState, starts: np.ndarray, instants: np.ndarray) -> Array:
        """The command [B, n, 2] that acts at each instant; before the first known command: the present velocity."""
        xp = array_namespace(state.pose)
        newest = np.searchsorted(starts, instants, side="right") - 1
        columns = [state.sent[:, i] if i >= 0 else state.velocity for i in newest]
        return xp.stack(columns, 1)

    def _drive(self, pose: Array, velocity: Array, commands: Array, durations: list[float]) -> tuple[Array, Array]:
        """Poses [..., H, 3] and velocities [..., H, 2] at the end of each of H intervals with constant commands [..., H, 2]."""
        xp = array_namespace(commands)
        limits = _like(commands, np.outer(durations, self._accelerations))
        velocity = xp.broadcast_to(velocity, commands[..., 0, :].shape)
        velocities = [velocity]
        for command, most, least in zip(xp.moveaxis(commands, -2, 0), limits, -limits, strict=True):
            velocity = velocity + xp.clip(command - velocity, least, most)
            velocities.append(velocity)
        velocities = xp.stack(velocities, -2)

        covered = _covered(velocities[..., :-1, :], commands, _like(commands, np.array(self._accelerations)), durations)
        distance, turn = covered[..., 0], covered[..., 1]
        yaw = pose[..., 2, None] + xp.cumsum(turn, -1)
        heading = yaw - turn / 2
        chord = distance * xp.sinc(turn / (2 * math.pi))
        x = pose[..., 0, None] + xp.cumsum(chord * xp.cos(heading), -1)
        y = pose[..., 1, None] + xp.cumsum(chord * xp.sin(heading), -1)
        ends = xp.stack([x, y, yaw], -1)[..., SUBSTEPS - 1 :: SUBSTEPS, :]
        return ends, velocities[..., 1:, :]


def _covered(speeds: Array, commands: Array, limits: Array, durations: list[float]) -> Array:
    """Metres and radians [..., H * SUBSTEPS, 2] covered in each substep by `speeds` [..., H, 2] that ramp to their commands."""
    xp = array_namespace(commands)
    grid = np.asarray(durations)[:, None, None] * np.linspace(0, 1, SUBSTEPS + 1)[:, None]
    time = _like(commands, grid)
    speeds, commands = speeds[..., None, :], commands[..., None, :]
    change = commands - speeds
    ramp = xp.minimum(xp.abs(change) / limits, time)
    # ramping for `ramp` seconds, holding the command (or, before it is reached, nothing) for the rest
    covered = ramp * (speeds + 0.5 * limits * xp.sign(change) * ramp) + commands * (time - ramp)
    steps = covered[..., 1:, :] - covered[..., :-1, :]
    return steps.reshape(*steps.shape[:-3], -1, 2)


def _like(array: Array, values: np.ndarray) -> Array:
    """`values` as an array of the kind, type and device of `array`."""
    xp = array_namespace(array)
    return values.astype(array.dtype) if xp is np else xp.as_tensor(values, dtype=array.dtype, device=array.device)
