"""A ball with inertia in a U-shaped maze, pushed by a force: MuJoCo physics, goals as images (D4RL's maze2d-umaze, 2004.07219).

After DINO-WM's point maze (2411.04983): cells of 1 m, a ball of .1 m and 4.2 kg, a force of at most 100 N along each axis,
damping 1 N s/m, at most 5 m/s along each axis, physics at 100 Hz; success within .5 m of the goal's position, at any speed.
Theirs has no budget, ours is 4 times the shortest way (at full speed, and one step to get going).  One step here is .1 s, ten
physics steps with the same force: full speed takes two steps to reach and two to lose, so the velocity, which no single image
shows, decides what comes next.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import mujoco
import numpy as np

from objective_agent.simulation.benchmarks import grid
from objective_agent.simulation.benchmarks.base import SIZE, Benchmark, Pair, Policy
from objective_agent.simulation.benchmarks.grid import CELLS, Layout
from objective_agent.types import InputError

MAZE = ("...", "##.", "...")  # rows from above; the outer wall isn't named
REPEAT, TIMESTEP = 10, 0.01
FULL_SPEED = 5.0  # m/s along an axis
BALL = 0.1  # m
DETOUR = 1.35
BUDGET_FACTOR = 4.0
_CELL = 38  # grid cells per maze cell, so that walls end where grid cells do
_RIM = (CELLS - _CELL * len(MAZE)) // 2
METRES = CELLS / _CELL  # the picture's width
STEP = REPEAT * TIMESTEP
SPEED = FULL_SPEED * STEP / METRES  # of the picture's width per step
GAIN = 100 / (4 / 3 * math.pi * BALL**3 * 1000) * STEP  # m/s that full force adds in a step


class PointMaze(Benchmark):
    """State [4]: the ball's x, y (shares of the picture's width, y down) and its velocity (the same per step).

    Action [2]: force along x and y, 1 = 100 N.  `distance`: to the goal's position, in shares of the picture's width.
    """

    task: ClassVar[str] = "point_maze"
    state_size: ClassVar[int] = 4
    tolerance: ClassVar[float] = 0.5 / METRES
    episode_steps: ClassVar[int] = 30
    episodes_per_layout: ClassVar[int] = 1

    def __init__(self, render_mode: str | None = "rgb_array"):
        super().__init__(render_mode)
        self.layout = Layout(_occupied())
        self._model = mujoco.MjModel.from_xml_string(_mjcf())
        self._data = mujoco.MjData(self._model)

    def draw_state(self, layout: int, random: np.random.Generator) -> np.ndarray:
        """Anywhere, at any speed up to full along each axis: collected episodes begin in motion."""
        return np.array([*self.layout.draw_free(random), *random.uniform(-SPEED, SPEED, 2)])

    def draw_pair(self, layout: int, random: np.random.Generator) -> Pair:
        """Start and goal at rest, twice the tolerance apart or more; every other one, on average, is a detour."""
        wanted = bool(random.random() < 0.5)
        while True:
            start, goal = (np.array([*self.layout.draw_free(random), 0.0, 0.0]) for _ in range(2))
            if self.distance(start, goal) >= 2 * self.tolerance:
                pair = self.make_pair(layout, start, goal)
                if pair.detour == wanted:
                    return pair

    def make_pair(self, layout: int, start: np.ndarray, goal: np.ndarray) -> Pair:
        start, goal = np.asarray(start, float), np.asarray(goal, float)
        shortest = float(self.shortest_steps(start[None], goal[None])[0])
        straight = float(np.linalg.norm(goal[:2] - start[:2]))
        return Pair(start, goal, shortest, (shortest - 1) * SPEED > DETOUR * straight, math.ceil(BUDGET_FACTOR * shortest))

    def shortest_steps(self, starts: np.ndarray, goals: np.ndarray, layouts: np.ndarray | int = 0) -> np.ndarray:
        """Steps [n] of the shortest way between states [n, 4] or places [n, 2]: full speed all along, and one to get going."""
        starts, goals = (self._free_places(np.asarray(points, float)[:, :2]) for points in (starts, goals))
        return self.layout.ways.length(starts, goals) / SPEED + 1

    def check_state(self, state, layout: int) -> np.ndarray:
        state = super().check_state(state, layout)
        if not ((state[:2] >= 0) & (state[:2] < 1)).all() or not self.layout.free(state[:2]):
            raise InputError(f"task {self.task}: no ball fits at {state[:2].tolist()}")
        if (np.abs(state[2:]) > SPEED * 1.001).any():
            raise InputError(f"task {self.task}: a velocity is {SPEED:.3f} at most, got {state[2:].tolist()}")
        return state

    def place(self, state: np.ndarray, layout: int) -> None:
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = np.asarray(state[:2], float) * METRES
        self._data.qvel[:] = np.asarray(state[2:], float) * METRES / STEP
        mujoco.mj_forward(self._model, self._data)

    def advance(self, action: np.ndarray) -> None:
        model, data = self._model, self._data
        data.ctrl[:] = action
        for _ in range(REPEAT):
            np.clip(data.qvel, -FULL_SPEED, FULL_SPEED, out=data.qvel)
            mujoco.mj_step(model, data)

    def read_state(self) -> np.ndarray:
        velocity = np.clip(self._data.qvel, -FULL_SPEED, FULL_SPEED) * STEP / METRES
        return np.concatenate([self._data.qpos / METRES, velocity]).astype(np.float32)

    def distance(self, state: np.ndarray, goal: np.ndarray) -> float:
        return float(np.linalg.norm(np.asarray(state, float)[:2] - np.asarray(goal, float)[:2]))

    def render_states(self, states: np.ndarray, layouts: np.ndarray | int = 0) -> np.ndarray:
        places = np.asarray(states, float)[:, :2]
        images = np.empty((len(places), SIZE, SIZE, 3), np.uint8)
        images[:] = self.layout.picture
        return grid.draw_robots(images, places)

    def toward(self, state: np.ndarray, target: np.ndarray) -> np.ndarray:
        """The force that takes the ball straight to `target` (a baseline with access to the state)."""
        way = np.asarray(target, float)[:2] - np.asarray(state, float)[:2]
        return self._servo(np.asarray(state, float), way / max(1.0, float(np.abs(way).max()) / SPEED))

    def explore(self, random: np.random.Generator) -> Policy:
        """Forces towards velocities that are held for some steps, or forces that wander; walls turn both (reads the state)."""
        steady = random.random() < 0.8
        left, wanted, force = 0, np.zeros(2), np.zeros(2)

        def act(image: np.ndarray, info: dict[str, Any]) -> np.ndarray:
            nonlocal left, wanted, force
            state = np.asarray(info["state"], float)
            left -= 1
            if steady:
                blocked = np.linalg.norm(state[2:] - wanted) > 0.5 * np.linalg.norm(wanted) and random.random() < 0.7
                if left <= 0 or blocked:
                    heading, left = random.uniform(-np.pi, np.pi), int(random.integers(2, 9))
                    wanted = 1.3 * SPEED * random.uniform() * np.array([math.cos(heading), math.sin(heading)])
                force = self._servo(state, wanted) + random.normal(0, 0.15, 2)
            else:
                still = (np.abs(state[2:]) < 0.1 * SPEED) & (random.random(2) < 0.5)
                force = np.where(still, random.uniform(-1, 1, 2), 0.7 * force + random.normal(0, 0.4, 2))
            force = np.clip(force, -1, 1)
            return force.astype(np.float32)

        return act

    @property
    def protocol(self) -> dict[str, Any]:
        return super().protocol | {
            "physics": "MuJoCo, ball of 4.2 kg, 100 N and 5 m/s at most along an axis, damping 1 N s/m",
            "action_repeat": REPEAT,
            "action": f"force; {STEP:g} s per step",
            "maze": list(MAZE),
            "tolerance_units": "of the picture's width; .5 m, at any speed",
            "pairs": "at rest, twice the tolerance apart or more; half are detours, way > 1.35 x straight line",
            "budget": f"{BUDGET_FACTOR:g} times the shortest way (full speed, one step to get going), rounded up",
            "state": ["x", "y", "velocity x", "velocity y"],
        }

    def _servo(self, state: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """The force that brings the ball to `velocity` (widths per step) within a step, if it can."""
        return np.clip((velocity - state[2:]) * METRES / STEP / GAIN, -1, 1).astype(np.float32)

    def _free_places(self, places: np.ndarray) -> np.ndarray:
        """Places [n, 2], with those that touch a wall moved to the nearest free grid cell."""
        places = places.copy()
        rows, columns = np.nonzero(~self.layout.blocked)
        cells = (np.stack([columns, rows], 1) + 0.5) / CELLS
        for number in np.flatnonzero(~self.layout.free(places)):
            places[number] = cells[((cells - places[number]) ** 2).sum(1).argmin()]
        return places


def _occupied() -> np.ndarray:
    occupied = np.ones((CELLS, CELLS), bool)
    inner = np.kron(np.array([[tile == "#" for tile in row] for row in MAZE]), np.ones((_CELL, _CELL), bool))
    occupied[_RIM : CELLS - _RIM, _RIM : CELLS - _RIM] = inner
    return occupied


def _mjcf() -> str:
    """The maze as MuJoCo reads it: frictionless contact, one box per maze cell of wall, the outer wall around it."""
    rim, side = _RIM / _CELL, len(MAZE)
    spots = [
        (column, row)
        for row in range(-1, side + 1)
        for column in range(-1, side + 1)
        if not (0 <= row < side and 0 <= column < side) or MAZE[row][column] == "#"
    ]
    walls = "".join(
        f'<geom type="box" size=".5 .5 .2" pos="{rim + column + 0.5} {rim + row + 0.5} .2"/>' for column, row in spots
    )
    return f"""
    <mujoco model="point_maze">
      <option timestep="{TIMESTEP}" gravity="0 0 0" integrator="Euler"/>
      <default><geom condim="1" density="1000"/><joint damping="1"/></default>
      <worldbody>
        {walls}
        <body name="ball" pos="0 0 .1">
          <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
          <geom type="sphere" size="{BALL}"/>
        </body>
      </worldbody>
      <actuator>
        <motor joint="x" gear="100" ctrllimited="true" ctrlrange="-1 1"/>
        <motor joint="y" gear="100" ctrllimited="true" ctrlrange="-1 1"/>
      </actuator>
    </mujoco>"""
