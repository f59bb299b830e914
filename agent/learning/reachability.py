"""Reachability learned by hindsight: how many steps it takes from what one sees to what a picture shows.

Every recorded moment is a goal that was reached, whatever the robot wanted, so logs without any task teach going to places
(hindsight).  On representations of a frozen model the quasimetric d (`cost/quasimetric.py`) is trained with, for moments s of
the same episode as the goal g,

    push        softplus(far - d(s, g))                       as far apart as the rest allows
    constraint  d(s[t], s[t+1]) <= 1                          enforced by a learned multiplier
    hindsight   d(s[t], g[t+k]) <= k                          the robot was there k steps later
    body        d(s, g) >= max(way / v_max, turn / w_max)     no robot with these limits is faster
    strangers   d(s, g') pushed to `far`                      a picture of another home
    place       the pose of s as seen from g, read out of the hidden layer: what the metric has to know; not kept

The first two are quasimetric reinforcement learning (Wang et al. 2023, arXiv 2304.01203): in a finite world they find the
optimal steps-to-go.  One can't know everything from two glances, so here the others say what is known for sure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from objective_agent.config import NonNegative, Positive, RobotParameters, Strict
from objective_agent.cost.quasimetric import Quasimetric, QuasimetricShape
from objective_agent.learning.batches import generator
from objective_agent.learning.moments import Moments, pick

NEAR = 4.0
"""Farther than this two moments have nothing in view together; their relative pose is not asked for, m."""


class ReachabilityConfig(Strict):
    hidden: int = Field(128, ge=8, le=1024)
    groups: int = Field(8, ge=1, le=64)
    size: int = Field(8, ge=1, le=64, description="components per group")
    batch: int = Field(512, ge=8, le=8192, description="pairs per step")
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 1e-3
    minutes: Positive = Field(3.0, description="length of the training; or steps")
    steps: int | None = Field(None, ge=1)
    far: Positive = Field(60.0, description="distances are pushed up to about here, steps")
    softness: Positive = Field(6.0, description="how softly pushing ends there, steps")
    slack: Positive = Field(0.25, description="root mean square violation of the constraint that is let pass, steps")
    near_share: float = Field(0.5, ge=0, le=1, description="share of pairs that are drawn within `near_steps`")
    near_steps: int = Field(30, ge=1)
    hindsight: NonNegative = 1.0
    body: NonNegative = 1.0
    strangers: NonNegative = 0.2
    place: NonNegative = 1.0
    place_first: float = Field(0.0, ge=0, lt=1, description="share of the training in which only the place is learned")
    most_rows: int = Field(150_000, ge=1000, description="rows of the data set used: memory")


@dataclass
class Progress:
    step: int
    share: float
    seconds_left: float
    losses: dict[str, float]


class ReachabilityNetwork(nn.Module):
    """The weights of a `Quasimetric` as parameters, the multiplier, and the read-out of the relative pose."""

    def __init__(self, shape: QuasimetricShape, mean: Tensor, scale: Tensor):
        super().__init__()
        self.shape = shape
        fixed = {"mean": mean, "scale": scale, "lift.weight": torch.eye(shape.features), "lift.bias": torch.zeros_like(mean)}
        for name, size in shape.shapes().items():
            if name in fixed:
                self.register_buffer(name.replace(".", "_"), fixed[name])
                continue
            gain = {"second.gain": 0.1, "second.shift": 0.1, "common.weight": 0.7, "out.weight": 8.0}.get(name, 1.0)
            value = torch.zeros(size) if len(size) == 1 else torch.randn(size) * gain / math.sqrt(size[0])
            self.register_parameter(name.replace(".", "_"), nn.Parameter(value))
        self.place = nn.Linear(shape.hidden, 4)
        self.multiplier = nn.Parameter(torch.tensor(math.log(math.expm1(0.1))))

    def arrays(self) -> dict[str, Tensor]:
        return {name: getattr(self, name.replace(".", "_")) for name in self.shape.shapes()}

    def quasimetric(self) -> Quasimetric:
        return Quasimetric(self.shape, self.arrays())


def train(
    moments: Moments,
    config: ReachabilityConfig,
    robot: RobotParameters,
    dt: float,
    seed: int = 0,
    report: Callable[[Progress], None] | None = None,
) -> ReachabilityNetwork:
    """The trained head; with `steps` (and one thread) the result depends on data, configuration and seed alone."""
    torch.manual_seed(seed)
    sample = moments.kinds[0].float()
    shape = QuasimetricShape(features=sample.shape[1], hidden=config.hidden, groups=config.groups, size=config.size)
    network = ReachabilityNetwork(shape, sample.mean(0), sample.std(0).clamp(min=1e-3))
    fit_lift(network, moments)
    weights = [p for name, p in network.named_parameters() if name != "multiplier"]
    optimizer = torch.optim.AdamW(weights, config.learning_rate, weight_decay=config.weight_decay)
    ascent = torch.optim.Adam([network.multiplier], 1e-2, maximize=True)
    pairs = Pairs(moments, config, robot, dt)
    began, step, share, smooth = time.monotonic(), 0, 0.0, {}
    while share < 1:
        spent = time.monotonic() - began
        share = step / config.steps if config.steps else spent / (60 * config.minutes)
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
        draw = pairs.draw(generator(seed, "reachability", step))
        losses = losses_of(network, draw, config) if share >= config.place_first else only_place(network, draw)
        total = sum(losses.values())
        optimizer.zero_grad(set_to_none=True)
        network.multiplier.grad = None
        total.backward()
        nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()
        if network.multiplier.grad is not None:
            ascent.step()
        step += 1
        for name, value in losses.items():
            now = float(value.detach())
            smooth[name] = 0.98 * smooth.get(name, now) + 0.02 * now
        if report is not None and step % 25 == 0:
            report(Progress(step, min(1.0, share), spent * (1 / max(share, 1e-6) - 1), dict(smooth)))
    return network.eval()


@dataclass
class Draw:
    """n pairs: goals [n, D], moments and successors [n, D] (where there are any: `follows` [n]), and what is known of them."""

    goals: Tensor
    moments: Tensor
    successors: Tensor
    """Of the same kind: what changes from step to step, not from sense to sense."""
    follows: Tensor
    later: Tensor
    """[n] steps from the moment to the goal where the goal came later, else -1."""
    least: Tensor
    """[n] steps that this takes at the limits of the robot's speed."""
    relative: Tensor
    """[n, 3] pose of the moment as seen from the goal."""


class Pairs:
    """Draws moments, their successors and goals of the same episode."""

    def __init__(self, moments: Moments, config: ReachabilityConfig, robot: RobotParameters, dt: float):
        self.moments, self.config = moments, config
        self.limits = (robot.max_speed * dt, robot.max_turn_rate * dt)
        self._goals = np.flatnonzero(moments.has_goal)
        self._kinds = len(moments.kinds)

    def draw(self, random: np.random.Generator) -> Draw:
        m, count = self.moments, self.config.batch
        goals = random.choice(self._goals, count)
        first, last = m.first[goals], m.last[goals]
        anywhere = first + (random.random(count) * (last - first)).astype(np.int64)
        reach = self.config.near_steps
        near = np.clip(goals - random.integers(-reach // 2, reach + 1, count), first, last - 1)
        rows = np.where(random.random(count) < self.config.near_share, near, anywhere)
        after = np.minimum(rows + 1, last - 1)
        relative = m.relative(rows, goals)
        way, turn = np.hypot(relative[:, 0], relative[:, 1]), np.abs(relative[:, 2])
        kinds = self._known(rows, random)
        follows = (after > rows) & (m.rows[after] == m.rows[rows] + 1) & m.known[kinds, after]
        return Draw(
            goals=m.goals[torch.from_numpy(goals)].float(),
            moments=pick(m, kinds, rows),
            successors=pick(m, kinds, after),
            follows=torch.from_numpy(follows),
            later=torch.from_numpy(np.where(goals >= rows, m.rows[goals] - m.rows[rows], -1)),
            least=torch.from_numpy(np.maximum(way / self.limits[0], turn / self.limits[1])).float(),
            relative=torch.from_numpy(relative).float(),
        )

    def _known(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """For each row one of the kinds in which it is known."""
        chance = random.random((self._kinds, len(rows))) * self.moments.known[:, rows]
        return chance.argmax(0)


def losses_of(network: ReachabilityNetwork, draw: Draw, config: ReachabilityConfig) -> dict[str, Tensor]:
    """The weighted losses of one draw; `constraint` carries the multiplier."""
    metric = network.quasimetric()
    context = metric.context(draw.goals)
    goal = metric.embed(draw.goals, context)
    hidden = metric.hidden(draw.moments, context)
    weights = network.arrays()
    here = hidden @ weights["out.weight"] + weights["out.bias"]
    after = metric.embed(draw.successors, context)
    apart = metric.distance(here, goal)
    one = metric.distance(here, after)
    over = functional.relu(one - 1).square()[draw.follows]
    later = draw.later >= 0
    steps = draw.later.clamp(min=0).float()
    late = (functional.relu(apart - steps) / (1 + steps).sqrt()).square()[later & (steps < config.far)]
    short = functional.relu(draw.least.clamp(max=config.far) - apart) / (1 + draw.least).sqrt()
    few = len(draw.goals) // 4 if config.strangers else 0
    strange = draw.goals.roll(1, 0)[:few]
    other = metric.context(strange)
    stranger = metric.distance(metric.embed(draw.moments[:few], other), metric.embed(strange, other))

    def push(distance: Tensor) -> Tensor:
        return config.softness * _mean(functional.softplus((config.far - distance) / config.softness)) / 10

    return {
        "push": push(apart),
        "constraint": functional.softplus(network.multiplier) * (_mean(over) - config.slack**2),
        "hindsight": config.hindsight * _mean(late),
        "body": config.body * short.square().mean(),
        "strangers": config.strangers * push(stranger),
        "place": config.place * place_loss(network.place(hidden), draw.relative),
    }


def only_place(network: ReachabilityNetwork, draw: Draw) -> dict[str, Tensor]:
    """The loss of the first part of a training: where one is must be known before it can be said how far that is."""
    metric = network.quasimetric()
    hidden = metric.hidden(draw.moments, metric.context(draw.goals))
    return {"place": place_loss(network.place(hidden), draw.relative)}


def place_loss(guess: Tensor, relative: Tensor) -> Tensor:
    """Huber loss of (x, y, cos, sin) for moments that are near enough to be compared."""
    near = (relative[:, :2].norm(dim=-1) < NEAR).float()
    target = torch.cat([relative[:, :2], torch.cos(relative[:, 2:]), torch.sin(relative[:, 2:])], -1)
    error = functional.smooth_l1_loss(guess, target, beta=0.2, reduction="none").sum(-1)
    return (near * error).sum() / near.sum().clamp(min=1)


def fit_lift(network: ReachabilityNetwork, moments: Moments, ridge: float = 1e-2) -> None:
    """The linear map from goals to what all senses say at the same moment: least squares with a ridge."""
    rows = np.flatnonzero(moments.has_goal & moments.known[0])
    goals, full = moments.goals[torch.from_numpy(rows)].double(), moments.kinds[0][torch.from_numpy(rows)].double()
    middle, end = goals.mean(0), full.mean(0)
    goals, full = goals - middle, full - end
    eye = torch.eye(goals.shape[1], dtype=torch.float64)
    matrix = torch.linalg.solve(goals.T @ goals / len(rows) + ridge * eye, goals.T @ full / len(rows))
    network.lift_weight.copy_(matrix)
    network.lift_bias.copy_(end - middle @ matrix)


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, len(values))


def export(network: ReachabilityNetwork) -> Mapping[str, np.ndarray]:
    return {name: value.detach().float().numpy() for name, value in network.arrays().items()}
