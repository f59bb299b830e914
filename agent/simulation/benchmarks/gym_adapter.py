"""`gym:ID`: any gymnasium environment as a benchmark task, with what it shows as the image and goals from its own exploration.

Image: the observation, where it is an image or a dictionary with one, else what `render()` draws; resized to 64x64.  Actions: a
box is scaled to [-1, 1] (1 stands for an infinite bound); n discrete actions become a box [n], whose largest entry is taken.

Such an environment can't be put into a given state, so a test episode is (seed of its reset, actions before the start): the
goal is what its exploration sees `GOAL_STEPS` steps after the start, and the budget twice as many.  Training and tests reset
it with different seeds.  Success is relative, since units are unknown: with D the distance of states, each number in units of
its own spread,

    D(state, goal) < 0.2 D(start, goal)

State: `info["state"]`, else the vectors of the observation, else (no truth to be had) the image, averaged to 8x8.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import cv2
import gymnasium
import numpy as np

from objective_agent.simulation.benchmarks.base import SIZE, Benchmark, Pair, Policy
from objective_agent.types import InputError

GOAL_STEPS = 25
BUDGET = 2 * GOAL_STEPS
MOST_BEFORE = 10  # steps before the start
LEAST_DISTANCE = 0.5  # between start and goal, in spreads (root mean square over the state)
TRIES = 20
TEST_SEEDS = 2**30  # the environment's own seeds: tests from here on, training below
_SPREAD_EPISODES = 6


class GymBenchmark(Benchmark):
    """The environment called `name` in gymnasium's registry (or "module:ID"); deterministic, given its seed and the actions.

    `info` also has `task_reward`, the environment's own.  It ends an episode when it terminates or truncates by itself.
    """

    tolerance: ClassVar[float] = 0.2
    episode_steps: ClassVar[int] = BUDGET
    episodes_per_layout: ClassVar[int] = 1

    def __init__(self, name: str, render_mode: str | None = "rgb_array"):
        self.task = f"gym:{name}"
        self._world = _open(self.task, name)
        self._actions = _Actions(self.task, self._world.action_space)
        self.action_size = self._actions.size
        super().__init__(render_mode)
        self._over = self._cut = False
        self._reward = 0.0
        self._spread: np.ndarray | None = None
        self._begin(0)
        self.state_size = len(self._state)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As every task's, without `start` and a given goal: the environment can't be put where one wants."""
        gymnasium.Env.reset(self, seed=seed)
        options = options or {}
        for name, value in options.items():
            if name not in ("split", "layout", "index", "goal") or (name == "goal" and value not in (True, False, None)):
                raise InputError(f"task {self.task}: reset can't do {name}={value!r}: it can't be put into a given state")
        index = options.get("index")
        random = self.np_random if index is None else self._generator(seed or 0, index, 0)
        self._layout(options.get("layout"), options.get("split"), random)
        base = TEST_SEEDS if options.get("split") == "test" else 0
        self.pair = self.goal_image = None
        if options.get("goal", True):
            start, actions, self.pair, self.goal_image = self._draw_problem(base, random)
            self._replay(start, actions)
        else:
            self._begin(base + int(random.integers(TEST_SEEDS)))
        self._steps, self._image = 0, self._frame
        return self._image, self._info()

    def step(self, action):
        image, reward, terminated, truncated, info = super().step(action)
        return image, reward, terminated or self._over, truncated or self._cut, info | {"task_reward": self._reward}

    def advance(self, action: np.ndarray) -> None:
        if self._over or self._cut:
            raise gymnasium.error.ResetNeeded(f"task {self.task}: its episode is over: call reset()")
        self._take(*self._world.step(self._actions(action)))

    def read_state(self) -> np.ndarray:
        return self._state.copy()

    def draw_frame(self) -> np.ndarray:
        return self._frame

    def distance(self, state: np.ndarray, goal: np.ndarray) -> float:
        """D(state, goal) / D(start, goal); before there is a pair, D itself."""
        whole = 1.0 if self.pair is None else self._apart(self.pair.start, self.pair.goal)
        return self._apart(state, goal) / whole

    def render_states(self, states: np.ndarray, layouts: np.ndarray | int = 0) -> np.ndarray:
        raise InputError(f"task {self.task}: no images of given states: the environment can't be put into them")

    def explore(self, random: np.random.Generator) -> Policy:
        """Actions that wander (a box), or that are held for some steps (discrete); it reads nothing."""
        return self._actions.explore(random)

    def close(self) -> None:
        self._world.close()

    @property
    def protocol(self) -> dict[str, Any]:
        return super().protocol | {
            "environment": str(self._world.spec.id if self._world.spec else self.task),
            "image_source": self._image_source,
            "state_source": self._state_source,
            "action": self._actions.words,
            "tolerance_units": "of the distance between start and goal, each number of the state in units of its spread",
            "goal": f"what exploration sees {GOAL_STEPS} steps after the start, in episodes with seeds kept from training",
            "least_displacement": f"{LEAST_DISTANCE:g} spreads (root mean square over the state)",
            "budget": f"{BUDGET} steps",
        }

    # Goals.

    def _draw_problem(self, base: int, random: np.random.Generator):
        """(the environment's seed, actions before the start, pair, goal image)."""
        if self._spread is None:
            self._spread = self._measure_spread()
        best: tuple[float, Any] = (0.0, None)
        for _ in range(TRIES):
            start, before, policy = (
                base + int(random.integers(TEST_SEEDS)),
                int(random.integers(MOST_BEFORE)),
                self.explore(random),
            )
            self._begin(start)
            actions: list[np.ndarray] = []
            states, frames = [self._state], [self._frame]
            while len(actions) < before + GOAL_STEPS and not (self._over or self._cut):
                actions.append(policy(self._frame, {"state": self._state}))
                self.advance(np.asarray(actions[-1], float))
                states.append(self._state)
                frames.append(self._frame)
            last = len(actions) - self._over  # a goal is a state from which one could go on
            if last <= before:
                continue
            apart = self._apart(states[before], states[last])
            if apart > best[0]:
                pair = Pair(states[before], states[last], float(last - before), False, BUDGET)
                best = apart, (start, actions[:before], pair, frames[last])
            if apart >= LEAST_DISTANCE:
                break
        if best[1] is None:
            raise InputError(f"task {self.task}: its exploration changes nothing, so there is no goal to reach")
        return best[1]

    def _replay(self, start: int, actions: list[np.ndarray]) -> None:
        self._begin(start)
        for action in actions:
            self.advance(np.asarray(action, float))

    def _measure_spread(self) -> np.ndarray:
        """Standard deviation of each number of the state over some episodes, always the same; inf where it is constant."""
        states = []
        for number in range(_SPREAD_EPISODES):
            policy = self.explore(self._generator(0, number, 3))
            self._begin(TEST_SEEDS + number)
            for _ in range(BUDGET):
                states.append(self._state)
                if self._over or self._cut:
                    break
                self.advance(np.asarray(policy(self._frame, {"state": self._state}), float))
        spread = np.std(states, axis=0, dtype=float)
        return np.where(spread > 1e-6, spread, np.inf)

    def _apart(self, state: np.ndarray, goal: np.ndarray) -> float:
        spread = np.ones(len(state)) if self._spread is None else self._spread
        moving = max(1, int(np.isfinite(spread).sum()))
        return float(np.sqrt((((np.asarray(state, float) - np.asarray(goal, float)) / spread) ** 2).sum() / moving))

    # What the environment says.

    def _begin(self, seed: int) -> None:
        observation, info = self._world.reset(seed=seed)
        self._take(observation, 0.0, False, False, info)

    def _take(self, observation, reward, terminated, truncated, info) -> None:
        self._over, self._cut, self._reward = bool(terminated), bool(truncated), float(reward)
        picture, self._image_source = _find_image(observation)
        if picture is None:
            picture, self._image_source = self._drawn(), "render()"
        if picture is None:
            raise InputError(f"task {self.task}: shows no image: neither its observation nor render() is one")
        self._frame = cv2.resize(picture, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        state, self._state_source = _find_state(observation, info)
        if state is None:
            small = cv2.resize(self._frame, (8, 8), interpolation=cv2.INTER_AREA)
            state, self._state_source = small.astype(np.float32).ravel() / 255, "the image, averaged to 8x8"
        self._state = state

    def _drawn(self) -> np.ndarray | None:
        try:
            return _as_image(self._world.render())
        except (NotImplementedError, gymnasium.error.Error):  # it can't draw, or lacks what it draws with
            return None


class _Actions:
    """From [A] in [-1, 1] to an action of the environment's own space."""

    def __init__(self, task: str, space: gymnasium.Space):
        self.space = space
        if isinstance(space, gymnasium.spaces.Discrete):
            self.size = int(space.n)
            self.words = f"{self.size} discrete actions, the largest entry is taken"
        elif isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
            self.size = int(np.prod(space.shape))
            low, high = space.low.astype(float).ravel(), space.high.astype(float).ravel()
            self.low, self.high = np.where(np.isfinite(low), low, -1.0), np.where(np.isfinite(high), high, 1.0)
            self.words = f"a box of {self.size}, scaled to [-1, 1]"
        else:
            raise InputError(
                f"task {task}: can't use its action space {space}; a box of floats or discrete actions can be used"
            )

    def __call__(self, action: np.ndarray):
        if isinstance(self.space, gymnasium.spaces.Discrete):
            return self.space.start + int(np.argmax(action))
        scaled = self.low + (np.asarray(action) + 1) / 2 * (self.high - self.low)
        return scaled.reshape(self.space.shape).astype(self.space.dtype)

    def explore(self, random: np.random.Generator) -> Policy:
        action, left = np.zeros(self.size), 0

        def wander(image: np.ndarray, info: dict[str, Any]) -> np.ndarray:
            nonlocal action
            action = 0.8 * action + random.normal(0, 0.5, self.size)
            return np.clip(action, -1, 1).astype(np.float32)

        def hold(image: np.ndarray, info: dict[str, Any]) -> np.ndarray:
            nonlocal action, left
            if left <= 0:
                action, left = -np.ones(self.size), int(random.geometric(0.4))
                action[random.integers(self.size)] = 1.0
            left -= 1
            return action.astype(np.float32)

        return hold if isinstance(self.space, gymnasium.spaces.Discrete) else wander


def _open(task: str, name: str) -> gymnasium.Env:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of environments that know no render mode: noticed where no image comes
            return gymnasium.make(name, render_mode="rgb_array", disable_env_checker=True)
    except gymnasium.error.Error as error:
        raise InputError(f"task {task}: {str(error).splitlines()[0]}") from error


def _as_image(value) -> np.ndarray | None:
    """uint8 [h, w, 3] of what looks like an image (grey ones too), else None."""
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8:
        return None
    if value.ndim == 2:
        value = value[..., None]
    if value.ndim != 3 or value.shape[2] not in (1, 3) or min(value.shape[:2]) < 8:
        return None
    return np.ascontiguousarray(np.broadcast_to(value, (*value.shape[:2], 3)))


def _find_image(observation) -> tuple[np.ndarray | None, str]:
    image = _as_image(observation)
    if image is not None:
        return image, "the observation"
    if isinstance(observation, dict):
        for key, value in observation.items():
            image = _as_image(value)
            if image is not None:
                return image, f"the observation's {key}"
    return None, ""


def _find_state(observation, info: dict[str, Any]) -> tuple[np.ndarray | None, str]:
    """float32 [S] of the numbers that come with the image, and where they were."""
    state = _vector(info.get("state"))
    if state is not None:
        return state, "info's state"
    state = _vector(observation)
    if state is not None:
        return state, "the observation"
    if isinstance(observation, dict):
        found = {
            key: vector for key, vector in ((key, _vector(value)) for key, value in observation.items()) if vector is not None
        }
        found.pop("desired_goal", None)  # the environment's own goal, which isn't ours
        if found:
            return np.concatenate(list(found.values())), "the observation's " + ", ".join(found)
    return None, ""


def _vector(value) -> np.ndarray | None:
    try:
        value = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        return None
    return value if value.ndim == 1 and value.size and np.isfinite(value).all() else None
