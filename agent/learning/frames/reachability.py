"""Reachability on representations of images: how many steps it takes from one moment to another, learned from any logs.

On representations of a frozen model the quasimetric d (`cost/frame_quasimetric.py`) is trained with moments s, their successors
s' and goals g, all of one layout:

    push        softplus(far - d(s, g))           any two moments as far apart as the rest allows
    constraint  d(s, s') <= 1                     what is one step apart is one step apart: by a learned multiplier

(quasimetric reinforcement learning, Wang et al. 2023, arXiv 2304.01203).  What keeps two places together is only what was
driven between them, so walls push places apart and doors bring them together.  Goals of another layout would teach nothing:
nobody ever goes there.  What is worth reading is the rank correlation with the true steps on held-out pairs, and that on pairs
with a detour (`frames/gate.py`); all pairs together are nearly straight lines and mislead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from objective_agent import devices
from objective_agent.config import NonNegative, Positive, Strict
from objective_agent.cost.frame_graph import quasimetric
from objective_agent.cost.frame_quasimetric import SCALE, FrameQuasimetric, FrameQuasimetricShape
from objective_agent.learning.batches import generator
from objective_agent.learning.frames.latents import Latents
from objective_agent.learning.reachability import Progress
from objective_agent.types import InputError

GAINS = {"edges.weight": 0.3, "film1.weight": 0.6, "film2.weight": 0.6, "place.weight": 0.6}
BUFFERS = ("mean", "scale", "map.mean", "map.scale", "pool.mean", "pool.scale")
MOMENTUM = 0.05
"""Of the running mean and width of pooled maps."""


class FrameReachabilityConfig(Strict):
    kind: Literal["embedding", "graph"] = Field("embedding", description="graph: ways on the map are counted (frame_graph.py)")
    hidden: int = Field(256, ge=8, le=4096)
    groups: int = Field(8, ge=1, le=64)
    size: int = Field(32, ge=1, le=256, description="components per group")
    token_size: int = Field(16, ge=1, le=256, description="components read of each token, where several are dynamic")
    channels: int = Field(48, ge=4, le=512, description="of the map's convolutions")
    layouts: int = Field(24, ge=1, le=1024, description="layouts per step (the same one again where there are fewer)")
    moments: int = Field(24, ge=1, le=4096, description="moments per layout and step")
    goals: int = Field(24, ge=1, le=4096, description="goals per layout and step; every moment is paired with every goal")
    learning_rate: Positive = 1.5e-3
    weight_decay: NonNegative = 1e-3
    minutes: Positive = Field(1.5, description="length of the training; or steps")
    steps: int | None = Field(None, ge=1)
    far: Positive = Field(15.0, description="distances are pushed up to about here, steps")
    softness: Positive = Field(3.3, description="how softly pushing ends there, steps")
    slack: Positive = Field(0.25, description="root mean square violation of the constraint that is let pass, steps")
    pressure: Positive = Field(10.0, description="weight of the constraint, times its multiplier")
    clip: Positive = Field(5.0, description="largest norm of the gradient")
    most_rows: int = Field(150_000, ge=100, description="rows of the data set used: memory")


class FrameReachabilityNetwork(nn.Module):
    """The weights of a `FrameQuasimetric` as parameters, and the multiplier."""

    def __init__(self, shape: FrameQuasimetricShape, fixed: Mapping[str, Tensor] | None = None):
        """`fixed`: means and scales by name (identity where missing), and `where.*` to begin with."""
        super().__init__()
        self.shape = shape
        fixed = dict(fixed or {})
        for name, size in shape.shapes().items():
            value = fixed[name].float().clone() if name in fixed else initial(name, size)
            if name in BUFFERS or (shape.kind == "graph" and name.startswith("where.")):
                self.register_buffer(name.replace(".", "_"), value)
            else:
                self.register_parameter(name.replace(".", "_"), nn.Parameter(value))
        self.multiplier = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("seen_maps", torch.tensor(0.0))

    def arrays(self) -> dict[str, Tensor]:
        return {name: getattr(self, name.replace(".", "_")) for name in self.shape.shapes()}

    def quasimetric(self) -> FrameQuasimetric:
        return quasimetric(self.shape, self.arrays())

    def weights(self) -> list[nn.Parameter]:
        """All parameters but the multiplier, which climbs."""
        return [parameter for name, parameter in self.named_parameters() if name != "multiplier"]

    def losses(
        self, moments: Tensor, successors: Tensor, goals: Tensor, places: Tensor | None, config: FrameReachabilityConfig
    ) -> dict[str, Tensor]:
        """`push` and `constraint` of moments and successors [L, n, dynamic, D] and goals [L, g, dynamic, D] of L layouts.

        Weighted; their sum is the loss.  `places` [L, P, D] is each layout's map; gradients go through all arguments, so a map
        encoder can be trained with it.  Call `climb` with the constraint's violation after each step.
        """
        metric = self.quasimetric()
        counts = [moments.shape[1], successors.shape[1], goals.shape[1]]
        embedded = metric.embed(torch.cat([moments, successors, goals], 1), self._context(metric, places))
        here, after, there = embedded.split(counts, 1)
        self.step_length = metric.distance(here, after)
        self.violation = functional.relu(self.step_length - 1).square().mean()
        far = pairwise(here, there, self.shape.groups)
        self.apart = far.detach().mean()
        return {
            "push": functional.softplus(config.far - far, beta=1 / config.softness).mean(),
            "constraint": config.pressure * functional.softplus(self.multiplier.detach()) * (self.violation - config.slack**2),
        }

    def _context(self, metric: FrameQuasimetric, places: Tensor | None) -> tuple | None:
        """The maps' context; on the way the running mean and width of pooled maps follow those of this batch."""
        if places is None or self.shape.kind == "graph":
            return metric.context(places)
        features, pooled = metric.look(places)
        with torch.no_grad():
            momentum = (1 / (1 + self.seen_maps)).clamp(min=MOMENTUM)
            self.seen_maps += 1
            self.pool_mean.lerp_(pooled.detach().mean(0), momentum)
            self.pool_scale.lerp_(pooled.detach().std(0, correction=0).clamp(min=1e-2), momentum)
        return metric.modulation(features, pooled)

    def climb(self, ascent: torch.optim.Optimizer, config: FrameReachabilityConfig) -> None:
        """The multiplier's step: up where steps are longer than one step, down where there is room."""
        ascent.zero_grad(set_to_none=True)
        self.ascent_loss(config).backward()
        ascent.step()

    def ascent_loss(self, config: FrameReachabilityConfig) -> Tensor:
        """What the multiplier descends on: minus itself times how far the violation is above its slack, as a share, within 1.

        Not the violation itself: it begins ten times as large as it ends, and an optimizer that remembers that would hardly let
        the multiplier fall again; distances then stay pressed together for most of the training.
        """
        excess = (self.violation.detach() / config.slack**2 - 1).clamp(-1, 1)
        return -self.multiplier * excess


def pairwise(start: Tensor, end: Tensor, groups: int) -> Tensor:
    """Distances [L, n, g] from every embedding `start` [L, n, E] to every `end` [L, g, E], as `FrameQuasimetric.distance`.

    Cheap to differentiate: only the largest component of each group has a gradient.
    """
    layouts, n, size = start.shape
    g = end.shape[1]
    with torch.no_grad():
        ahead = (start[:, :, None] - end[:, None]).unflatten(-1, (groups, -1))
        largest = ahead.max(-1).indices + torch.arange(0, size, size // groups, device=start.device)  # [L, n, g, groups]
        first = size * torch.arange(layouts * n, device=start.device).view(layouts, n, 1, 1)
        last = size * torch.arange(layouts * g, device=start.device).view(layouts, 1, g, 1)
    ahead = start.reshape(-1)[largest + first] - end.reshape(-1)[largest + last]
    return SCALE * functional.relu(ahead).mean(-1)


def initial(name: str, size: tuple[int, ...]) -> Tensor:
    """The first values of weight `name`."""
    if name == "offsets":  # to the neighbouring places of an 8 x 8 map, about
        return 0.11 * torch.tensor([[-1.0, 0.0, 1.0]] * 2)
    if name == "width":
        return torch.full(size, math.log(0.07))
    if len(size) == 1:
        return torch.ones(size) if name.endswith(("gain", "scale")) else torch.zeros(size)
    return torch.randn(size) * GAINS.get(name, 1.0) / math.sqrt(size[0])


def train(
    latents: Latents,
    config: FrameReachabilityConfig,
    seed: int = 0,
    report: Callable[[Progress], None] | None = None,
) -> FrameReachabilityNetwork:
    """The trained head; with `steps` (and one thread) the result depends on latents, configuration and seed alone.

    It is trained where the latents are.
    """
    torch.manual_seed(seed)
    _, dynamic, features = latents.tokens.shape
    shape = shape_of(config, features, dynamic, 0 if latents.maps is None else latents.maps.shape[2])
    network = FrameReachabilityNetwork(shape, statistics(latents)).to(latents.tokens.device)
    optimizer = torch.optim.AdamW(network.weights(), config.learning_rate, weight_decay=config.weight_decay)
    ascent = torch.optim.Adam([network.multiplier], 1e-2)
    pairs = Pairs(latents, config)
    began, step, share, smooth = time.monotonic(), 0, 0.0, None
    while share < 1:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (min(1.0, (step + 1) / 100) * (1 - share) + 0.005)
        losses = network.losses(*pairs.draw(generator(seed, "frame_reachability", step)), config)
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(network.weights(), config.clip)
        optimizer.step()
        network.climb(ascent, config)
        step += 1
        now = torch.stack([losses["push"], network.step_length.mean(), network.apart, network.violation]).detach()
        smooth = now if smooth is None else smooth.lerp(now, 0.02)
        spent = time.monotonic() - began
        share = step / config.steps if config.steps else spent / (60 * config.minutes)
        if report is not None and step % 25 == 0:
            report(Progress(step, min(1.0, share), spent * (1 / max(share, 1e-6) - 1), _named(smooth)))
    network.steps_taken, network.last = step, _named(smooth)
    return network.eval()


def _named(values: Tensor) -> dict[str, float]:
    return dict(zip(("push", "step", "apart", "violation"), values.tolist(), strict=True))


class Pairs:
    """Draws moments with their successors and goals, layout by layout."""

    def __init__(self, latents: Latents, config: FrameReachabilityConfig):
        self.latents, self.config = latents, config
        order = np.argsort(latents.layout, kind="stable")
        moving = order[np.asarray(latents.follows)[order]]
        layouts = int(latents.layout.max()) + 1
        self._goals, self._moments = Groups(order, latents.layout, layouts), Groups(moving, latents.layout, layouts)
        self._usable = np.flatnonzero(self._moments.counts)
        if not len(self._usable):
            raise InputError("reachability: no row has a successor in its episode; collect episodes of 2 steps or more")

    def draw(self, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """(moments, successors, goals [L, ., dynamic, D], maps [L, P, D] or None)."""
        config, latents = self.config, self.latents
        repeat = len(self._usable) < config.layouts
        layouts = random.choice(self._usable, config.layouts, replace=repeat)
        rows = self._moments.draw(layouts, config.moments, random)
        goals = self._goals.draw(layouts, config.goals, random)
        maps = None
        if latents.maps is not None:
            frames = random.integers(0, latents.maps.shape[1], len(layouts))
            chosen = (devices.move(torch.from_numpy(each), latents.maps.device) for each in (layouts, frames))
            maps = latents.maps[tuple(chosen)].float()
        return latents.take(rows), latents.take(rows + 1), latents.take(goals), maps


class Groups:
    """Rows by layout: `draw` takes some of each asked layout, with replacement."""

    def __init__(self, rows: np.ndarray, layout: np.ndarray, layouts: int):
        self.rows, self.counts = rows, np.bincount(layout[rows], minlength=layouts)
        self._first = np.concatenate([[0], np.cumsum(self.counts)[:-1]])

    def draw(self, layouts: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
        share = random.random((len(layouts), count))
        return self.rows[self._first[layouts, None] + (share * self.counts[layouts, None]).astype(np.int64)]


def shape_of(config: FrameReachabilityConfig, features: int, dynamic: int, places: int) -> FrameQuasimetricShape:
    """For representations of `dynamic` tokens that move and a map of `places`, `features` each."""
    same = {name: getattr(config, name) for name in ("kind", "hidden", "groups", "size", "token_size", "channels")}
    if config.kind == "graph":
        same |= {"groups": 1, "size": places}
    return FrameQuasimetricShape(features=features, dynamic=dynamic, places=places, **same)


def statistics(latents: Latents) -> dict[str, Tensor]:
    """What is known of the weights before training: means, scales, and where the agent is on the map."""
    sample = latents.tokens[:: max(1, len(latents.tokens) // 20_000)].float().flatten(0, 1)
    fixed = {"mean": sample.mean(0), "scale": sample.std(0).clamp(min=1e-3)}
    if latents.maps is not None:
        maps = latents.maps.flatten(0, 1)[:2000].float().flatten(0, 1)
        fixed |= {"map.mean": maps.mean(0), "map.scale": maps.std(0).clamp(min=1e-3)}
        if latents.where is not None:
            fixed |= dict(zip(("where.weight", "where.bias"), latents.where, strict=True))
    return fixed


def export(network: FrameReachabilityNetwork) -> dict[str, np.ndarray]:
    """The head's arrays by name, as they are stored."""
    return {name: value.detach().float().cpu().numpy() for name, value in network.arrays().items()}
