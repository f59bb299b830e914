"""Two small worlds whose next seconds are known up to one of two ways, as world models with K futures.

person  somebody comes out of a side corridor and will turn, mostly, or cross the robot's way
door    the straight way leads through a sliding door that may close when the robot gets there; another opening never does

A world model here is analytic: the robot moves as `unicycle` says, the person or the door leaf in each of K futures one of the
two ways, as many futures each way as its probability says (rounded), with a spread of speeds or moments inside each way.
Nothing in it is learned, the probability is the true one, and when the thing has visibly begun to go one way all futures go
that way.  What it says is what the shipped cost terms read: the read-outs `people` and `people_expected` [B, N, K, H], the
distance from the robot's footprint to what moves (the door leaf, too).

The representation is what can be known of the thing, one token of `Person.FEATURES` or `Door.FEATURES` numbers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from objective_agent.config import RobotParameters, Strict
from objective_agent.types import Trajectory, WorldState
from objective_agent.world_model.unicycle import Unicycle

BODY = 0.25
"""Radius of a person, m."""
AT, EDGE = 3.0, 0.9
"""x at which they come to the corridor's edge, and its y, m."""
WALL, DOOR, OTHER, HALF = 3.0, 0.0, 1.2, 0.5
"""x of the wall; y of the door's and of the other opening's middle; half their width, m."""
SLIDE = 0.5
"""Speed of the door leaf, m/s."""
OUT, AWAY = 0.02, 9.0
"""A leaf less far out of the wall is a part of it, and counts as so far away, m."""


class TwoWays:
    """Base of the two world models; `Config` has no settings."""

    class Config(Strict):
        pass

    model = "two-ways"

    def __init__(self, config: Config, robot: RobotParameters):
        self._robot = Unicycle(Unicycle.Config(), robot)
        self._radius = robot.radius

    def ahead(self, known, seconds: float):
        """What will be known [B, F] in so many seconds."""
        raise NotImplementedError

    def gap(self, known, seconds, futures: int, position):
        """Distance [B, N, K, H] from positions [B, N, 1, H, 2] to the thing after `seconds` [H], its size taken off."""
        raise NotImplementedError

    def advance(self, state: WorldState, until: float) -> WorldState:
        known = self.ahead(state.representation[:, 0], max(0.0, until - state.stamp))
        return replace(self._robot.advance(state, until), representation=known[:, None])

    def rollout(self, state: WorldState, actions, futures: int = 1, dt: float = 0.2) -> Trajectory:
        imagined = self._robot.rollout(state, actions, futures, dt)
        distance = self._distance(state, imagined, futures, dt)
        still = self._robot.rollout(state, torch.zeros_like(actions[:, :1]), 1, dt)
        standing = self._distance(state, still, futures, dt)
        both = {"people": distance, "people_expected": distance}
        return replace(imagined, readouts=dict(both), standing={"people": standing})

    def _distance(self, state: WorldState, imagined: Trajectory, futures: int, dt: float):
        """The least at the middle and at the end of each step, from the footprint."""
        ends = imagined.poses[:, :, :1, :, :2]
        start = state.pose[:, None, None, None, :2].expand_as(ends[..., :1, :])
        middles = 0.5 * (torch.cat([start, ends[..., :-1, :]], 3) + ends)
        seconds = dt * torch.arange(1, ends.shape[3] + 1)
        known = state.representation[:, 0]
        least = torch.minimum(self.gap(known, seconds - dt / 2, futures, middles), self.gap(known, seconds, futures, ends))
        return least - self._radius


def ways(probability, futures: int):
    """[B, K] bool: which futures go the first way, and [K] in -1..1: where each stands in the spread."""
    order = torch.arange(futures)
    first = (order + 0.5) / futures < probability[:, None]
    return first, 2 * torch.frac(0.5 + 0.618034 * order) - 1


class Person(TwoWays):
    """Known: x, y, speed, the y of the corridor's edge, the probability of crossing; the other way is along the edge, to +x."""

    FEATURES = 5

    def ahead(self, known, seconds):
        """They walk up to the edge at most, as long as it is open how they go on."""
        x, y, speed, edge, crosses = (known[:, i] for i in range(5))
        to_edge = ((y - edge) / speed).clip(0, seconds)
        beyond = speed * (seconds - to_edge)
        changed = known.clone() if isinstance(known, torch.Tensor) else known.copy()
        changed[:, 0] = x + beyond * (crosses < 0.001)
        changed[:, 1] = y - speed * to_edge - beyond * (crosses > 0.999)
        return changed

    def gap(self, known, seconds, futures, position):
        x, y, speed, edge = (known[:, i, None, None] for i in range(4))
        first, spread = ways(known[:, 4], futures)
        pace = speed * (1 + 0.15 * spread[:, None])
        to_edge = torch.minimum(((y - edge) / pace).clamp(min=0), seconds)
        beyond = pace * (seconds - to_edge)
        crosses = first[:, :, None]
        there = torch.stack([x + beyond * ~crosses, y - pace * to_edge - beyond * crosses], -1)  # [B, K, H, 2]
        return torch.linalg.vector_norm(position - there[:, None], dim=-1) - BODY


class Door(TwoWays):
    """Known: how far the leaf is out, m; seconds until it is expected to move; the probability that it does."""

    FEATURES = 3

    def ahead(self, known, seconds):
        out, until, closes = (known[:, i] for i in range(3))
        moving = (closes > 0.999) * 1.0
        changed = known.clone() if isinstance(known, torch.Tensor) else known.copy()
        changed[:, 0] = (out + moving * SLIDE * (seconds - until.clip(0, None)).clip(0, None)).clip(0, 2 * HALF)
        changed[:, 1] = until - seconds
        return changed

    def gap(self, known, seconds, futures, position):
        out, until, closes = (known[:, i, None, None] for i in range(3))
        first, spread = ways(known[:, 2], futures)
        doubt = torch.where(closes > 0.999, 0.0, 0.4)
        begins = (until + doubt * spread[:, None]).clamp(min=0)
        far = (out + SLIDE * (seconds - begins).clamp(min=0) * first[:, :, None]).clamp(max=2 * HALF)  # [B, K, H]
        distance = leaf_distance(position[..., 0], position[..., 1], far[:, None], torch)
        return torch.where(far[:, None] > OUT, distance, AWAY)


def leaf_distance(x, y, out, xp):
    """From points to a leaf that is `out` metres out of the wall on the -y side."""
    tip = DOOR - HALF + out
    return xp.sqrt((x - WALL) ** 2 + (y - xp.minimum(xp.clip(y, DOOR - HALF, None), tip)) ** 2)


def walls(world: str) -> np.ndarray:
    """Obstacle points [P, 2]: the corridor's sides, or the wall with its two openings."""
    if world == "person":
        return np.array([(x, y) for x in np.arange(-1.0, 8.0, 0.5) for y in (-1.6, 1.6)])
    y = np.arange(-1.5, 3.0, 0.15)
    edges = (DOOR - HALF, DOOR + HALF, OTHER - HALF, OTHER + HALF)
    solid = (y < edges[0]) | ((y > edges[1]) & (y < edges[2])) | (y > edges[3])
    return np.array([(WALL, each) for each in (*y[solid], *edges)])
