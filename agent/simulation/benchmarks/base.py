"""What all benchmark tasks have in common: 64x64 images, actions in [-1, 1], goals as images, held-out layouts and pairs.

A task says how its world is set, moved and drawn; this class deals with everything that a protocol consists of: which layouts
may be learned from and which are held out, how start and goal of a test episode follow from (task, seed, index) alone, budget
and success.

Held-out rule: layout numbers below `TEST_LAYOUTS` are for training, those from it on for tests.  A task with many layouts must
make the two sets disjoint in content, not only in number; a task with one layout holds out start and goal.

The state in `info` is the truth.  It is for scoring, probes, drawings and scripted data policies, never for the agent.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np

from objective_agent.types import InputError

SIZE = 64
TRAIN_LAYOUTS = range(1_000_000_000)
TEST_LAYOUTS = range(1_000_000_000, 2_000_000_000)
SPLITS = ("train", "test")
OPTIONS = ("split", "layout", "index", "goal", "start")
Policy = Callable[[np.ndarray, dict[str, Any]], np.ndarray]


@dataclass(frozen=True)
class Pair:
    """Start and goal of an episode: states [S], the steps of the shortest way (straight on, at full speed), and what it takes.

    `detour`: a straight line doesn't lead there (other room, or the way is more than 1.35 times the straight line).
    """

    start: np.ndarray
    goal: np.ndarray
    shortest: float
    detour: bool
    budget: int


class Benchmark(gymnasium.Env):
    """A task of the benchmarks.  `step(action)`: float [A] in [-1, 1] (clipped); one step is one step of the world model.

    `reset(seed, options)`, all options optional:
      - `split`: "train" or "test"; `layout`: a layout's number (the split follows from it); else one is drawn.
      - `index`: the start and goal number `index` of `seed`, which depend on nothing else; with "test", those of evaluations.
      - `goal`: False (collecting data: no goal, the episode ends after `episode_steps`) or a state [S]; `start`: a state [S].

    `info`: `state` float32 [S], `layout` and, with a goal, `goal_image`, `goal_state`, `shortest`, `detour`, `budget`,
    `distance`,
    `success`.  Reward: 1 at success, which terminates; the budget truncates.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 - gymnasium's own convention
    task: ClassVar[str] = ""
    action_size: ClassVar[int] = 2
    state_size: ClassVar[int] = 2
    fixed: ClassVar[bool] = True  # one layout, number 0
    tolerance: ClassVar[float] = 0.06
    episode_steps: ClassVar[int] = 20  # of a collected episode
    episodes_per_layout: ClassVar[int] = 4  # that a collection should draw

    def __init__(self, render_mode: str | None = "rgb_array"):
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = gymnasium.spaces.Box(-1, 1, (self.action_size,), np.float32)
        self.layout_number = 0
        self.pair: Pair | None = None
        self.goal_image: np.ndarray | None = None
        self._image: np.ndarray | None = None
        self._steps = 0

    # What a task must say.

    def draw_pair(self, layout: int, random: np.random.Generator) -> Pair:
        """A start and a goal in this layout."""
        raise NotImplementedError

    def draw_state(self, layout: int, random: np.random.Generator) -> np.ndarray:
        """Where a collected episode begins: a state [S]."""
        raise NotImplementedError

    def make_pair(self, layout: int, start: np.ndarray, goal: np.ndarray) -> Pair:
        """The pair of this start and this goal."""
        raise NotImplementedError

    def place(self, state: np.ndarray, layout: int) -> None:
        """Sets the world to `state` [S] of layout number `layout`."""
        raise NotImplementedError

    def advance(self, action: np.ndarray) -> None:
        """Moves the world by one step of `action` float64 [A], finite and in [-1, 1]."""
        raise NotImplementedError

    def read_state(self) -> np.ndarray:
        """The state now, float32 [S], a new array."""
        raise NotImplementedError

    def render_states(self, states: np.ndarray, layouts: np.ndarray | int = 0) -> np.ndarray:
        """Images uint8 [n, 64, 64, 3] of `states` [n, S] in `layouts` [n]; the running episode doesn't notice."""
        raise NotImplementedError

    def explore(self, random: np.random.Generator) -> Policy:
        """A policy for one episode of collection: (image, info) -> action.  It may read the state: it is data, not an agent."""
        raise NotImplementedError

    @property
    def protocol(self) -> dict[str, Any]:
        """What a result must say of the task, JSON-able."""
        return {
            "task": self.task,
            "image": [SIZE, SIZE, 3],
            "actions": self.action_size,
            "tolerance": self.tolerance,
            "held_out": "start and goal; one layout" if self.fixed else "layouts, and with them start and goal",
        }

    # What a task may say.

    def distance(self, state: np.ndarray, goal: np.ndarray) -> float:
        """How far a state is from a goal, in the units of `tolerance`."""
        return float(np.linalg.norm(np.asarray(state, float) - np.asarray(goal, float)))

    def reached(self, state: np.ndarray, goal: np.ndarray) -> bool:
        return self.distance(state, goal) < self.tolerance

    def draw_frame(self) -> np.ndarray:
        """The image of the world now."""
        return self.render_states(self.read_state()[None], self.layout_number)[0]

    def check_state(self, state, layout: int) -> np.ndarray:
        """`state` as float64 [S]; an InputError when it is none."""
        try:
            state = np.asarray(state, float)
        except (TypeError, ValueError):
            raise InputError(f"task {self.task}: a state has {self.state_size} numbers, got {state!r}") from None
        if state.shape != (self.state_size,) or not np.isfinite(state).all():
            raise InputError(f"task {self.task}: a state has {self.state_size} finite numbers, got {state.tolist()}")
        return state

    # The protocol.

    def train_layout(self, seed: int, number: int) -> int:
        """The layout number `number` of a collection with `seed`: always one that training may see."""
        return 0 if self.fixed else int(self._generator(seed, number, 1).integers(len(TRAIN_LAYOUTS)))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        options = options or {}
        if unknown := set(options) - set(OPTIONS):
            raise InputError(f"task {self.task}: reset knows no option {sorted(unknown)[0]!r}; it knows {', '.join(OPTIONS)}")
        index = options.get("index")
        random = self.np_random if index is None else self._generator(seed or 0, index, 0)
        layout = self._layout(options.get("layout"), options.get("split"), random)
        pair, start = self._problem(layout, random, options.get("goal", True), options.get("start"))
        goal_image = None if pair is None else self.render_states(np.asarray(pair.goal)[None], layout)[0]
        self.layout_number, self.pair, self.goal_image, self._steps = layout, pair, goal_image, 0
        self.place(start, layout)
        self._image = self.draw_frame()
        return self._image, self._info()

    def step(self, action):
        """One step; an action that is no finite [A] is an InputError, and nothing has moved."""
        if self._image is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        self.advance(self._action(action))
        self._steps += 1
        self._image = self.draw_frame()
        info = self._info()
        success = bool(info.get("success", False))
        limit = self.episode_steps if self.pair is None else self.pair.budget
        return self._image, float(success), success, self._steps >= limit, info

    def render(self) -> np.ndarray | None:
        """The newest image [64, 64, 3]."""
        return self._image

    def _action(self, action) -> np.ndarray:
        try:
            action = np.asarray(action, float)
        except (TypeError, ValueError):
            raise InputError(f"task {self.task}: an action has {self.action_size} numbers, got {action!r}") from None
        if action.shape != (self.action_size,) or not np.isfinite(action).all():
            raise InputError(f"task {self.task}: an action has {self.action_size} finite numbers, got {action.tolist()}")
        return action.clip(-1, 1)

    def _layout(self, layout: int | None, split: str | None, random: np.random.Generator) -> int:
        """The layout's number: the one asked for, if the split allows it, or a drawn one."""
        if split not in (None, *SPLITS):
            raise InputError(f"task {self.task}: no split {split!r}; take train or test")
        if self.fixed:
            if layout not in (None, 0):
                raise InputError(f"task {self.task}: has one layout, number 0, not {layout}")
            return 0
        numbers = TEST_LAYOUTS if split == "test" else TRAIN_LAYOUTS
        if layout is None:
            return int(random.integers(numbers.start, numbers.stop))
        if not (layout in TRAIN_LAYOUTS or layout in TEST_LAYOUTS):
            raise InputError(f"task {self.task}: no layout {layout}; they go from 0 to {TEST_LAYOUTS.stop - 1}")
        if split is not None and layout not in numbers:
            raise InputError(f"task {self.task}: layout {layout} isn't one of split {split}, which has {numbers.start} and up")
        return int(layout)

    def _problem(self, layout: int, random: np.random.Generator, goal, start) -> tuple[Pair | None, np.ndarray]:
        """(pair, or None where no goal is wanted; start)."""
        start = None if start is None else self.check_state(start, layout)
        if goal is False or goal is None:
            return None, self.draw_state(layout, random) if start is None else start
        if goal is not True:
            begin = self.draw_state(layout, random) if start is None else start
            pair = self.make_pair(layout, begin, self.check_state(goal, layout))
        else:
            pair = self.draw_pair(layout, random)
            if start is not None:
                pair = self.make_pair(layout, start, pair.goal)
        return pair, pair.start

    def _generator(self, seed: int, number: int, use: int) -> np.random.Generator:
        """Random numbers that depend on the task, a seed, a number and what they are for, and on nothing that went before."""
        if min(int(seed), int(number)) < 0:
            raise InputError(f"task {self.task}: seed and index must be 0 or more, got {seed} and {number}")
        return np.random.default_rng([zlib.crc32(self.task.encode()), int(seed), int(number), use])

    def _info(self) -> dict[str, Any]:
        state = self.read_state()
        info: dict[str, Any] = {"state": state, "layout": self.layout_number}
        if self.pair is not None:
            pair = self.pair
            info |= {
                "goal_image": self.goal_image.copy(),
                "goal_state": np.asarray(pair.goal, np.float32),
                "shortest": pair.shortest,
                "detour": pair.detour,
                "budget": pair.budget,
                "distance": self.distance(state, pair.goal),
                "success": self.reached(state, pair.goal),
            }
        return info
