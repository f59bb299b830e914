"""A round robot in a grid layout, seen from above: the part that two rooms, mazes and walls have in common.

Kinematic: an action is a velocity, held for five small moves of .025 of the square's width; along each axis the robot moves
where it fits, so it slides along walls.  State: the robot's centre (x, y), x to the right, y down, in [0, 1].
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, ClassVar

import numpy as np

from objective_agent.simulation.benchmarks import grid
from objective_agent.simulation.benchmarks.base import TEST_LAYOUTS, Benchmark, Pair, Policy
from objective_agent.simulation.benchmarks.grid import CELLS, Layout
from objective_agent.types import InputError

REPEAT = 5
MOVE = 0.025  # per small move
SPEED = REPEAT * MOVE  # per step
DETOUR = 1.35
PUSH_STEPS = 6
FIXED_SEED = 5  # of the one layout of a fixed task that draws it
KEPT = 512  # layouts in the cache


class GridBenchmark(Benchmark):
    """A task on grid layouts; a subclass draws the layouts and says which pairs it wants."""

    budget_steps: ClassVar[int | None] = 40  # None: `budget_factor` times the shortest way
    budget_factor: ClassVar[float] = 4.0
    bounce: ClassVar[float] = 1.0  # chance that exploration turns away when something blocks it
    pairs: ClassVar[str] = "start and goal drawn evenly"

    def __init__(self, render_mode: str | None = "rgb_array"):
        super().__init__(render_mode)
        self._layouts: OrderedDict[int, Layout] = OrderedDict()
        self._here: Layout | None = None
        self._x = self._y = 0.5

    # What a task of this kind must say.

    def draw_layout(self, random: np.random.Generator) -> Layout:
        raise NotImplementedError

    def wanted(self, layout: Layout, start: np.ndarray, goal: np.ndarray) -> bool:
        """Whether start and goal make a test episode: the goal isn't reached yet."""
        return not self.reached(start, goal)

    def draw_push(
        self, layout: Layout, random: np.random.Generator, blocked: bool
    ) -> tuple[np.ndarray, np.ndarray, Any] | None:
        """(start [2], action [2], crossed: state -> bool) of a push at a wall, or through an opening; None: draw again."""
        raise NotImplementedError

    # The world.

    def layout(self, number: int) -> Layout:
        """Layout `number`: drawn from its number, until its content is on the side (training or test) that the number says."""
        found = self._layouts.get(number)
        if found is None:
            random = np.random.default_rng(FIXED_SEED) if self.fixed else self._generator(0, number, 2)
            found = self.draw_layout(random)
            while not self.fixed and found.held_out != (number in TEST_LAYOUTS):
                found = self.draw_layout(random)
            self._layouts[number] = found
            if len(self._layouts) > KEPT:
                self._layouts.popitem(last=False)
        return found

    def place(self, state: np.ndarray, layout: int) -> None:
        self._here = self.layout(layout)
        self._x, self._y = float(state[0]), float(state[1])

    def advance(self, action: np.ndarray) -> None:
        blocked, x, y = self._here.blocked_cells, self._x, self._y
        right, down = MOVE * float(action[0]), MOVE * float(action[1])
        row = int(y * CELLS) * CELLS
        for _ in range(REPEAT):
            if not blocked[row + int((x + right) * CELLS)]:
                x += right
            below = int((y + down) * CELLS) * CELLS
            if not blocked[below + int(x * CELLS)]:
                y, row = y + down, below
        self._x, self._y = x, y

    def read_state(self) -> np.ndarray:
        return np.array((self._x, self._y), np.float32)

    def draw_frame(self) -> np.ndarray:
        image = self._here.picture.copy()
        grid.draw_robots(image[None], np.array(((self._x, self._y),)))
        return image

    def render_states(self, states: np.ndarray, layouts: np.ndarray | int = 0) -> np.ndarray:
        states = np.asarray(states, float).reshape(-1, 2)
        layouts = np.broadcast_to(np.asarray(layouts), len(states))
        images = np.empty((len(states), grid.PIXELS, grid.PIXELS, 3), np.uint8)
        for number in np.unique(layouts):
            images[layouts == number] = self.layout(int(number)).picture
        return grid.draw_robots(images, states)

    def render_empty(self, layouts: np.ndarray) -> np.ndarray:
        """Images uint8 [n, 64, 64, 3] of `layouts` [n] without the robot."""
        return np.stack([self.layout(int(number)).picture for number in layouts])

    def rollout(self, state: np.ndarray, actions: np.ndarray, layout: int = 0) -> np.ndarray:
        """The true states [H + 1, 2] from `state` on under `actions` [H, 2]; the running episode doesn't notice."""
        world = type(self)()
        world._layouts = self._layouts
        world.place(state, layout)
        states = [world.read_state()]
        for action in np.asarray(actions, float).clip(-1, 1):
            world.advance(action)
            states.append(world.read_state())
        return np.stack(states)

    def check_state(self, state, layout: int) -> np.ndarray:
        state = super().check_state(state, layout)
        if not ((state >= 0) & (state < 1)).all() or not self.layout(layout).free(state):
            raise InputError(f"task {self.task}: no robot fits at {state.tolist()} in layout {layout}")
        return state

    # Episodes.

    def draw_state(self, layout: int, random: np.random.Generator) -> np.ndarray:
        return self.layout(layout).draw_free(random)

    def draw_pair(self, layout: int, random: np.random.Generator) -> Pair:
        here = self.layout(layout)
        while True:
            start, goal = here.draw_free(random), here.draw_free(random)
            if self.wanted(here, start, goal):
                return self.make_pair(layout, start, goal)

    def make_pair(self, layout: int, start: np.ndarray, goal: np.ndarray) -> Pair:
        start, goal = np.asarray(start, float), np.asarray(goal, float)
        length = float(self.layout(layout).ways.length(start, goal)[0])
        shortest = length / SPEED
        budget = self.budget_steps or max(1, math.ceil(self.budget_factor * shortest))
        return Pair(start, goal, shortest, self.is_detour(layout, start, goal, length), budget)

    def is_detour(self, layout: int, start: np.ndarray, goal: np.ndarray, length: float) -> bool:
        """Whether the shortest way, of this length, is far from straight."""
        return bool(length > DETOUR * float(np.linalg.norm(goal - start)))

    def shortest_steps(self, starts: np.ndarray, goals: np.ndarray, layouts: np.ndarray | int = 0) -> np.ndarray:
        """Steps of the shortest way from each start [n, 2] to its goal [n, 2] in its layout; the truth behind reachability."""
        starts, goals = np.asarray(starts, float), np.asarray(goals, float)
        layouts = np.broadcast_to(np.asarray(layouts), len(starts))
        result = np.empty(len(starts))
        for number in np.unique(layouts):
            mine = layouts == number
            result[mine] = self.layout(int(number)).ways.length(starts[mine], goals[mine]) / SPEED
        return result

    def toward(self, state: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The action that goes straight to `target` (a baseline with access to the state)."""
        way = (np.asarray(target, float) - np.asarray(state, float)) / SPEED
        return (way / max(1.0, float(np.abs(way).max()))).astype(np.float32)

    def explore(self, random: np.random.Generator) -> Policy:
        """Headings that wander, at a rate drawn per episode; one turns away from what blocks it (reads the state)."""
        heading = random.uniform(-np.pi, np.pi)
        wander = random.choice([0.15, 0.5, 1.2])
        before: np.ndarray | None = None
        action = np.zeros(2, np.float32)

        def act(image: np.ndarray, info: dict[str, Any]) -> np.ndarray:
            nonlocal heading, before, action
            state = info["state"]
            if before is not None:
                moved, meant = np.linalg.norm(state - before), SPEED * np.linalg.norm(action)
                if moved < 0.4 * meant and random.random() < self.bounce:
                    heading = random.uniform(-np.pi, np.pi)
            heading = random.uniform(-np.pi, np.pi) if random.random() < 0.05 else heading + wander * random.normal()
            speed = 1.2 * random.uniform(0.2, 1.0)
            before, action = state, np.array((math.cos(heading), math.sin(heading)), np.float32) * np.float32(speed)
            action = action.clip(-1, 1)
            return action

        return act

    def pushes(self, count: int, seed: int = 0, blocked: bool = True) -> list[dict[str, Any]]:
        """The push test in test layouts: full speed straight at a wall for six steps.  Does a model see walls?

        Each: `layout`, `start` [2], `action` [2], `steps`, `end` [2] (where the push really ends), `crossed(state) -> bool` (is
        this state beyond the wall?).  With `blocked=False`, pushes that do get through an opening: the counter-check.
        """
        found: list[dict[str, Any]] = []
        number = 0
        while len(found) < count:
            random = self._generator(seed, number, 3)
            number += 1
            layout = self._layout(None, "test", random)
            drawn = self.draw_push(self.layout(layout), random, blocked)
            if drawn is None or not self.layout(layout).free(drawn[0]):
                continue
            start, action, crossed = drawn
            end = self.rollout(start, np.tile(action, (PUSH_STEPS, 1)), layout)[-1]
            if crossed(end) != blocked:
                push = {"layout": layout, "start": start.astype(np.float32), "action": action.astype(np.float32)}
                found.append(push | {"steps": PUSH_STEPS, "end": end, "crossed": crossed})
        return found

    @property
    def protocol(self) -> dict[str, Any]:
        factor = f"{self.budget_factor:g} times the shortest way, rounded up"
        layouts = f"layouts whose content's checksum is 0 modulo {grid.HELD_OUT}, with start and goal"
        return super().protocol | {
            "tolerance_units": "of the square's width",
            "action": f"velocity; 1 is {SPEED} of the width per step along an axis",
            "action_repeat": REPEAT,
            "robot_radius": grid.RADIUS,
            "budget": f"{self.budget_steps} steps" if self.budget_steps else factor,
            "pairs": self.pairs,
            "held_out": super().protocol["held_out"] if self.fixed else layouts,
        }
