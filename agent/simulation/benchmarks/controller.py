"""An agent for the benchmark tasks: encode the image, remember the last few, search with the world model, do the first action.

The same plugins that drive a robot, without the robot: no body, no guardrails (nothing here can be hit), no clock but the step.

    tokens  = encoder(image)                                   perception
    state   = the last W tokens and the actions between them   short-term memory
    plan    = optimizer(state, goal, world model, objectives)  actor;  objectives: steps to go + distance to the goal's tokens
    stuck   : |tokens - last tokens| < share * |predicted - last tokens|   ->   noise on the action, a fresh start of the search

Energies are means over all imagined steps (eb_jepa's ablation: the last step alone lets a robot put off).  The stuck rule is
surprise put to use (LeCun 2022): where the world does not move as imagined, the plan that says so is worth nothing, and the
same search from the same state would only find it again.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from objective_agent import plugins, weights
from objective_agent.config import NonNegative, PluginSpec, Positive, RobotParameters, Strict
from objective_agent.types import (
    ConfigurationError,
    Goal,
    InputError,
    Observation,
    Plan,
    Problem,
    WeightedObjective,
    WorldState,
)

DT = 1.0
PART = "reachability"


def search() -> PluginSpec:
    return PluginSpec(plugin="cem", samples=64, iterations=2, noise=0.7, correlation=0.85, use_library=False, elites=0.2)


class ControllerSettings(Strict):
    """How the agent plans on a benchmark task."""

    encoder: str = Field("frame_jepa", min_length=1, description="encoder plugin that reads the model's folder")
    world_model: str = Field("frame_jepa", min_length=1, description="world model plugin that reads the model's folder")
    optimizer: PluginSpec = Field(default_factory=search, description="the search")
    horizon: int = Field(4, ge=1, le=64, description="steps imagined")
    futures: int = Field(1, ge=1, le=64, description="futures imagined per candidate")
    reachability: NonNegative = Field(1.0, description="weight of the learned steps to go; 0: not used")
    l2: NonNegative = Field(1.0, description="weight of the distance to the goal's representation, in spreads of the data")
    stuck_share: float = Field(
        0.35, ge=0, le=1, description="moved less than this share of what was predicted: stuck; 0: never"
    )
    stuck_noise: Positive = Field(0.7, le=2, description="standard deviation of the noise on the action of who is stuck")
    threads: int = Field(1, ge=1, le=64, description="torch threads")


@dataclass
class Notes:
    """What an episode's decisions were like."""

    planning_ms: list[float] = field(default_factory=list)
    stuck: int = 0
    seen: list[Tensor] = field(default_factory=list)
    """Tokens [T, D] of every image."""


class Mind:
    """The modules that a model folder makes; shared by the controllers of all rows, for none keeps anything of an episode."""

    def __init__(self, model: str, settings: ControllerSettings):
        self.settings, self.robot = settings, RobotParameters()
        folder = weights.find_model(model)
        spec = {"model": str(folder)}
        self.encoder = plugins.create("encoder", PluginSpec(plugin=settings.encoder, **spec), self.robot, "encoder")
        self.world_model = plugins.create(
            "world_model", PluginSpec(plugin=settings.world_model, **spec), self.robot, "world_model"
        )
        card = weights.read_card(folder, kind=weights.FRAMES)
        about = card.get(PART) if PART in card["sha256"] else None
        self.spread = float((about or {}).get("spread") or 1.0)
        self.reachable = about is not None
        plain = PluginSpec(plugin="goal_representation", model="", scale=1 / self.spread)
        self.l2 = plugins.create("objective", plain, self.robot, "goal_representation")
        self.reachability = None
        if self.reachable:
            self.reachability = plugins.create("objective", PluginSpec(plugin="frame_reachability", **spec), self.robot, PART)

    @property
    def actions(self) -> int:
        return int(self.world_model.shape.actions)

    @property
    def history(self) -> int:
        return int(self.world_model.shape.history)

    @property
    def dynamic(self) -> int:
        return int(self.world_model.shape.dynamic)

    def encode(self, image: np.ndarray) -> Tensor:
        """Tokens [T, D] of an image [h, w, 3] uint8."""
        nowhere = {"pose": np.zeros((1, 3), np.float32), "velocity": np.zeros((1, 2), np.float32)}
        if image.ndim != 3 or image.dtype != np.uint8:
            raise InputError(f"image: shape {image.shape} {image.dtype}; need [height, width, 3] uint8")
        return torch.as_tensor(self.encoder.encode(Observation(0.0, images=image[None], **nowhere)).tokens)[0]


class BenchmarkController:
    """`reset(goal_image, seed)`, then `act(image)` -> action float32 [A] in [-1, 1], once per step.

    `seen`: the tokens that the agent itself saw in this episode, for the row that is shown another moment's.
    """

    def __init__(self, mind: Mind, settings: ControllerSettings | None = None, seen: list[Tensor] | None = None):
        self.mind, self.settings, self._donated = mind, settings or mind.settings, seen
        self.optimizer = plugins.create("optimizer", self.settings.optimizer, mind.robot, "optimizer")
        if not self.objectives():
            raise ConfigurationError("objectives: none; give l2 a weight, or reachability one and a model that has it")

    def objectives(self) -> list[WeightedObjective]:
        """The weighted terms of the energy."""
        settings, found = self.settings, []
        if settings.reachability and self.mind.reachability is not None:
            found.append(WeightedObjective("frame_reachability", settings.reachability, self.mind.reachability))
        if settings.l2:
            found.append(WeightedObjective("goal_representation", settings.l2, self.mind.l2))
        return found

    def reset(self, goal_image: np.ndarray, seed: int = 0) -> None:
        mind = self.mind
        self.notes = Notes()
        self.optimizer.reset(seed)
        self._random = np.random.default_rng([seed, 3])
        with torch.inference_mode():
            self._goal = Goal(representation=mind.encode(goal_image)[None, : mind.dynamic])
        self._frames: deque[Tensor] = deque(maxlen=mind.history)
        self._actions: deque[Tensor] = deque(
            [torch.zeros(mind.actions)] * max(1, mind.history - 1), maxlen=max(1, mind.history - 1)
        )
        self._objectives = self.objectives()
        self._warm: Tensor | None = None
        self._predicted: Tensor | None = None
        self._before: Tensor | None = None
        self.plan: Plan | None = None

    def act(self, image: np.ndarray) -> np.ndarray:
        """The next action.  InputError for an image that the encoder can't use; nothing is remembered of it."""
        begun = time.perf_counter()
        with torch.inference_mode():
            tokens = self._look(image)
            stuck = self._stuck(tokens)
            while len(self._frames) < self.mind.history:  # before an episode's begin stands its first frame
                self._frames.append(tokens)
            self._frames.append(tokens)
            state = self._state()
            self.plan = self.optimizer.solve(self._problem(state), math.inf)
            if not bool(torch.isfinite(torch.as_tensor(self.plan.energy)).all()):
                raise InputError("the world model answers with NaN or infinite values; train the model again")
            chosen = self.plan.actions[0, 0].numpy().astype(np.float32)
            self._warm = torch.cat([self.plan.actions[:, 1:], torch.zeros_like(self.plan.actions[:, :1])], 1)
            if stuck:
                chosen = chosen + self.settings.stuck_noise * self._random.standard_normal(len(chosen)).astype(np.float32)
                self._warm = None
            chosen = np.clip(chosen, -1, 1)
            done = torch.from_numpy(chosen)
            if self.settings.stuck_share:
                imagined = self.mind.world_model.rollout(state, done[None, None, None], 1, DT)
                self._predicted = imagined.representations[0, 0, 0, 0]
            self._before = tokens[: self.mind.dynamic]
            self._actions.append(done)
        self.notes.stuck += stuck
        self.notes.planning_ms.append(round(1e3 * (time.perf_counter() - begun), 2))
        return chosen

    def _look(self, image: np.ndarray) -> Tensor:
        tokens = self.mind.encode(image)
        if not bool(torch.isfinite(tokens).all()):
            raise InputError("the encoder answers with NaN or infinite values; train the model again")
        self.notes.seen.append(tokens)
        if self._donated is not None and len(self._donated):
            return self._donated[int(self._random.integers(len(self._donated)))]
        return tokens

    def _stuck(self, tokens: Tensor) -> bool:
        """Whether what was seen moved much less than what was imagined."""
        if self._predicted is None or not self.settings.stuck_share:
            return False
        now = tokens[: self.mind.dynamic]
        moved, meant = (now - self._before).norm(), (self._predicted - self._before).norm()
        return bool(moved < self.settings.stuck_share * meant)

    def _state(self) -> WorldState:
        mind, nothing = self.mind, torch.zeros(1, 3)
        stamps = DT * np.arange(len(self._actions), dtype=float)
        return WorldState(
            stamp=float(len(self._actions)) * DT,
            representation=torch.cat(list(self._frames))[None],
            pose=nothing,
            velocity=nothing[:, :2],
            model=str(mind.encoder.model),
            sent_stamps=stamps,
            sent=torch.stack(list(self._actions))[None],
        )

    def _problem(self, state: WorldState) -> Problem:
        size, settings = self.mind.actions, self.settings
        ones = torch.ones(size)
        return Problem(
            state=state,
            goal=self._goal,
            world_model=self.mind.world_model,
            objectives=self._objectives,
            guardrails=(),
            horizon=settings.horizon,
            dt=DT,
            futures=settings.futures,
            action_low=-ones,
            action_high=ones,
            rate_limit=1e6 * ones,
            last_action=torch.zeros(1, size),
            warm_start=self._warm,
        )


def settings_of(row: str, settings: ControllerSettings) -> ControllerSettings:
    """The agent's settings in `row`: less the one thing that the row is named after."""
    changes: dict[str, dict[str, Any]] = {"no_stuck": {"stuck_share": 0.0}, "l2": {"reachability": 0.0}}
    return settings.model_copy(update=changes.get(row, {}))
