"""An agent for the benchmark tasks: encode the image, remember the last few, search with the world model, do the first action.

The same plugins that drive a robot, without the robot: no body, no guardrails (nothing here can be hit), no clock but the step.

    tokens  = encoder(image)                                   perception
    state   = the last W tokens and the actions between them   short-term memory
    plan    = optimizer(state, goal, world model, objectives)  actor;  objectives: steps to go + distance to the goal's tokens
    stuck   : |tokens - last tokens| < share * |predicted - last tokens|   ->   noise on the action, a fresh start of the search

Energies are means over all imagined steps (eb_jepa's ablation: the last step alone lets a robot put off).  Where the way leads
away from the goal first, round a block, say, that mean is greedy: `growth` lets the later steps count more.  With a `deadline`
there is nothing to put off: plans end at a fixed step, as LeWM's do, but are made anew at every one:

    energy = mean over h of  growth^h energy_h / mean(growth^h)           horizon at step t:  H - t mod H

The stuck rule is surprise put to use (LeCun 2022): where the world does not move as imagined, the plan that says so is worth
nothing, and the same search from the same state would only find it again.

Whether the optimizer searches at all is the mode's matter (`actor/habits.py`): the policy may propose, act alone where its
calibrated confidence allows, or always.  Who is stuck is surprised, and leaves it to the search.

On a GPU a decision of the search is one copy there (the image, the last action, what is left of the last plan) and one back
(the plan, whether the image gave numbers, whether stuck): a search need not know of that.  Habits must, and it is read before.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from objective_agent import devices, plugins, weights
from objective_agent.actor.habits import Habits, Mode
from objective_agent.actor.policy import DistilledPolicy
from objective_agent.config import NonNegative, PluginSpec, Positive, RobotParameters, Strict
from objective_agent.protocols import Objective
from objective_agent.types import (
    MODES,
    ConfigurationError,
    Goal,
    InputError,
    Observation,
    Plan,
    Problem,
    Trajectory,
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
    deadline: bool = Field(
        False, description="plans end `horizon` steps after the episode's beginning, and so on from there, not after each step"
    )
    growth: float = Field(1.0, ge=1, le=100, description="an imagined step counts this many times as much as the one before it")
    futures: int = Field(1, ge=1, le=64, description="futures imagined per candidate")
    reachability: NonNegative = Field(1.0, description="weight of the learned steps to go; 0: not used")
    l2: NonNegative = Field(1.0, description="weight of the distance to the goal's representation, in spreads of the data")
    stuck_share: float = Field(
        0.35, ge=0, le=1, description="moved less than this share of what was predicted: stuck; 0: never"
    )
    stuck_noise: Positive = Field(0.7, le=2, description="standard deviation of the noise on the action of who is stuck")
    mode: Mode = Field("plan", description="who acts: the search (plan), it with the policy's proposals, the policy, adaptive")
    confidence: float = Field(0.6, ge=0, le=1, description="adaptive: the policy acts alone from this confidence on")
    proposals: int = Field(8, ge=1, le=256, description="plans of the policy that the search begins with")
    threads: int = Field(1, ge=1, le=64, description="torch threads")
    device: str = Field("cpu", description="torch device")


@dataclass
class Notes:
    """What an episode's decisions were like."""

    planning_ms: list[float] = field(default_factory=list)
    """From image to action, of every decision."""
    encoder_ms: list[float] = field(default_factory=list)
    """The encoder's part of it: what is left is the time from representation to action."""
    modes: Counter[str] = field(default_factory=Counter)
    """How many decisions each mode of `Plan.mode` made."""
    stuck: int = 0
    seen: list[Tensor] = field(default_factory=list)
    """Tokens [T, D] of every image."""


@dataclass(frozen=True)
class Later:
    """`objective` with the later of the imagined steps counting more: times growth^h, on average over the steps times 1."""

    objective: Objective
    growth: float

    def energy(self, trajectory: Trajectory, goal: Goal) -> Tensor:
        energy = self.objective.energy(trajectory, goal)
        weights = self.growth ** torch.arange(energy.shape[-1], dtype=torch.float64, device=energy.device)
        return energy * (weights / weights.mean()).to(energy)


class Mind:
    """The modules that a model folder makes; shared by the controllers of all rows, for none keeps anything of an episode."""

    def __init__(self, model: str, settings: ControllerSettings):
        self.settings, self.robot = settings, RobotParameters()
        self.folder = folder = weights.find_model(model)
        self.device = devices.find(settings.device)
        spec = {"model": str(folder)}
        there = spec if settings.device == "cpu" else spec | {"device": settings.device}
        self.encoder = plugins.create("encoder", PluginSpec(plugin=settings.encoder, **there), self.robot, "encoder")
        self.world_model = plugins.create(
            "world_model", PluginSpec(plugin=settings.world_model, **there), self.robot, "world_model"
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

    @cached_property
    def policy(self) -> DistilledPolicy:
        """Mode-1.  ConfigurationError where the model has none."""
        spec = PluginSpec(plugin="distilled", model=str(self.folder), device=self.settings.device)
        return plugins.create("policy", spec, self.robot, "policy")

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
        return self.tokens(devices.move(self.picture(image), self.device))

    def picture(self, image: np.ndarray) -> Tensor:
        """What the device needs of an image, on the CPU: the picture, or the tokens of an encoder that works here."""
        nowhere = {"pose": np.zeros((1, 3), np.float32), "velocity": np.zeros((1, 2), np.float32)}
        if image.ndim != 3 or image.dtype != np.uint8:
            raise InputError(f"image: shape {image.shape} {image.dtype}; need [height, width, 3] uint8")
        observation = Observation(0.0, images=image[None], **nowhere)
        if hasattr(self.encoder, "see"):
            return self.encoder.pictures(observation)
        return torch.as_tensor(self.encoder.encode(observation).tokens)

    def tokens(self, picture: Tensor) -> Tensor:
        """Tokens [T, D] of a `picture` that is on the device."""
        return (self.encoder.see(picture) if hasattr(self.encoder, "see") else picture)[0]


class BenchmarkController:
    """`reset(goal_image, seed)`, then `act(image)` -> action float32 [A] in [-1, 1], once per step.

    `seen`: the tokens that the agent itself saw in this episode, for the row that is shown another moment's.
    """

    def __init__(self, mind: Mind, settings: ControllerSettings | None = None, seen: list[Tensor] | None = None):
        self.mind, self.settings, self._donated = mind, settings or mind.settings, seen
        self.optimizer = plugins.create("optimizer", self.settings.optimizer, mind.robot, "optimizer")
        self.habits, self._stride = None, math.inf
        if self.settings.mode != "plan":
            self.habits = Habits(
                self.optimizer, mind.policy, self.settings.mode, self.settings.confidence, self.settings.proposals
            )
            self._stride = float(mind.policy.about.get("stride") or math.inf)
        self._ask_first = self.habits is not None or mind.device.type == "cpu"
        """Whether finite and stuck are read before the plan: habits need to know, and on a CPU it costs nothing."""
        if not self.objectives():
            raise ConfigurationError("objectives: none; give l2 a weight, or reachability one and a model that has it")

    def objectives(self) -> list[WeightedObjective]:
        """The weighted terms of the energy."""
        settings, found = self.settings, []
        if settings.reachability and self.mind.reachability is not None:
            found.append(WeightedObjective("frame_reachability", settings.reachability, self.mind.reachability))
        if settings.l2:
            found.append(WeightedObjective("goal_representation", settings.l2, self.mind.l2))
        if settings.growth == 1:
            return found
        return [WeightedObjective(term.name, term.weight, Later(term.objective, settings.growth)) for term in found]

    def reset(self, goal_image: np.ndarray, seed: int = 0) -> None:
        mind = self.mind
        self.notes = Notes()
        self.optimizer.reset(seed)
        self._random = np.random.default_rng([seed, 3])
        with torch.inference_mode():
            self._goal = Goal(representation=mind.encode(goal_image)[None, : mind.dynamic])
        self._frames: deque[Tensor] = deque(maxlen=mind.history)
        self._actions: deque[Tensor] = deque(
            [torch.zeros(mind.actions, device=mind.device)] * max(1, mind.history - 1), maxlen=max(1, mind.history - 1)
        )
        self._objectives = self.objectives()
        self._steps = 0
        self._warm: Tensor | None = None
        self._before: WorldState | None = None
        self.plan: Plan | None = None

    def act(self, image: np.ndarray) -> np.ndarray:
        """The next action.  InputError for an image that the encoder can't use; nothing is remembered of it."""
        begun = time.perf_counter()
        with torch.inference_mode():
            seen = self._look(image)
            tokens = self._believed(seen)
            signs = {"finite": torch.isfinite(seen).all()} | self._stuck(tokens)
            stuck = self._read(signs) if self._ask_first else False
            state = self._state(tokens)
            problem = self._problem(state)
            plan = self._solve(problem if self._ask_first else replace(problem, asked=signs), stuck)
            if not self._ask_first:
                stuck = self._read({**signs, **plan.told})
            self.plan = _usable(plan)
            chosen = plan.actions[0, 0].numpy().astype(np.float32)
            self.notes.seen.append(seen)
            self._frames.append(tokens)
            self._steps += 1
            self._warm = self._rest(self.plan.actions)
            if stuck:
                chosen = chosen + self.settings.stuck_noise * self._random.standard_normal(len(chosen)).astype(np.float32)
                self._warm = None
            chosen = np.clip(self._disturb(chosen), -1, 1)
            self._before = state
            self._actions.append(torch.from_numpy(chosen))
        self.notes.stuck += stuck
        self.notes.modes[self.plan.mode] += 1
        self.notes.planning_ms.append(round(1e3 * (time.perf_counter() - begun), 2))
        return chosen

    def _disturb(self, action: np.ndarray) -> np.ndarray:
        """What is done in place of `action`: nothing else, but where plans are recorded."""
        return action

    def _horizon(self) -> int:
        """Steps of the plan that comes next."""
        horizon = self.settings.horizon
        return horizon - self._steps % horizon if self.settings.deadline else horizon

    def _rest(self, actions: Tensor) -> Tensor:
        """What is left of a plan [1, H, A] after its first action, zeros up to the next plan's end."""
        missing = self._horizon() - (actions.shape[1] - 1)
        return torch.cat([actions[:, 1:], actions.new_zeros(1, missing, actions.shape[2])], 1)

    def _solve(self, problem: Problem, stuck: bool) -> Plan:
        if self.habits is None:
            return self.optimizer.solve(problem, math.inf)
        return self.habits.solve(problem, math.inf, surprised=stuck)

    def _look(self, image: np.ndarray) -> Tensor:
        """Tokens of `image`; with it goes to the device whatever else is still here of the last decision."""
        begun = time.perf_counter()
        here = [self.mind.picture(image), self._actions[-1], self._warm]
        picture, self._actions[-1], self._warm = devices.send(here, self.mind.device)
        tokens = self.mind.tokens(picture)
        self.notes.encoder_ms.append(round(1e3 * (time.perf_counter() - begun), 2))
        return tokens

    def _believed(self, seen: Tensor) -> Tensor:
        """What is taken for seen: another moment's tokens where there are any."""
        if self._donated is not None and len(self._donated):
            return self._donated[int(self._random.integers(len(self._donated)))]
        return seen

    def _stuck(self, tokens: Tensor) -> dict[str, Tensor]:
        """ "stuck": whether what was seen moved much less than what was imagined; nothing where that can't be."""
        share, state = self.settings.stuck_share, self._before
        if state is None or not share:
            return {}
        size = self.mind.dynamic
        before = state.representation[0, -tokens.shape[0] :][:size]
        moved = (tokens[:size] - before).norm()
        near = moved < share * self._stride  # else farther than any action is meant to lead
        if near.device.type == "cpu" and not near:  # no need to imagine it
            return {}
        done = self._actions[-1][None, None, None]
        imagined = self.mind.world_model.rollout(state, done, 1, DT).representations[0, 0, 0, 0]
        return {"stuck": near & (moved < share * (imagined - before).norm())}

    def _read(self, signs: Mapping[str, Tensor]) -> bool:
        """Whether it is stuck.  InputError where the image gave no numbers."""
        read = dict(zip(signs, devices.fetch([*signs.values()]), strict=True))
        if not bool(read["finite"]):
            raise InputError("the encoder answers with NaN or infinite values; train the model again")
        return bool(read.get("stuck", False))

    def _state(self, tokens: Tensor) -> WorldState:
        """The last frames, `tokens` the newest of them, and the actions between them."""
        mind, nothing = self.mind, torch.zeros(1, 3, device=self.mind.device)
        now, count = DT * self._steps, len(self._actions)
        frames = [*self._frames, tokens][-mind.history :]
        frames = [frames[0]] * (mind.history - len(frames)) + frames  # before an episode's begin stands its first frame
        return WorldState(
            stamp=now,
            representation=torch.cat(frames)[None],
            pose=nothing,
            velocity=nothing[:, :2],
            model=str(mind.encoder.model),
            sent_stamps=now + DT * np.arange(-count, 0, dtype=float),
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
            horizon=self._horizon(),
            dt=DT,
            futures=settings.futures,
            action_low=-ones,
            action_high=ones,
            rate_limit=1e6 * ones,
            last_action=torch.zeros(1, size),
            warm_start=self._warm,
        )


def _usable(plan: Plan) -> Plan:
    """`plan`; InputError where it or what is said of it is no number."""
    if (plan.mode == "braking" and not plan.iterations) or not bool(torch.isfinite(plan.actions).all()):
        raise InputError("the policy answers with NaN or infinite values; train it again")
    if plan.iterations and not bool(torch.isfinite(torch.as_tensor(plan.energy)).all()):
        raise InputError("the world model answers with NaN or infinite values; train the model again")
    return plan


def settings_of(row: str, settings: ControllerSettings) -> ControllerSettings:
    """The agent's settings in `row`: less the one thing that the row is named after."""
    changes: dict[str, dict[str, Any]] = {"no_stuck": {"stuck_share": 0.0}, "l2": {"reachability": 0.0}}
    changes |= {name: {"mode": name} for name in MODES}
    return settings.model_copy(update=changes.get(row, {}))
