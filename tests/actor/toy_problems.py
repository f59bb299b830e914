"""Planning problems with known answers: linear worlds in which the best plan can be computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from objective_agent.config import PluginSpec, RobotParameters
from objective_agent.plugins import create
from objective_agent.types import Goal, NamedGuardrail, Problem, Trajectory, WeightedObjective, WorldState

ROBOT = RobotParameters()


def optimizer(name="mppi", seed=0, **settings):
    made = create("optimizer", PluginSpec(plugin=name, **settings), ROBOT)
    made.reset(seed)
    return made


class DoubleIntegrator:
    """A point that is accelerated: actions are (ax, ay), p' = v, v' = a."""

    model = "double-integrator"

    def __init__(self, before_rollout: Callable[[], None] = lambda: None):
        self.rollouts = 0
        self._before = before_rollout

    def rollout(self, state, actions, futures=1, dt=0.2):
        self._before()
        self.rollouts += 1
        velocity = state.velocity[:, None, None] + dt * actions.cumsum(2)
        before = torch.cat([state.velocity[:, None, None].expand_as(velocity[:, :, :1]), velocity[:, :, :-1]], 2)
        position = state.pose[:, None, None, :2] + (dt * (before + velocity) / 2).cumsum(2)
        poses = torch.cat([position, torch.zeros_like(position[..., :1])], -1)
        shape = (*actions.shape[:2], futures, actions.shape[2])
        poses = poses[:, :, None].expand(*shape, 3)
        return Trajectory(state, actions, poses, velocity[:, :, None].expand(*shape, 2), dt)

    def advance(self, state, until):
        return state


class Term:
    """An objective or guardrail made of a function of the trajectory."""

    def __init__(self, function):
        self._function = function

    def energy(self, trajectory, goal):
        return self._function(trajectory, goal)

    def margin(self, trajectory):
        return self._function(trajectory)


EFFORT = 0.05


def squared_distance(trajectory, goal):
    return ((trajectory.poses[..., :2] - goal.position[:, None, None, None]) ** 2).sum(-1)


def squared_action(trajectory, goal):
    energy = EFFORT * (trajectory.actions**2).sum(-1)
    return energy[:, :, None].expand(trajectory.poses.shape[:-1])


def reach(
    goals=((1.0, 0.5),), horizon=6, dt=0.2, guardrails=(), objectives=None, world_model=None, futures=1, bound=20.0, **rest
):
    """Come to the goals from rest at the origin with little acceleration: linear model, quadratic energy."""
    batch = len(goals)
    state = WorldState(
        stamp=4.0,
        representation=np.zeros((batch, 1, 1)),
        pose=np.zeros((batch, 3)),
        velocity=np.zeros((batch, 2)),
        model="toy",
    )
    terms = objectives if objectives is not None else {"near": squared_distance, "effort": squared_action}
    limits = {"action_low": [-20.0] * 2, "action_high": [20.0] * 2, "rate_limit": [1e3] * 2} | rest
    return Problem(
        state=state,
        goal=Goal(position=np.array(goals)),
        world_model=world_model or DoubleIntegrator(),
        objectives=[WeightedObjective(name, 1.0, Term(function)) for name, function in terms.items()],
        guardrails=[NamedGuardrail(f"rail{i}", Term(function)) for i, function in enumerate(guardrails)],
        horizon=horizon,
        dt=0.2,
        futures=futures,
        last_action=np.zeros((batch, 2)),
        **{name: np.array(value) if isinstance(value, list) else value for name, value in limits.items()},
    )


def best_plan(goal, horizon=6, dt=0.2):
    """The least energy of `reach` and its actions [H, 2], by linear least squares."""
    steps = np.arange(horizon)
    reach_of = np.where(steps[:, None] >= steps, dt**2 * (steps[:, None] - steps + 0.5), 0.0)
    rows = np.concatenate([reach_of, np.sqrt(EFFORT) * np.eye(horizon)]) / np.sqrt(horizon)
    actions, energy = [], 0.0
    for target in goal:
        wanted = np.concatenate([np.full(horizon, target), np.zeros(horizon)]) / np.sqrt(horizon)
        solution = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        actions.append(solution)
        energy += ((rows @ solution - wanted) ** 2).sum()
    return np.stack(actions, -1), energy
