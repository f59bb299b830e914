"""What the modules hand each other.

Axes, always in this order: B problems, N candidates, K futures, H steps of `dt` seconds, T tokens, D features, A action
dimensions (here 2: forward speed in m/s, turn rate in rad/s).  Everything is float32 in SI units and REP-103 frames: x forward,
y left, angles counter-clockwise.  Poses are [x, y, yaw] in the `odom` frame.

`Array` is a NumPy array or a torch tensor.  This module imports no torch, so that the safety gate, the cost, memory and
configurator processes need none; code that must run on both kinds asks `array_namespace` for the functions.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from objective_agent.protocols import Guardrail, Objective, WorldModel

Array = Any
"""A NumPy array or a torch tensor."""

MODES = ("propose", "adaptive", "policy")
"""Who may act beside the search alone ("plan"); `evaluate` has a row of each name, for models with a policy."""

HABIT = "habit"
"""`Plan.stop_reason` of a plan that nobody searched for."""


class ObjectiveAgentError(Exception):
    """Base of all errors a user can cause: one line that says what, where and the mend."""


class InputError(ObjectiveAgentError, ValueError):
    """A message, file or argument that can't be used (a NaN goal, a wrong encoding, an unreadable world)."""


class ConfigurationError(ObjectiveAgentError, ValueError):
    """A parameter that is missing, unknown or out of range."""


def array_namespace(array: Array):
    """The module (numpy or torch) whose functions apply to `array`."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def wrap_angle(angle: Array) -> Array:
    """`angle` folded into (-pi, pi]; works on floats, NumPy arrays and tensors, and has gradient 1."""
    if isinstance(angle, float | int):
        return angle - 2 * math.pi * math.ceil((angle - math.pi) / (2 * math.pi))
    return angle - 2 * math.pi * array_namespace(angle).ceil((angle - math.pi) / (2 * math.pi))


def to_odom(pose: Array, points: Array) -> Array:
    """Points [..., P, 2] given in the frame of `pose` [..., 3], as points in the frame in which the pose is given."""
    xp = array_namespace(points)
    cos, sin = xp.cos(pose[..., 2])[..., None], xp.sin(pose[..., 2])[..., None]
    x, y = points[..., 0], points[..., 1]
    return xp.stack([pose[..., 0, None] + cos * x - sin * y, pose[..., 1, None] + sin * x + cos * y], -1)


def to_base(pose: Array, points: Array) -> Array:
    """Points [..., P, 2] given in odom, as seen from `pose` [..., 3]."""
    xp = array_namespace(points)
    cos, sin = xp.cos(pose[..., 2])[..., None], xp.sin(pose[..., 2])[..., None]
    x, y = points[..., 0] - pose[..., 0, None], points[..., 1] - pose[..., 1, None]
    return xp.stack([cos * x + sin * y, cos * y - sin * x], -1)


# --- what sensors say -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scan:
    """One lidar sweep (REP-117: +inf free up to `range_max`, -inf too close, NaN unknown).  `ranges` [beams], metres."""

    stamp: float
    ranges: np.ndarray
    angle_min: float
    angle_increment: float
    range_min: float
    range_max: float
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Pose [x, y, yaw] of the lidar in base_link."""
    estimated: bool = False
    """Read out of a representation, not measured: few wide sectors, each with a cautious range, NaN where it is unsure."""

    @property
    def angles(self) -> np.ndarray:
        """Beam directions in the lidar's frame, radians [beams]."""
        return (self.angle_min + self.angle_increment * np.arange(len(self.ranges))).astype(np.float32)

    def points(self) -> np.ndarray:
        """Hit points in base_link [P, 2]: the finite returns inside the sensor's range, nothing else."""
        with np.errstate(invalid="ignore"):
            hit = np.isfinite(self.ranges) & (self.ranges >= self.range_min) & (self.ranges <= self.range_max)
        ranges, angles = self.ranges[hit], self.angles[hit]
        points = np.stack([ranges * np.cos(angles), ranges * np.sin(angles)], -1).astype(np.float32)
        return to_odom(np.asarray(self.offset, np.float32), points)


@dataclass(frozen=True)
class Image:
    """One camera frame: `rgb` [height, width, 3] uint8, `depth` [height, width] metres (float32) when there is one."""

    stamp: float
    rgb: np.ndarray
    depth: np.ndarray | None = None
    horizontal_fov: float = math.pi / 2


@dataclass(frozen=True)
class Odometry:
    """Wheel odometry: `pose` [3] in odom, `velocity` [2] = (v, w) in base_link."""

    stamp: float
    pose: np.ndarray
    velocity: np.ndarray


@dataclass(frozen=True)
class Command:
    """A velocity command: forward speed `v` (m/s) and turn rate `w` (rad/s), at `stamp`."""

    stamp: float
    v: float
    w: float


@dataclass(frozen=True)
class Observation:
    """One model step's worth of sensing, as the synchronizer put it together; batched, B first.

    `pose` [B, 3] and `velocity` [B, 2] are odometry at `stamp`.  `scans` (one or None per problem) are the newest sweeps not
    later than `stamp`, `scan_poses` [B, 3] the odometry at each sweep's own stamp.  `images` [B, h, w, 3] uint8 or None.

    What lets a model infer how this robot answers to commands: `motion` [B, 8, 4], the last 8 slots of 0.1 s, oldest first,
    each the time mean of (v, w) by odometry and (v, w) as commands left the gate; `past_scans` [B, 2, 180], the canonical
    ranges seen 0.2 and 0.4 s ago (NaN: unknown), with `past_poses` [B, 2, 3], the odometry at those sweeps' own stamps.
    """

    stamp: float
    pose: np.ndarray
    velocity: np.ndarray
    scans: Sequence[Scan | None] = (None,)
    scan_poses: np.ndarray | None = None
    images: np.ndarray | None = None
    depths: np.ndarray | None = None
    motion: np.ndarray | None = None
    past_scans: np.ndarray | None = None
    past_poses: np.ndarray | None = None

    @property
    def batch(self) -> int:
        return len(self.pose)


# --- what the mind holds ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Representation:
    """An encoded observation: `tokens` [B, T, D], made by the model `model` (sha256, or a plugin's name and version).

    `scans` (one or None per problem, or empty): what the representation says of the distances round the robot, as sweeps that
    are `estimated`, for memories of a robot that has no lidar scan at this moment.  `senses`: which of "lidar" and "camera" it
    was made from, for each problem; empty: not said.
    """

    stamp: float
    tokens: Array
    model: str
    scans: Sequence[Scan | None] = ()
    senses: Sequence[tuple[str, ...]] = ()


@dataclass(frozen=True)
class WorldState:
    """The short-term memory's estimate at `stamp`.

    `representation` [B, T, D]; `pose` [B, 3] in odom; `velocity` [B, 2]; `points` [B, P, 2] obstacle points in odom, padded
    with +inf (None without a lidar); `sent` the commands that really left the gate, oldest first: times [L], values [B, L, 2].
    """

    stamp: float
    representation: Array
    pose: Array
    velocity: Array
    model: str
    points: Array | None = None
    sent_stamps: np.ndarray = field(default_factory=lambda: np.zeros(0))
    sent: Array | None = None
    actuator_delay: float | None = None
    """From a command's leaving the gate to the motion, s, as memory measured it; None: what the robot's parameters say."""

    @property
    def batch(self) -> int:
        return self.pose.shape[0]

    def delay(self, given: float) -> float:
        """The actuator delay in s, measured or else `given`."""
        return given if self.actuator_delay is None else self.actuator_delay

    def to_torch(self, device: str = "cpu") -> WorldState:
        """The same state with its arrays as torch tensors on `device`."""
        import torch

        from objective_agent import devices

        names = ("representation", "pose", "velocity", "points", "sent")
        values = [getattr(self, name) for name in names]
        values = [None if value is None else torch.as_tensor(value, dtype=torch.float32) for value in values]
        return replace(self, **dict(zip(names, devices.send(values, torch.device(device)), strict=True)))


@dataclass(frozen=True)
class Goal:
    """What the task objectives compare with: `position` [B, 2] in odom, `heading` [B] or None, `representation` [B, T, D].

    `final` is False for a subgoal that is only passed through: nothing is gained by stopping there.
    """

    position: Array | None = None
    heading: Array | None = None
    representation: Array | None = None
    final: bool = True


@dataclass(frozen=True)
class Trajectory:
    """What a world model imagines: K futures of each of N action sequences from `state`.

    `actions` [B, N, H, A]; `poses` [B, N, K, H, 3] in odom at the END of each step; `velocities` [B, N, K, H, 2];
    `representations` [B, N, K, H, T, D] (may be an expanded view); `readouts` name -> [B, N, K, H]; `dt` seconds.
    `standing` name -> [B, 1, K, H]: what the same read-outs say, step by step, if the robot brakes and stands instead.
    `start`: when the first step begins, s; None: at the state's stamp.
    """

    state: WorldState
    actions: Array
    poses: Array
    velocities: Array
    dt: float
    representations: Array | None = None
    readouts: Mapping[str, Array] = field(default_factory=dict)
    standing: Mapping[str, Array] = field(default_factory=dict)
    start: float | None = None


@dataclass(frozen=True)
class WeightedObjective:
    name: str
    weight: float
    objective: Objective


@dataclass(frozen=True)
class NamedGuardrail:
    name: str
    guardrail: Guardrail


@dataclass(frozen=True)
class Problem:
    """One planning problem for the actor: immutable, so that a solve needs no lock.

    `action_low`, `action_high` [A] bound the actions; `rate_limit` [A] bounds their change per second, from `last_action`
    [B, A] on.  `warm_start` [B, H, A] is the previous plan, already shifted by the time that has passed; None for none.
    """

    state: WorldState
    goal: Goal
    world_model: WorldModel
    objectives: Sequence[WeightedObjective]
    guardrails: Sequence[NamedGuardrail]
    horizon: int
    dt: float
    futures: int
    action_low: Array
    action_high: Array
    rate_limit: Array
    last_action: Array
    warm_start: Array | None = None
    proposals: Array | None = None
    """[B, n, H, A] from a policy, put among the first candidates."""
    tail: float = 1.0
    """Objectives count the mean over this share of the futures, those that cost most (CVaR); 1: over all of them."""
    quantile: float = 1.0
    """Guardrails must hold in this share of the futures; 1: in all of them."""
    remember: bool = False
    """The plan keeps all that was imagined of it, so that it can be checked again later."""
    asked: Mapping[str, Array] = field(default_factory=dict)
    """Tensors to be read that nobody needs before the plan: they come back in one copy with it, as `Plan.told`."""


@dataclass(frozen=True)
class Plan:
    """The optimizer's answer: `actions` [B, H, A] with everything needed to understand it.

    `feasible` [B] bool; `energy` [B] the weighted sum; `energies` name -> [B] (weighted); `margins` guardrail -> [B] the worst
    margin over futures and steps; `violation` [B].  `stop_reason`: converged | deadline | iterations | habit.  `mode` is who
    acted: optimizer (Mode-2) | policy (Mode-1) | fallback (Mode-1, as there was no time for Mode-2) | followed (the rest of the
    plan before, checked again) | braking; a policy's energy is NaN where nothing could be hit and nothing was imagined.
    `poses` [B, K, H, 3] are the imagined futures of `actions`; `candidates` holds the last iteration's poses [B, N, H, 3]
    (first future) with `candidate_energy` [B, N], for looking only.

    `promises`: read-out -> [B, H], the least over the futures of what the world model said of `actions`, as guardrails hear it;
    step h is over `start` + (h + 1) `dt`.
    """

    actions: Array
    feasible: Array
    energy: Array
    energies: Mapping[str, Array]
    margins: Mapping[str, Array]
    violation: Array
    poses: Array
    iterations: int
    evaluations: int
    seconds: float
    stop_reason: str
    mode: str
    dt: float
    stamp: float
    candidates: Array | None = None
    candidate_energy: Array | None = None
    candidate_feasible: Array | None = None
    promises: Mapping[str, Array] = field(default_factory=dict)
    start: float = 0.0
    modes: Array | None = None
    """[B, M, H, A]: runner-ups, best first: the best feasible plans that go another way than `actions` and than each other."""
    mode_energy: Array | None = None
    """[B, M]: their energies; inf where there was no other one (its actions are zeros)."""
    imagined: Trajectory | None = None
    """All that the world model said of `actions` (N = 1); None unless the problem asked to `remember` it."""
    confidence: Array | None = None
    """[B]: the policy's probability that Mode-2 can do no better than it (`actor/policy.py`); None: no policy was asked."""
    told: Mapping[str, Array] = field(default_factory=dict)
    """What the problem `asked` for, on the CPU; empty from who imagined nothing."""
