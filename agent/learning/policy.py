"""Distils Mode-2 into Mode-1: a policy learned from the log of plans (`memory/plans.py`), put beside a finished model.

    clone       -log N(plan; mean, std)   Mode-2's plan for its own goal, weighted by how far the energy fell when it was done
    hindsight   -log N(done; mean, std)   what was really done, for a goal that was reached later in the same episode

Every member of the ensemble learns from its own draw of the episodes.  Weights of clones (advantage-weighted regression, Peng
et al. 2019): exp(fall of the energy against the usual fall), within bounds; plans that break a guardrail count nothing.
Hindsight (Andrychowicz et al. 2017) uses only ways on which Mode-2 was followed: each is about the best way to any place on it.
The loss is a Gaussian's, its gradients less eager where the spread is small (beta-NLL, Seitzer et al. 2022); early steps count
more.

Whole episodes are held out: some to calibrate the confidence, some to test it (`policy_confidence.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from objective_agent import weights
from objective_agent.actor.policy import PART
from objective_agent.actor.policy_network import PolicyNetwork, PolicyShape
from objective_agent.config import NonNegative, Positive, Strict
from objective_agent.learning.batches import generator
from objective_agent.learning.card import add_part
from objective_agent.learning.loop import CollapseError
from objective_agent.learning.policy_confidence import Energies, calibrated
from objective_agent.learning.reachability import Progress
from objective_agent.memory.plans import Plans
from objective_agent.types import InputError, to_base

HELD_OUT = 0.12
"""Share of the episodes that each of calibration and test gets."""

LEAST_EPISODES = 20
BOUNDS = (0.25, 2.0)
"""Of the weight of a clone."""

BETA = 0.5
FADE = 0.85
"""Each further step of a plan counts this much less."""


class PolicyConfig(Strict):
    members: int = Field(4, ge=1, le=32, description="heads of the ensemble")
    hidden: int = Field(128, ge=8, le=4096, description="more takes longer to read from memory than to compute")
    token_size: int = Field(16, ge=1, le=256, description="components read of each token, where there are many")
    channels: int = Field(8, ge=1, le=256, description="components read of each token of the scene")
    scene: int = Field(64, ge=1, le=1024, description="size of what is read of the scene")
    batch: int = Field(256, ge=8, le=65536, description="rows per step")
    learning_rate: Positive = 1.5e-3
    weight_decay: NonNegative = 1e-2
    minutes: Positive = Field(2.0, description="length of the training; or steps")
    steps: int | None = Field(None, ge=1)
    hindsight: float = Field(0.4, ge=0, le=1, description="share of the rows whose goal is one that was reached later")
    reach: int = Field(12, ge=1, description="hindsight: goals reached within so many steps of a plan")
    share: float = Field(0.8, gt=0, le=1, description="of the episodes that each member learns from")
    jitter: NonNegative = Field(0.03, description="noise on what is read, share of its spread")
    regret: NonNegative = Field(
        0.2, description="confidence: no more energy than Mode-2's plan and this share of what that gains over standing still"
    )
    floor: NonNegative = Field(0.05, description="... and this much, which is too little to matter; energy")
    tolerance: Positive = Field(
        0.35, description="confidence without energies: the first actions agree within this, half ranges"
    )


@dataclass
class Rows:
    """The log as tensors, and what hindsight needs: `later` [n, H] the row at each step of a plan, `followed` [n] bool."""

    plans: Plans
    later: np.ndarray
    until: np.ndarray
    """[n] the last row that was reached from each one by following Mode-2 all the way."""
    weight: np.ndarray
    """[n] of a clone."""
    dt: float

    @classmethod
    def of(cls, plans: Plans) -> Rows:
        dt = float((plans.about[0] if plans.about else {}).get("dt", 1.0))
        horizon, first, last = plans.plan.shape[1], plans.first, plans.last
        since = plans.stamp - plans.stamp[first]
        if (np.diff(plans.stamp)[np.diff(plans.episode) == 0] <= 0).any():
            raise InputError("the log of plans has stamps that don't rise within an episode; log each decision once")
        long = float(since.max()) + dt * (horizon + 2)
        key = plans.episode * long + since
        wanted = key[:, None] + dt * np.arange(horizon) - 1e-3 * dt
        later = np.minimum(np.searchsorted(key, wanted), last[:, None])
        followed = np.abs(plans.done - plans.plan[:, 0]).max(-1) < 1e-3 * max(1.0, float(np.abs(plans.done).max()))
        broken = np.flatnonzero(~followed)
        after = np.append(broken, len(plans))[np.searchsorted(broken, np.arange(len(plans)))]
        return cls(plans, later, np.minimum(last, after), clone_weights(plans, followed), dt)


def clone_weights(plans: Plans, followed: np.ndarray) -> np.ndarray:
    """[n] how much each plan counts: 0 where it broke a guardrail; more where its energy fell as it was followed."""
    found = np.ones(len(plans), np.float32)
    same = (np.diff(plans.episode) == 0) & followed[:-1] & plans.feasible[:-1] & plans.feasible[1:]
    if plans.position is not None:  # another subgoal is another energy
        same &= (np.abs(np.diff(plans.position, axis=0)) < 1e-3).all(-1)
    fall = plans.energy[:-1] - plans.energy[1:]
    if same.sum() >= 10:
        usual, width = np.median(fall[same]), np.subtract(*np.percentile(fall[same], (75, 25)))
        found[:-1][same] = np.exp(((fall[same] - usual) / max(2 * float(width), 1e-6)).clip(-5, 5)).clip(*BOUNDS)
    return np.where(plans.feasible & np.isfinite(plans.energy), found, 0).astype(np.float32)


def check(plans: Plans) -> None:
    """InputError, one line, for a log of too few episodes, or of none that goes on after its first decision."""
    episodes = len(np.unique(plans.episode))
    if episodes < LEAST_EPISODES:
        raise InputError(f"the log of plans has {episodes} episodes; {LEAST_EPISODES} are needed, better 300: log more")
    if episodes == len(plans):
        files = ", ".join(str(about.get("file", "data")) for about in plans.about)
        raise InputError(f"{files}: every episode of the log of plans is one decision, which led nowhere; log whole episodes")


def split(plans: Plans, seed: int = 0) -> dict[str, np.ndarray]:
    """Rows [.] of "train", "calibration" and "test": whole episodes.  InputError where there are too few: see `check`."""
    check(plans)
    episodes = np.unique(plans.episode)
    order, held = generator(seed, "policy split", 0).permutation(episodes), max(4, round(HELD_OUT * len(episodes)))
    parts = {"calibration": order[:held], "test": order[held : 2 * held], "train": order[2 * held :]}
    return {name: np.flatnonzero(np.isin(plans.episode, part)) for name, part in parts.items()}


def shape_of(plans: Plans, config: PolicyConfig) -> PolicyShape:
    """What the log's rows look like; `frames` and `dynamic` stand in what the log says about itself."""
    about = plans.about[0] if plans.about else {}
    frames = int(about.get("frames", 1))
    tokens = plans.state.shape[1] // frames
    dynamic = int(about.get("dynamic", tokens))
    same = {name: getattr(config, name) for name in ("members", "hidden", "token_size", "channels", "scene")}
    return PolicyShape(
        features=plans.state.shape[2], frames=frames, dynamic=dynamic, places=tokens - dynamic,
        goal_tokens=0 if plans.goal is None else min(dynamic, plans.goal.shape[1]),
        position=plans.position is not None, velocity=plans.velocity is not None,
        horizon=plans.plan.shape[1], actions=plans.plan.shape[2], **same,
    )  # fmt: skip


def inputs(plans: Plans, rows: np.ndarray, shape: PolicyShape, goals: np.ndarray | None = None) -> tuple[Tensor | None, ...]:
    """(state, goal, velocity, position) of `rows` [n] as the network reads them; `goals` [n]: rows that are goals, or -1."""
    state = torch.from_numpy(plans.state[rows]).float()
    wanted = None if plans.goal is None else torch.from_numpy(plans.goal[rows]).float()
    velocity = None if plans.velocity is None else torch.from_numpy(plans.velocity[rows])
    position = None if plans.position is None else torch.from_numpy(plans.position[rows])
    if goals is not None:
        given = torch.from_numpy(goals >= 0)
        newest = plans.state[goals, -shape.tokens :][:, : shape.goal_tokens]
        if wanted is not None:
            wanted = torch.where(given[:, None, None], torch.from_numpy(newest).float(), wanted[:, : shape.goal_tokens])
        if position is not None:
            position = torch.where(given[:, None], torch.from_numpy(plans.pose[goals, :2]), position)
    if position is not None:
        position = to_base(torch.from_numpy(plans.pose[rows]), position[:, None])[:, 0]
    return state, wanted, velocity, position


def prepared(plans: Plans, rows: np.ndarray, shape: PolicyShape) -> PolicyNetwork:
    """A new network that knows the means, spreads and bounds of `rows`."""
    network = PolicyNetwork(shape)
    some = rows[:: max(1, len(rows) // 4000)]
    frames = torch.from_numpy(plans.state[some]).float().unflatten(1, (shape.frames, shape.tokens))
    known = {"token": frames[:, :, : shape.dynamic].flatten(0, 2)}
    if shape.places:
        known["map"] = frames[:, -1, shape.dynamic :].flatten(0, 1)
    if shape.velocity:
        known["speed"] = torch.from_numpy(plans.velocity[some])
    for name, values in known.items():
        getattr(network, f"{name}_mean").copy_(values.mean(0))
        getattr(network, f"{name}_scale").copy_(values.std(0).clamp(min=1e-3))
    if shape.position:
        far = np.linalg.norm(plans.position[some] - plans.pose[some, :2], axis=-1)
        network.distance.fill_(max(float(far.mean()), 1e-3))
    every = np.concatenate([plans.plan[rows].reshape(-1, shape.actions), plans.done[rows]])
    network.low.copy_(torch.from_numpy(every.min(0)))
    network.high.copy_(torch.from_numpy(np.maximum(every.max(0), every.min(0) + 1e-3)))
    return network


def train(
    plans: Plans,
    rows: np.ndarray,
    config: PolicyConfig,
    seed: int = 0,
    report: Callable[[Progress], None] | None = None,
) -> PolicyNetwork:
    """The policy of `rows` [n] of the log; with `steps` (and one thread) it depends on these, configuration and seed alone."""
    torch.manual_seed(seed)
    shape, data = shape_of(plans, config), Rows.of(plans)
    rows = rows[data.weight[rows] > 0]
    if not len(rows):
        raise InputError("the log of plans has no feasible plan to learn from")
    network = prepared(plans, rows, shape).train()
    optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    heard = generator(seed, "policy members", 0).random((int(plans.episode.max()) + 1, config.members)) < config.share
    heard = torch.from_numpy(np.where(heard.any(1, keepdims=True), heard, True)).float()
    fade = FADE ** torch.arange(shape.horizon)[:, None]
    began, step, share, smooth = time.monotonic(), 0, 0.0, {}
    while share < 1:
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))
        random = generator(seed, "policy", step)
        chosen = random.choice(rows, config.batch)
        target, weight, goals = targets(data, chosen, config, random)
        mean, log_std = network(*(_noisy(values, config.jitter) for values in inputs(plans, chosen, shape, goals)))
        wanted = network.shares(torch.from_numpy(target)).clamp(-1, 1)[:, None]
        each = (fade * beta_nll(mean, log_std, wanted)).mean((-2, -1))  # [B, K]
        counts = torch.from_numpy(weight)[:, None] * heard[torch.from_numpy(plans.episode[chosen])]
        loss = (counts * each).sum() / counts.sum().clamp(min=1e-6)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        step += 1
        now = {"loss": float(loss.detach()), "error": float((mean.detach()[:, :, 0] - wanted[:, :, 0]).abs().mean())}
        if not math.isfinite(now["loss"]):
            raise CollapseError(f"step {step}: the loss is not finite; lower learning_rate, or look for wild values in the log")
        smooth = {name: 0.98 * smooth.get(name, value) + 0.02 * value for name, value in now.items()}
        spent = time.monotonic() - began
        share = step / config.steps if config.steps else spent / (60 * config.minutes)
        if report is not None and step % 25 == 0:
            report(Progress(step, min(1.0, share), spent * (1 / max(share, 1e-6) - 1), dict(smooth)))
    network.steps_taken = step
    return network.eval().requires_grad_(False)


def targets(
    data: Rows, rows: np.ndarray, config: PolicyConfig, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(actions [n, H, A], weights [n], goal rows [n], -1: the logged goal) for a draw of rows."""
    plans = data.plans
    far = np.minimum(data.until[rows], reach_rows(data, rows, config.reach))
    goals = rows + 1 + (random.random(len(rows)) * np.maximum(0, far - rows)).astype(np.int64)
    again = (random.random(len(rows)) < config.hindsight) & (far > rows) & (goals <= far)
    goals = np.where(again, goals, -1)
    later = data.later[rows]
    there = later >= np.where(again, goals, len(plans))[:, None]
    done = np.where(there[..., None], np.float32(0), plans.done[later])
    target = np.where(again[:, None, None], done, plans.plan[rows])
    return target.astype(np.float32), np.where(again, np.float32(1), data.weight[rows]), goals


def reach_rows(data: Rows, rows: np.ndarray, steps: int) -> np.ndarray:
    """[n] the last row within `steps` steps of a plan after each of `rows`, in the same episode."""
    plans = data.plans
    per_row = max(1, round(float(np.median(np.diff(plans.stamp)[np.diff(plans.episode) == 0])) / data.dt * 1000)) / 1000
    return np.minimum(rows + max(1, int(steps / per_row)), plans.last[rows])


def beta_nll(mean: Tensor, log_std: Tensor, wanted: Tensor) -> Tensor:
    """A Gaussian's negative log likelihood, each term weighted by its variance to the power BETA, which has no gradient."""
    loss = 0.5 * ((wanted - mean) * torch.exp(-log_std)) ** 2 + log_std
    return loss * torch.exp(2 * BETA * log_std.detach())


def add_policy(
    folder: str | Path,
    plans: Plans,
    config: PolicyConfig,
    seed: int = 0,
    report: Callable[[Progress], None] | None = None,
    energies: Energies | None = None,
    about: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Trains, calibrates and tests a policy on the log `plans`, and adds it to the model in `folder`.

    `energies(rows, plans)` imagines: see `policy_confidence`; without it confidence means that first actions agree.  Returns
    what the card says: configuration, rows, `confidence` (what it means, how it was told, reliability on test episodes).
    """
    folder, began = Path(folder), time.monotonic()
    encoder = str(weights.read_card(folder)["sha256"]["encoder"])
    parts = split(plans, seed)
    network = train(plans, parts["train"], config, seed, report)
    arrays, found = calibrated(network, plans, parts, config, lambda rows: inputs(plans, rows, network.shape), energies)
    section = {
        "encoder": encoder,
        "config": config.model_dump(),
        "seed": seed,
        "logs": list(plans.about),
        "episodes": int(plans.episode.max()) + 1,
        "rows": {name: len(rows) for name, rows in parts.items()},
        "steps": network.steps_taken,
        "confidence": found,
        "minutes": round((time.monotonic() - began) / 60, 2),
        **(about or {}),
    }
    values = {name: value.detach().numpy() for name, value in network.state_dict().items()} | arrays
    if str(weights.read_card(folder)["sha256"].get("encoder")) != encoder:
        raise InputError(f"{folder}: was replaced by another model meanwhile; train the policy again")
    add_part(folder, PART, values, network.shape.model_dump(), section)
    return section


def _noisy(values: Tensor | None, share: float) -> Tensor | None:
    if values is None or not share:
        return values
    return values + share * values.std() * torch.randn_like(values)
