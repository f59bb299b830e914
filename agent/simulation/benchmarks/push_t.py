"""Push-T: a disc pushes a T-shaped block to where an image shows it (Chi et al. 2023; physics: gym-pusht).

Protocol after DINO-WM (2411.04983) and LeWM's stable-worldmodel: the goal is the state 25 environment steps later in a
held-out trajectory, the budget is 50 environment steps, and success is one norm over all four coordinates of agent and
block, and the turn:

    |(agent, block) - (agent, block) of the goal| < 20 px of 512   and   |turn error| < 20 degrees

A step here is five environment steps (their frame skip), in which the disc goes to one target, `REACH` pixels away at most;
it starts every step at rest, so state and action decide what comes next.  The trajectories are those of a scripted pusher
with noise; only goals that the block has to move for count (30 px, or 30 degrees), so doing nothing never succeeds.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar

import cv2
import numpy as np

from objective_agent.simulation.benchmarks.base import SIZE, Benchmark, Pair, Policy
from objective_agent.simulation.benchmarks.pusher import (
    AGENT_RADIUS,
    FIELD,
    OUTLINE,
    Pusher,
    block_inside,
    distance_to_block,
    rotation,
)
from objective_agent.types import InputError

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # pygame, which gym_pusht imports, would greet on a command's stdout
import pymunk
from gym_pusht.envs import PushTEnv

if int(pymunk.version.split(".")[0]) > 6:
    raise InputError(f"task push_t: gym-pusht needs pymunk 6, this is {pymunk.version}: pip install 'pymunk<7'")

WIDTH = 512.0  # pixels of the simulated field
REPEAT = 5
REACH = 64.0  # pixels per unit of action
GOAL_STEPS = 5  # 25 environment steps
BUDGET = 10  # 50 environment steps
POSITION_TOLERANCE = 20.0  # pixels
TURN_TOLERANCE = np.pi / 9
LEAST_MOVE = 30.0  # pixels
LEAST_TURN = np.pi / 6
BACKGROUND, WALL, BLOCK, AGENT = (255, 255, 255), (211, 211, 211), (70, 90, 160), (220, 40, 40)
_FINE = 4  # drawn at four times the size, then averaged: a move of a quarter pixel shows


class PushT(Benchmark):
    """State [6]: agent x, y, block x, y (shares of the field's width), cosine and sine of the block's angle; all at rest.

    Action [2]: the disc's target, relative to where it is, in units of `REACH`.  `distance`: the larger of position error / 20
    px and turn error / 20 degrees.
    """

    task: ClassVar[str] = "push_t"
    state_size: ClassVar[int] = 6
    tolerance: ClassVar[float] = 1.0
    episode_steps: ClassVar[int] = 40
    episodes_per_layout: ClassVar[int] = 1

    def __init__(self, render_mode: str | None = "rgb_array"):
        super().__init__(render_mode)
        self._physics = PushTEnv()
        self._spare: PushT | None = None  # drives the trajectories that goals come from

    def draw_state(self, layout: int, random: np.random.Generator) -> np.ndarray:
        """Block anywhere it lies free of the walls, agent anywhere free of the block."""
        while True:
            angle = random.uniform(-np.pi, np.pi)
            position = random.uniform(60, 452, 2)
            agent = random.uniform(FIELD[0] + 5, FIELD[1] - 5, 2)
            if block_inside(position, angle) and _gap(agent, position, angle) > 2.0:
                return np.array([*agent / WIDTH, *position / WIDTH, np.cos(angle), np.sin(angle)])

    def draw_pair(self, layout: int, random: np.random.Generator) -> Pair:
        """Two moments of one trajectory of the scripted pusher, `GOAL_STEPS` apart, between which the block moved enough."""
        world = self._spare = self._spare or PushT()
        while True:
            world.place(self.draw_state(layout, random), layout)
            policy = world.explore(random)
            states = [world.read_state()]
            for _ in range(self.episode_steps):
                world.advance(np.asarray(policy(None, {"state": states[-1]}), float))
                states.append(world.read_state())
            states = np.array(states, float)
            move, turn = _moved(states[:-GOAL_STEPS], states[GOAL_STEPS:])
            inside = np.array([block_inside(*_parts(state)[1:]) for state in states])
            fit = np.flatnonzero(((move >= LEAST_MOVE) | (turn >= LEAST_TURN)) & inside[:-GOAL_STEPS] & inside[GOAL_STEPS:])
            if len(fit):
                first = int(random.choice(fit))
                return self.make_pair(layout, states[first], states[first + GOAL_STEPS])

    def make_pair(self, layout: int, start: np.ndarray, goal: np.ndarray) -> Pair:
        """`shortest` is what the data needed, an upper bound; there is no straight way to compare with, so no `detour`."""
        return Pair(np.asarray(start, float), np.asarray(goal, float), float(GOAL_STEPS), False, BUDGET)

    def check_state(self, state, layout: int) -> np.ndarray:
        state = super().check_state(state, layout)
        agent, position, angle = _parts(state)
        if abs(np.hypot(*state[4:]) - 1) > 0.01:
            raise InputError(
                f"task {self.task}: cosine and sine of the block's angle must lie on the circle, got {state[4:].tolist()}"
            )
        if not ((agent >= 0) & (agent <= WIDTH) & (position >= 0) & (position <= WIDTH)).all():
            raise InputError(f"task {self.task}: agent and block must be in the field, 0 to 1, got {state[:4].tolist()}")
        if _gap(agent, position, angle) < -5.0:
            raise InputError(f"task {self.task}: agent and block overlap in state {state.round(3).tolist()}")
        return state

    def place(self, state: np.ndarray, layout: int) -> None:
        agent, position, angle = _parts(np.asarray(state, float))
        physics = self._physics
        physics.reset(seed=0)  # a new space: no contact of the last episode is left
        physics.block.angle = angle
        physics.block.position = tuple(position.tolist())
        physics.agent.position, physics.agent.velocity = tuple(agent.tolist()), (0.0, 0.0)
        physics.space.reindex_shapes_for_body(physics.block)
        physics.space.reindex_shapes_for_body(physics.agent)

    def advance(self, action: np.ndarray) -> None:
        """Five of gym-pusht's steps with one target, without the area that it would compute after each."""
        physics, agent = self._physics, self._physics.agent
        x, y = agent.position
        right, down = np.clip((x + REACH * action[0], y + REACH * action[1]), *FIELD).tolist()
        velocity_x = velocity_y = 0.0
        for _ in range(REPEAT * round(1 / (physics.dt * physics.control_hz))):
            velocity_x += (physics.k_p * (right - x) - physics.k_v * velocity_x) * physics.dt
            velocity_y += (physics.k_p * (down - y) - physics.k_v * velocity_y) * physics.dt
            agent.velocity = velocity_x, velocity_y
            physics.space.step(physics.dt)
            x, y = agent.position

    def read_state(self) -> np.ndarray:
        agent, block = self._physics.agent, self._physics.block
        position = np.array([*agent.position, *block.position]) / WIDTH
        return np.array([*position, np.cos(block.angle), np.sin(block.angle)], np.float32)

    def distance(self, state: np.ndarray, goal: np.ndarray) -> float:
        position, turn = _errors(np.asarray(state, float), np.asarray(goal, float))
        return float(max(position / POSITION_TOLERANCE, turn / TURN_TOLERANCE))

    def render_states(self, states: np.ndarray, layouts: np.ndarray | int = 0) -> np.ndarray:
        images = np.empty((len(states), SIZE, SIZE, 3), np.uint8)
        for image, state in zip(images, np.asarray(states, float), strict=True):
            image[:] = _draw(*_parts(state))
        return images

    def toward(self, state: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The action that takes the disc straight to where it is in `target`, block or no block (a baseline with the state)."""
        way = (np.asarray(target, float)[:2] - np.asarray(state, float)[:2]) * WIDTH / REACH
        return (way / max(1.0, float(np.abs(way).max()))).astype(np.float32)

    def explore(self, random: np.random.Generator) -> Policy:
        """The scripted pusher with noise; it reads the state."""
        pusher = Pusher(random, REACH)
        return lambda image, info: pusher(*_parts(np.asarray(info["state"], float)))

    @property
    def protocol(self) -> dict[str, Any]:
        return super().protocol | {
            "physics": "gym-pusht, 10 Hz control, 100 Hz physics",
            "action_repeat": REPEAT,
            "reach_px": REACH,
            "tolerance": "20 px of 512 over agent and block together, and 20 degrees",
            "tolerance_units": "max(position error / 20 px, turn error / 20 degrees)",
            "goal": f"{GOAL_STEPS * REPEAT} environment steps later in a held-out trajectory of the scripted pusher",
            "least_displacement": "block 30 px or 30 degrees",
            "budget": f"{BUDGET} steps ({BUDGET * REPEAT} environment steps)",
            "data": "scripted pusher with noise (reads the state)",
            "state": ["agent x", "agent y", "block x", "block y", "cos angle", "sin angle"],
        }


def _parts(state: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Agent [2] and block [2] in pixels, the block's angle."""
    return state[:2] * WIDTH, state[2:4] * WIDTH, float(np.arctan2(state[5], state[4]))


def _gap(agent: np.ndarray, position: np.ndarray, angle: float) -> float:
    return float(distance_to_block(agent[None], position, angle)[0]) - AGENT_RADIUS


def _turn(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    cross = before[..., 4] * after[..., 5] - before[..., 5] * after[..., 4]
    return np.abs(np.arctan2(cross, (before[..., 4:] * after[..., 4:]).sum(axis=-1)))


def _moved(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the block moved (pixels) and turned (radians) between states [n, 6]."""
    return np.linalg.norm(after[..., 2:4] - before[..., 2:4], axis=-1) * WIDTH, _turn(before, after)


def _errors(state: np.ndarray, goal: np.ndarray) -> tuple[float, float]:
    return float(np.linalg.norm(state[:4] - goal[:4]) * WIDTH), float(_turn(state, goal))


def _background() -> np.ndarray:
    fine, rim = SIZE * _FINE, round(7 * SIZE * _FINE / WIDTH)
    canvas = np.full((fine, fine, 3), WALL, np.uint8)
    canvas[rim:-rim, rim:-rim] = BACKGROUND
    return canvas


_EMPTY = _background()


def _draw(agent: np.ndarray, position: np.ndarray, angle: float) -> np.ndarray:
    canvas, scale, digits = _EMPTY.copy(), SIZE * _FINE / WIDTH, 4  # binary digits of a pixel's fraction
    corners = (position + OUTLINE @ rotation(angle).T) * scale - 0.5
    cv2.fillPoly(canvas, [np.round(corners * 2**digits).astype(np.int32)], BLOCK, shift=digits)
    centre = np.round((agent * scale - 0.5) * 2**digits).astype(int)
    cv2.circle(canvas, centre.tolist(), round(AGENT_RADIUS * scale * 2**digits), AGENT, -1, shift=digits)
    return cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
