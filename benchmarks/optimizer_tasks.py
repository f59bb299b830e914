"""Planning problems with known answers, for all optimizers alike: what `bench optimizers` and the actor's tests are made of.

lqr       a double integrator comes to rest at the origin; the optimum is Riccati's
wall      the goal lies behind a wall; the optimum is brute force's, by a grid that closes in
bandit    six wells of different depth; the optimum is the deepest one
obstacles a body that moves, obstacles before it; which problems have an allowed plan is brute force's
decision  one decision of the robot with the analytic world model: open floor, doorway, dead end
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.plugins import create
from objective_agent.types import Goal, NamedGuardrail, Problem, Trajectory, WeightedObjective, WorldState

DT = 0.2
NAMES = ("random_shooting", "predictive_sampling", "cem", "icem", "mppi", "gradient", "hybrid", "augmented_lagrangian")


@dataclass(frozen=True)
class Task:
    """`optimum`: the least energy of any plan, None where it is not known; `close`: reaching it to this share counts."""

    name: str
    problem: Problem
    optimum: float | None
    close: float


class DoubleIntegrator:
    """A point that is accelerated: p' = p + dt v + dt^2 / 2 a, v' = v + dt a; differentiable."""

    model = "double-integrator"

    def rollout(self, state, actions, futures=1, dt=DT):
        start = state.velocity[:, None, None]
        velocity = start + dt * actions.cumsum(2)
        before = torch.cat([start.expand_as(velocity[:, :, :1]), velocity[:, :, :-1]], 2)
        position = state.pose[:, None, None, :2] + (dt * (before + velocity) / 2).cumsum(2)
        return imagined(state, actions, position, velocity, futures, dt)

    def advance(self, state, until):
        return state


class Picker:
    """A point that is where its action says, at once: what a bandit's arms are pulled with."""

    model = "picker"

    def rollout(self, state, actions, futures=1, dt=DT):
        return imagined(state, actions, actions, torch.zeros_like(actions), futures, dt)

    def advance(self, state, until):
        return state


def imagined(state, actions, position, velocity, futures, dt) -> Trajectory:
    shape = (*actions.shape[:2], futures, actions.shape[2])
    poses = torch.cat([position, torch.zeros_like(position[..., :1])], -1)
    return Trajectory(state, actions, poses[:, :, None].expand(*shape, 3), velocity[:, :, None].expand(*shape, 2), dt)


class Term:
    """An objective made of a function of the trajectory."""

    def __init__(self, function: Callable):
        self._function = function

    def energy(self, trajectory, goal):
        return self._function(trajectory)


class Limit:
    """A guardrail made of one."""

    def __init__(self, function: Callable):
        self._function = function

    def margin(self, trajectory):
        return self._function(trajectory)


def planar(
    world_model,
    energy: Callable,
    horizon: int,
    guardrails: Sequence[Callable] = (),
    start=(0.0, 0.0),
    velocity=(0.0, 0.0),
    bound=4.0,
) -> Problem:
    """A problem for two actions of -bound to bound, with no limit of their rate."""
    pose = np.array([[*start, 0.0]])
    return Problem(
        state=WorldState(0.0, np.zeros((1, 1, 1)), pose, np.array([velocity]), "toy").to_torch(),
        goal=Goal(),
        world_model=world_model,
        objectives=[WeightedObjective("task", 1.0, Term(energy))],
        guardrails=[NamedGuardrail(f"limit{i}", Limit(function)) for i, function in enumerate(guardrails)],
        horizon=horizon,
        dt=DT,
        futures=1,
        action_low=np.full(2, -bound),
        action_high=np.full(2, bound),
        rate_limit=np.full(2, 1e3),
        last_action=np.zeros((1, 2)),
    )


# --- a linear quadratic regulator -------------------------------------------------------------------------------------------

SPEED_PRICE, ACTION_PRICE = 0.2, 0.05


def lqr(start=(1.0, -0.6), velocity=(0.0, 0.5), horizon: int = 10) -> Task:
    def energy(trajectory):
        price = (trajectory.poses[..., :2] ** 2).sum(-1) + SPEED_PRICE * (trajectory.velocities**2).sum(-1)
        return price + ACTION_PRICE * (trajectory.actions**2).sum(-1)[:, :, None]

    optimum = sum(riccati(np.array([p, v]), horizon) for p, v in zip(start, velocity, strict=True))
    return Task("lqr", planar(DoubleIntegrator(), energy, horizon, start=start, velocity=velocity), optimum, 1.02)


def riccati(state: np.ndarray, horizon: int) -> float:
    """Least mean cost of one axis [position, speed] over `horizon` steps, by the Riccati recursion."""
    a, b = np.array([[1, DT], [0, 1]]), np.array([[DT**2 / 2], [DT]])
    q, r = np.diag([1.0, SPEED_PRICE]), np.array([[ACTION_PRICE]])
    to_go = np.zeros((2, 2))
    for _ in range(horizon):
        cost = q + to_go  # the state after the step is what is paid for
        gain = np.linalg.solve(r + b.T @ cost @ b, b.T @ cost @ a)
        to_go = a.T @ cost @ (a - b @ gain)
    return float(state @ to_go @ state) / horizon


# --- a goal behind a wall ---------------------------------------------------------------------------------------------------

WALL, BEYOND, STEPS = 0.25, 0.6, 5


def wall() -> Task:
    def energy(trajectory):
        offset = trajectory.poses[..., :2] - torch.tensor([BEYOND, 0.0])
        return (offset**2).sum(-1) + ACTION_PRICE * (trajectory.actions**2).sum(-1)[:, :, None]

    problem = planar(DoubleIntegrator(), energy, STEPS, [lambda trajectory: WALL - trajectory.poses[..., 0]])
    return Task("wall", problem, closing_grid(), 1.02)


def closing_grid(levels: int = 40, points: int = 7, bound: float = 4.0) -> float:
    """Least energy of the wall's first axis, by grids round the best point so far (the problem is convex)."""
    centre, width, least = np.zeros(STEPS), bound, math.inf
    for _ in range(levels):
        axes = [np.clip(np.linspace(c - width, c + width, points), -bound, bound) for c in centre]
        plans = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, STEPS)
        speed = DT * np.cumsum(plans, 1)
        position = np.cumsum(DT * (speed - DT * plans / 2), 1)
        energy = ((position - BEYOND) ** 2 + ACTION_PRICE * plans**2).mean(1)
        energy[(position > WALL).any(1)] = math.inf
        best = int(energy.argmin())
        if energy[best] < least:
            least, centre = float(energy[best]), plans[best]
        width *= 0.8
    return least


# --- a bandit of modes ------------------------------------------------------------------------------------------------------

DEPTHS = (0.6, 0.75, 0.7, 1.0, 0.8, 0.65)
WIDTH, RADIUS = 0.25, 0.7


def bandit(horizon: int = 3, best: int = 3) -> Task:
    """Wells round the origin; energy is 0 at the bottom of the deepest, at least 0.2 in every other one."""
    angle = 2 * math.pi * np.arange(len(DEPTHS)) / len(DEPTHS)
    wells = torch.tensor(RADIUS * np.stack([np.cos(angle), np.sin(angle)], -1), dtype=torch.float32)
    depths = torch.tensor(np.roll(DEPTHS, best - int(np.argmax(DEPTHS))), dtype=torch.float32)

    def energy(trajectory):
        away = ((trajectory.poses[..., None, :2] - wells) ** 2).sum(-1)
        return 1 - (depths * torch.exp(-away / (2 * WIDTH**2))).sum(-1).clamp(max=1)

    return Task("bandit", planar(Picker(), energy, horizon, bound=1.0), 0.0, 0.1)


# --- obstacles before a body that moves -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Course:
    """`discs` [n, 3] (x, y, radius) before a body; whether a plan of the grid `exists`, or `standing`, that keeps clear."""

    problem: Problem
    discs: np.ndarray
    exists: bool
    standing: bool


LEVELS, PIECES, LENGTH = 5, 3, 6
SLACK = 0.01
"""What the grid's plan must keep clear by: the optimizer need not find what is allowed in one point only."""


def course(seed: int, bound: float = 3.0) -> Course:
    """Draws a problem; in about half of them something is allowed, in hardly any the braking plan (which only coasts)."""
    random = np.random.default_rng(seed)
    heading = random.uniform(-math.pi, math.pi)
    ahead = np.array([math.cos(heading), math.sin(heading)])
    velocity = random.uniform(1.5, 3.5) * ahead
    offsets = random.normal(size=(4, 2)) * 0.35 + random.uniform(0.8, 1.6) * ahead
    discs = np.concatenate([offsets, random.uniform(0.2, 0.45, (4, 1))], 1)
    discs = discs[np.linalg.norm(discs[:, :2], axis=1) > discs[:, 2] + 0.05]
    if len(discs) == 0:
        return course(seed + 10_000, bound)
    goal = torch.tensor(3.0 * ahead, dtype=torch.float32)
    centres = torch.tensor(discs, dtype=torch.float32)

    def energy(trajectory):
        return ((trajectory.poses[..., :2] - goal) ** 2).sum(-1)

    def margin(trajectory):
        away = torch.sqrt(((trajectory.poses[..., None, :2] - centres[:, :2]) ** 2).sum(-1) + 1e-12)
        return (away - centres[:, 2]).amin(-1)

    problem = planar(DoubleIntegrator(), energy, LENGTH, [margin], velocity=tuple(velocity), bound=bound)
    pieces = np.array(list(itertools.product(np.linspace(-bound, bound, LEVELS), repeat=2 * PIECES)))
    plans = np.repeat(pieces.reshape(-1, PIECES, 2), LENGTH // PIECES, 1)
    clear = clearances(discs, velocity, plans)
    coasting = clearances(discs, velocity, np.zeros((1, LENGTH, 2)))
    return Course(problem, discs, bool((clear > SLACK).any()), bool(coasting[0] >= 0))


def clearances(discs: np.ndarray, velocity: np.ndarray, plans: np.ndarray) -> np.ndarray:
    """Least clearance [n] of plans [n, H, 2]; shares no code with the world model."""
    position, speed = np.zeros((len(plans), 2)), np.tile(velocity, (len(plans), 1))
    least = np.full(len(plans), np.inf)
    for step in range(plans.shape[1]):
        position = position + DT * speed + 0.5 * DT**2 * plans[:, step]
        speed = speed + DT * plans[:, step]
        for x, y, radius in discs:
            least = np.minimum(least, np.hypot(position[:, 0] - x, position[:, 1] - y) - radius)
    return least


# --- one decision of the robot ----------------------------------------------------------------------------------------------


def decision(where: str, horizon: int = 15) -> Task:
    """A robot at 0.3 m/s, its goal 2.5 m ahead; `where`: open_floor, doorway (its middle 0.35 m aside) or dead_end."""
    robot = RobotParameters()
    grid = np.arange(-2.0, 2.0, 0.05)
    room = [*((x, y) for x in (-1.5, 4.0) for y in grid), *((x, y) for x in np.arange(-1.5, 4.0, 0.05) for y in (-2.0, 2.0))]
    walls = {
        "open_floor": [],
        "doorway": [(1.2, y) for y in grid if abs(y - 0.35) > 0.42],
        "dead_end": [(1.0, y) for y in grid if abs(y) < 0.6] + [(x, y) for x in np.arange(0.2, 1.0, 0.05) for y in (-0.6, 0.6)],
    }
    return Task(where, robot_problem(robot, np.array(room + walls[where]), horizon), None, 1.05)


def robot_problem(robot: RobotParameters, points: np.ndarray, horizon: int, features: int = 1) -> Problem:
    """`robot` at 0.3 m/s among obstacle `points` [P, 2], its goal 2.5 m ahead; a blank representation of `features`."""
    state = WorldState(
        stamp=0.0,
        representation=np.zeros((1, 1, features)),
        pose=np.zeros((1, 3)),
        velocity=np.array([[0.3, 0.0]]),
        model="bench",
        points=points[None],
    ).to_torch()
    names = ("goal_pose", "smooth", "effort", "bump")
    return Problem(
        state=state,
        goal=Goal(position=torch.tensor([[2.5, 0.0]])),
        world_model=create("world_model", PluginSpec(plugin="unicycle"), robot),
        objectives=[WeightedObjective(name, 1.0, create("objective", PluginSpec(plugin=name), robot)) for name in names],
        guardrails=[NamedGuardrail("clearance", create("guardrail", PluginSpec(plugin="clearance"), robot))],
        horizon=horizon,
        dt=DT,
        futures=1,
        action_low=torch.tensor([-robot.max_reverse_speed, -robot.max_turn_rate]),
        action_high=torch.tensor([robot.max_speed, robot.max_turn_rate]),
        rate_limit=torch.tensor([robot.max_acceleration, robot.max_turn_acceleration]),
        last_action=torch.tensor([[0.3, 0.0]]),
    )
