"""Short-term memory "latest": the present, with the obstacle points of the last few sweeps and the commands really sent.

The architecture's short-term memory estimates the present state of the world.  This plugin is the plain estimator that every
learned one must beat: pose and velocity are odometry's, obstacles are the last `scans` sweeps placed in odom by the pose at
each sweep's own stamp.  Several sweeps, because a table leg is thinner than the gap between two beams; older points through
which the newest sweep has looked are dropped, because people move on.

A robot without lidar has estimated sweeps (`seen.py`) of wide sectors in the camera's field of view.  They are taken less often
and kept for longer, because what has left the view is still there.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field

from objective_agent.config import NonNegative, Positive, RobotParameters, Strict
from objective_agent.types import Command, InputError, Observation, Representation, Scan, WorldState, to_base, to_odom

BLIND = 0.45
"""What is nearer than this to the robot, no estimated sweep looks through, m."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Remembered:
    """One past state, and the energies that were measured when it was over (name -> value)."""

    state: WorldState
    energies: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Sweep:
    """Obstacle points [P, 2] in odom of one sweep that are still believed in."""

    stamp: float
    points: np.ndarray
    estimated: bool


class LatestState:
    """Keeps the last W states, costs and sent commands; `update` gives the present one."""

    class Config(Strict):
        window: int = Field(40, ge=1, le=10_000, description="states and costs kept")
        commands: int = Field(64, ge=1, le=10_000, description="sent commands kept")
        scans: int = Field(3, ge=1, le=50, description="sweeps whose points are kept")
        max_age: Positive = Field(0.6, description="points of older sweeps are forgotten, s")
        voxel: NonNegative = Field(0.04, description="points closer than this to one another count once, m; 0: keep all")
        max_points: int = Field(256, ge=1, le=20_000, description="obstacle points handed on: the nearest, padded with +inf")
        seen_through: Positive = Field(0.03, description="a beam that passes an old point this closely and goes on drops it, m")
        range_slack: NonNegative = Field(0.12, description="how much farther than the point that beam must go, m")
        estimate_period: Positive = Field(0.2, description="without lidar: estimated sweeps are taken this far apart, s")
        estimate_age: Positive = Field(4.0, le=60, description="and their points are forgotten after this, s")

    def __init__(self, config: Config, robot: RobotParameters):
        self.config = config
        self.robot = robot
        self.reset()

    def reset(self) -> None:
        """Forgets states, commands and points."""
        self.history: deque[Remembered] = deque(maxlen=self.config.window)
        self._commands: deque[Command] = deque(maxlen=self.config.commands)
        self._sweeps: list[list[Sweep]] = []

    @property
    def stamp(self) -> float | None:
        """Stamp of the present state, None before the first."""
        return self.history[-1].state.stamp if self.history else None

    def command_sent(self, command: Command) -> None:
        """Takes a command as it left the gate.  InputError when it is not finite."""
        if not all(map(math.isfinite, (command.stamp, command.v, command.w))):
            raise InputError(f"command sent ({command.v}, {command.w}) at {command.stamp}: must be finite")
        if self._commands and command.stamp < self._commands[-1].stamp:
            logger.warning("commands run backwards (%.3f s after %.3f s): the older ones are forgotten",
                           command.stamp, self._commands[-1].stamp)  # fmt: skip
            self._commands.clear()
        self._commands.append(command)

    def cost_measured(self, energies: Mapping[str, float]) -> None:
        """Notes what the present state has cost: energy name -> value."""
        if self.history:
            self.history[-1] = Remembered(self.history[-1].state, {**self.history[-1].energies, **energies})

    def update(self, representation: Representation, observation: Observation) -> WorldState:
        """The state at the observation's stamp; `points` [B, max_points, 2], None without a sweep to take them from.

        Raises InputError when representation and observation are not of one moment.  Time that runs backwards (a bag that
        starts over, a restarted simulator) resets the memory.
        """
        if abs(representation.stamp - observation.stamp) > 1e-6:
            raise InputError(
                f"representation at {representation.stamp:.6f} s does not belong to observation at {observation.stamp:.6f} s"
            )
        if self.stamp is not None and (observation.stamp < self.stamp or len(self._sweeps) != observation.batch):
            logger.warning(
                "observation at %.3f s after one at %.3f s: short-term memory starts over", observation.stamp, self.stamp
            )
            self.reset()
        if not self._sweeps:
            self._sweeps = [[] for _ in range(observation.batch)]
        points = [self._see(row, observation) for row in range(observation.batch)]
        sent = np.array([(command.v, command.w) for command in self._commands], np.float32).reshape(-1, 2)
        state = WorldState(
            stamp=observation.stamp,
            representation=representation.tokens,
            pose=np.asarray(observation.pose, np.float32),
            velocity=np.asarray(observation.velocity, np.float32),
            model=representation.model,
            points=None if any(found is None for found in points) else np.stack(points),
            sent_stamps=np.array([command.stamp for command in self._commands], np.float64),
            sent=np.repeat(sent[None], observation.batch, 0),
        )
        self.history.append(Remembered(state))
        return state

    def _see(self, row: int, observation: Observation) -> np.ndarray | None:
        """Points [max_points, 2] in odom that problem `row` knows of now, nearest first."""
        sweeps = self._sweeps[row]
        scan = observation.scans[row] if row < len(observation.scans) else None
        if scan is not None and observation.scan_poses is not None and self._due(scan, sweeps):
            pose = np.asarray(observation.scan_poses[row], np.float32)
            for sweep in sweeps:
                sweep.points = sweep.points[~self._looked_through(sweep.points, scan, pose)]
            sweeps.append(Sweep(scan.stamp, to_odom(pose, scan.points()), scan.estimated))
            if not scan.estimated:
                sweeps[:] = [sweep for sweep in sweeps if not sweep.estimated][-self.config.scans :]
        ages = {False: self.config.max_age, True: self.config.estimate_age}
        sweeps[:] = [sweep for sweep in sweeps if observation.stamp - sweep.stamp <= ages[sweep.estimated]]
        if not sweeps:
            return None
        points = np.concatenate([sweep.points for sweep in reversed(sweeps)])  # newest first: thinning keeps the newest
        return self._fixed_size(_thin(points, self.config.voxel), observation.pose[row, :2])

    def _due(self, scan: Scan, sweeps: list[Sweep]) -> bool:
        """Whether this sweep is new, and not one of many estimates of the same moment."""
        if scan.estimated and np.isnan(scan.ranges).all():
            return False
        if not sweeps or not scan.estimated:
            return not sweeps or scan.stamp != sweeps[-1].stamp
        return scan.stamp - sweeps[-1].stamp >= self.config.estimate_period - 1e-6

    def _looked_through(self, points: np.ndarray, scan: Scan, pose: np.ndarray) -> np.ndarray:
        """Which `points` [P, 2] in odom a beam of `scan` passed closely and went on [P]."""
        local = to_base(np.asarray(scan.offset, np.float32), to_base(pose, points))
        distance = np.hypot(local[:, 0], local[:, 1])
        beam = (np.arctan2(local[:, 1], local[:, 0]) - scan.angle_min) / scan.angle_increment
        turn = 2 * np.pi / abs(scan.angle_increment)
        beam = np.mod(beam + 0.5, turn) - 0.5
        index = np.rint(beam).astype(int)
        inside = index < len(scan.ranges)
        index = np.where(inside, index, 0)
        off = np.abs(beam - index) * abs(scan.angle_increment) * distance
        near_beam = off < self.config.seen_through
        if scan.estimated:  # of a whole sector; a camera does not see what is right beside the robot
            near_beam = distance > BLIND
        ranges = np.where(np.isposinf(scan.ranges), scan.range_max, scan.ranges)
        with np.errstate(invalid="ignore"):  # NaN (unknown) and -inf (too close) compare as not looked through
            beyond = ranges[index] > distance + self.config.range_slack
        return inside & near_beam & beyond

    def _fixed_size(self, points: np.ndarray, centre: np.ndarray) -> np.ndarray:
        order = np.argsort(((points - centre) ** 2).sum(-1), kind="stable")[: self.config.max_points]
        padded = np.full((self.config.max_points, 2), np.inf, np.float32)
        padded[: len(order)] = points[order]
        return padded


def _thin(points: np.ndarray, voxel: float) -> np.ndarray:
    """The first of the points [P, 2] in every square of side `voxel`."""
    if voxel <= 0 or not len(points):
        return points
    _, first = np.unique(np.floor(points / voxel).astype(np.int32), axis=0, return_index=True)
    return points[np.sort(first)]
