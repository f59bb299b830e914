"""Goals given as pictures: a picture becomes a representation, and the present is compared with it.

    picture --encoder, the camera alone, a body that stands--> goal representation --(task, configuration)--> planner
    present representation, goal representation --objective `reachability`--> how far it still is --> configurator: reached?

Shared by `Agent` and the nodes; imports no torch.  What is asked for travels as the representation, not as the picture, and
names the model that made it: another model can't use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from objective_agent.config import Configuration, Task
from objective_agent.protocols import Encoder
from objective_agent.types import Array, InputError, Observation, Representation, WorldState
from objective_agent.versions import short

HISTORY = (8, 4)
"""Shape of the motion history of a robot that stands."""


def encode_goal(encoder: Encoder, rgb: np.ndarray) -> Representation:
    """The representation of a goal image [height, width, 3] uint8.

    InputError when the encoder has no use for a camera, or the array is no picture.
    """
    if not getattr(encoder, "sees_images", False):
        raise InputError(
            "goal image: the encoder does not look at a camera; use a model trained with camera images (encoder.plugin: jepa)"
        )
    zeros = np.zeros((1, 3), np.float32), np.zeros((1, 2), np.float32)
    standing = np.zeros((1, *HISTORY), np.float32)
    if np.ndim(rgb) != 3 or np.shape(rgb)[2] != 3 or np.asarray(rgb).dtype != np.uint8 or 0 in np.shape(rgb):
        raise InputError(f"goal image: shape {np.shape(rgb)}; give [height, width, 3] uint8")
    return encoder.encode(Observation(0.0, *zeros, images=np.asarray(rgb)[None], motion=standing))


def goal_task(goal: Representation | tuple[np.ndarray, str], **about: Any) -> Task:
    """The task to be where the picture was taken; `about`: id, weights and so on."""
    tokens, model = (goal.tokens, goal.model) if isinstance(goal, Representation) else goal
    tokens = np.asarray(tokens, float).reshape(np.shape(tokens)[-2:])
    rows = tuple(tuple(float(np.float32(value)) for value in row) for row in tokens)
    return Task(kind="goal_image", representation=rows, model=model, **about)


def goal_tokens(task: Task) -> np.ndarray | None:
    """[1, T, D] float32 of a goal image, None for other tasks."""
    return None if task.representation is None else np.asarray([task.representation], np.float32)


def mismatch(configuration: Configuration, state: WorldState) -> str:
    """Why the goal image can't be compared with what is seen now, or an empty string."""
    task = configuration.task
    if task.kind != "goal_image":
        return ""
    if task.model and short(task.model) != short(state.model):
        return (
            f"the goal image was encoded by model {short(task.model)}, states by {short(state.model)}; send the picture again"
        )
    found, needed = np.shape(task.representation), tuple(state.representation.shape[1:])
    if found != needed:
        return f"the goal image has {found[0]}x{found[1]} features, states have {needed[0]}x{needed[1]}; send the picture again"
    return ""


def goal_distance(objectives: Iterable[Any], state: WorldState, task: Task) -> float | None:
    """How far the present is from the goal image; 1 is what counts as there.  None without a goal image or a measure."""
    goal = goal_tokens(task)
    if goal is None or goal.shape[1:] != tuple(state.representation.shape[1:]):
        return None
    for objective in objectives:
        reached = getattr(objective, "reached", None)
        if reached is not None:
            return float(objective.steps(np.asarray(state.representation, np.float32), goal)[0]) / reached
    return None


def has_answer(objective: Any, position: Array | None, representation: Array | None) -> bool:
    """Whether `objective` has something to say about a goal with or without a position, a representation (None: without)."""
    needs = getattr(objective, "needs", None)
    return {"position": position is not None, "representation": representation is not None}.get(needs, True)
