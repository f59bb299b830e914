"""Optimizers that sample: a cloud of correlated noise round a mean, narrowed by what the candidates are worth.

The cloud is wide for some candidates and narrow for others; its first candidate is the mean itself.  The first iteration adds
the previous plan, a policy's proposals and a library of arcs.  Where nothing feasible was found, the extremes of what the
robot can do take the places of some candidates in the next iteration.  How mean and width follow from the ranking is the only
thing in which most of these optimizers differ (`update`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from objective_agent.actor.evaluation import Evaluation, evaluate
from objective_agent.actor.noise import Kind, shaping
from objective_agent.actor.proposals import bang_bang, extremes, library, towards, within_limits
from objective_agent.actor.search import LEAST, Progress, Search, SearchConfig, with_known
from objective_agent.config import RobotParameters
from objective_agent.types import Problem


class SamplingConfig(SearchConfig):
    samples: int = Field(64, ge=4, le=8192, description="noisy candidates per iteration")
    noise: float = Field(0.5, gt=0, le=2, description="first width of the search, share of half an action's range")
    noise_kind: Kind = Field("smooth", description="how the noise changes over time: smooth, colored, knots or white")
    correlation: float = Field(0.6, gt=0, le=100, description="time over which the noise stays alike (smooth, knots), s")
    exponent: float = Field(2.0, ge=0, le=6, description="colored noise has the power 1 / f^exponent")
    common_noise: bool = Field(False, description="the same noise in every decision, so that only the problem changes the plan")
    use_library: bool = Field(True, description="first imagine a library of arcs, and turning to the goal (for (v, w) actions)")


@dataclass
class Cloud(Progress):
    """`mean` and width `std` [B, H, A] of the candidates, `floor` the least width; `found` [B]: something feasible was seen."""

    mean: Tensor
    std: Tensor
    floor: Tensor
    found: Tensor | None = None


class SamplingOptimizer(Search):
    Config = SamplingConfig
    narrowest = 0.2
    """Width of the cloud's narrowest candidates, share of its widest."""

    def __init__(self, config: SamplingConfig, robot: RobotParameters):
        super().__init__(config, robot)
        self._generator, self._place = torch.Generator(), torch.device("cpu")
        self._seed = 0
        self._made: dict[tuple, Tensor] = {}
        self.reset(0)

    def reset(self, seed: int | None = None) -> None:
        super().reset(seed)
        if seed is not None:
            self._seed = seed
            self._generator.manual_seed(seed)

    @abstractmethod
    def update(self, actions: Tensor, evaluation: Evaluation, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        """The next mean [B, H, A] and width [B, H, A], from the candidates `actions` [B, N, H, A] and what they are worth."""

    def count(self, iteration: int) -> int:
        """Noisy candidates of an iteration."""
        return self.config.samples

    def extras(self, problem: Problem, iteration: int) -> list[Tensor]:
        """More candidates [B, n, H, A] for an iteration; limits need not hold."""
        return []

    def begin(self, problem: Problem) -> Cloud:
        self._draw_on(problem.action_low.device)
        if self.config.common_noise:
            self._generator.manual_seed(self._seed)
        mean = problem.last_action[:, None].expand(-1, problem.horizon, -1)
        if problem.warm_start is not None:
            mean = problem.warm_start
        std = self.config.noise * 0.5 * (problem.action_high - problem.action_low).expand_as(mean)
        return Cloud(limited(problem, mean[:, None])[:, 0], mean, std, 0.05 * std)

    def look(self, problem: Problem, progress: Cloud, incumbent: Tensor, iteration: int) -> tuple[Tensor, Evaluation]:
        actions = with_known(incumbent, *self._cloud(problem, progress, iteration))
        new = actions[:, 2:]
        new.copy_(limited(problem, new))
        return actions, evaluate(problem, actions)

    def learn(self, problem: Problem, progress: Cloud, actions: Tensor, evaluation: Evaluation, iteration: int) -> None:
        progress.mean, std = self.update(actions, evaluation, progress.mean, progress.std)
        progress.std = torch.maximum(std, progress.floor)
        if problem.guardrails or self.differentiates:
            progress.found = evaluation.feasible.any(1)

    def _cloud(self, problem: Problem, cloud: Cloud, iteration: int) -> list[Tensor]:
        """Parts [B, n, H, A]: noise around the mean (which itself comes first), and at first the proposals."""
        mean, horizon, count = cloud.mean, problem.horizon, self.count(iteration)
        room = 1.0 if iteration else max(self.room, LEAST)
        count = max(4, round(room * count))
        white = torch.randn((count - 1, horizon, mean.shape[-1]), generator=self._generator, device=mean.device)
        noise = white if self.config.noise_kind == "white" else torch.matmul(self._shape(horizon, problem.dt), white)
        noise = cloud.std[:, None] * noise.mul_(self._widths(count - 1))
        new = [mean[:, None], noise.add_(mean[:, None])]
        if problem.guardrails and cloud.found is not None:  # whether it was is not asked: that would be waited for
            wild = self._wild(problem, 3 * (count - 1) // 4, iteration)
            some = new[1][:, count - 1 - len(wild) :]
            some.copy_(torch.where(cloud.found[:, None, None, None], some, wild))
        if iteration == 0:
            new.append(mean[:, None])
            if problem.proposals is not None:
                new.append(problem.proposals)
            if self.config.use_library and mean.shape[-1] == 2:
                new.append(self._library(problem)[:: round(1 / room)].expand(problem.state.batch, -1, -1, -1))
                if problem.goal.position is not None:
                    pose, goal, bounds = problem.state.pose, problem.goal.position, (problem.action_low, problem.action_high)
                    new.append(towards(pose, goal, horizon, problem.dt, *bounds, problem.rate_limit))
        return [*new, *self.extras(problem, iteration)]

    def _draw_on(self, device: torch.device) -> None:
        """Noise is drawn where the problem lies: another device, another sequence of it."""
        if device != self._place:
            self._generator, self._place = torch.Generator(device), device
            self._generator.manual_seed(self._seed)

    def _widths(self, count: int) -> Tensor:
        make = lambda: torch.linspace(1.0, self.narrowest, count, device=self._place)[:, None, None]  # noqa: E731
        return self._once(("widths", count, self._place), make)

    def _shape(self, horizon: int, dt: float) -> Tensor:
        config = self.config
        make = lambda: shaping(config.noise_kind, horizon, dt, config.correlation, config.exponent)  # noqa: E731
        return self._once(("noise", horizon, dt, self._place), lambda: make().to(self._place))

    def _library(self, problem: Problem) -> Tensor:
        low, high = problem.action_low, problem.action_high
        key = ("library", problem.horizon, problem.dt, problem.limits[:2], low.device)
        return self._once(key, lambda: library(problem.horizon, problem.dt, low, high))

    def _wild(self, problem: Problem, count: int, iteration: int) -> Tensor:
        """[count, H, A] in search of anything feasible: extremes, and others at random, the same in every decision."""
        low, high, horizon = problem.action_low, problem.action_high, problem.horizon

        def make() -> Tensor:
            generator = torch.Generator().manual_seed(iteration)
            fixed = extremes(low, high, horizon)[:count] if iteration == 1 else low.new_zeros(0, horizon, len(low))
            return torch.cat([fixed, bang_bang(count - len(fixed), low, high, horizon, generator)])

        return self._once(("wild", count, iteration, horizon, problem.limits[:2], low.device), make)

    def _once(self, key: tuple, make: Callable[[], Tensor]) -> Tensor:
        """What `make` gives, made anew only for a new key; only the last few are kept."""
        if key not in self._made:
            if len(self._made) >= 64:
                self._made.clear()
            self._made[key] = make()
        return self._made[key]


def limited(problem: Problem, actions: Tensor) -> Tensor:
    """`actions` [B, N, H, A] within the problem's bounds and rate limits."""
    low, high = problem.action_low, problem.action_high
    if problem.loose:
        return torch.clamp(actions, low, high)
    return within_limits(actions, low, high, problem.rate_limit * problem.dt, problem.last_action)


def allowed_score(evaluation: Evaluation) -> Tensor:
    """The scores [B, N] of candidates that an update may follow, the feasible ones or all where there is none; others: inf."""
    score = evaluation.score()
    if not evaluation.guarded:
        return score
    feasible = evaluation.feasible
    return torch.where(feasible | ~feasible.any(1, keepdim=True), score, torch.inf)


def weighted_moments(actions: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [B, H, A] of `actions` [B, N, H, A] under `weights` [B, N] that sum to 1."""
    weights = weights[:, :, None, None]
    mean = (weights * actions).sum(1)
    return mean, (actions - mean[:, None]).square_().mul_(weights).sum(1).sqrt_()
