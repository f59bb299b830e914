"""Benchmark tasks of the field as gymnasium environments: images in, goals as images, held-out layouts (docs/benchmarks.md).

`make("two_room")` gives the environment itself, with `explore`, `protocol` and `render_states`; `gymnasium.make` works too, and
wraps it.  Nothing of a task is imported before it is made.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import gymnasium

from objective_agent.types import InputError

if TYPE_CHECKING:
    from objective_agent.simulation.benchmarks.base import Benchmark

HERE = __name__
BENCHMARKS: dict[str, str] = {
    "two_room": "objective_agent/TwoRoom-v0",
    "two_room_random": "objective_agent/TwoRoomRandom-v0",
    "maze": "objective_agent/Maze-v0",
    "maze_random": "objective_agent/MazeRandom-v0",
    "wall": "objective_agent/Wall-v0",
    "wall_random": "objective_agent/WallRandom-v0",
    "point_maze": "objective_agent/PointMaze-v0",
    "push_t": "objective_agent/PushT-v0",
}
"""Task -> the name of its environment in gymnasium's registry."""

CLASSES: dict[str, str] = {
    "two_room": f"{HERE}.two_room:TwoRoom",
    "two_room_random": f"{HERE}.two_room:TwoRoomRandom",
    "maze": f"{HERE}.maze:Maze",
    "maze_random": f"{HERE}.maze:MazeRandom",
    "wall": f"{HERE}.wall:Wall",
    "wall_random": f"{HERE}.wall:WallRandom",
    "point_maze": f"{HERE}.point_maze:PointMaze",
    "push_t": f"{HERE}.push_t:PushT",
}
ADAPTER = f"{HERE}.gym_adapter:GymBenchmark"
PREFIX = "gym:"
PACKAGES = {
    "gym_pusht": "--no-deps gym-pusht==0.1.8 && pip install 'objective_agent[pusht]'",
    "pymunk": "'objective_agent[pusht]'",
    "pygame": "'objective_agent[pusht]'",
    "shapely": "'objective_agent[pusht]'",
    "mujoco": "'objective_agent[sim]'",
}
"""What pip installs for a module that is missing.  gym-pusht itself asks for opencv-python, which breaks the headless one."""


def make(task: str) -> Benchmark:
    """The environment of a task: a name in `BENCHMARKS`, or "gym:ID" for any gymnasium environment with image observations."""
    try:
        if task.startswith(PREFIX):
            return _load(ADAPTER)(task.removeprefix(PREFIX))
        if task not in CLASSES:
            raise InputError(f"task {task}: there is none; take one of {', '.join(BENCHMARKS)}, or gym:ID")
        return _load(CLASSES[task])()
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing == "objective_agent":
            raise
        raise InputError(f"task {task}: needs {missing}; pip install {PACKAGES.get(missing, missing)}") from error


def register() -> None:
    """Enters the tasks into gymnasium's registry, once."""
    for task, name in BENCHMARKS.items():
        if name not in gymnasium.registry:
            gymnasium.register(name, entry_point=CLASSES[task])


def _load(target: str):
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


register()
