"""Pairs of clips for the violation-of-expectation test: one that the task's world can do, and one that it can't, same actions.

    teleport    from one frame to the next the robot is somewhere else, and goes on from there
    wall        told to drive against a wall, the robot goes through it; possible: it stands before it
    closed      the same way through a door, and through the wall of another layout: what moves is the same in both
    vanish      from one frame on the robot is not there
    freeze      the robot no longer moves though it is told to
    occlusion   behind a board, where nobody sees it, the robot is moved to another place

Both clips of a pair (but of `closed`) are the same up to the event; all are drawn by the task's own renderer and lie in
held-out layouts.  After infants' looking times (Spelke et al. 1992); for machines IntPhys (Riochet et al. 2018, arXiv
1803.07616) and Garrido et al. 2025 (arXiv 2502.11831).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from objective_agent.simulation.benchmarks.base import Benchmark
from objective_agent.simulation.benchmarks.grid_world import SPEED
from objective_agent.types import InputError

KINDS = ("teleport", "wall", "closed", "vanish", "freeze", "occlusion")
STEPS = 8
"""Actions that can be judged in a clip; the wall's clips are as long as a push."""

FAR = 4.0
"""A teleport, and what an unfrozen robot goes, is this many tolerances or more."""

BOARD = 20  # pixels, side of what hides the robot
BOARD_COLOUR = (60, 60, 60)
CLEAR, SLIVER = 60, 6  # grey levels, pixels
TRIES = 200


@dataclass(frozen=True)
class ClipPair:
    """`images` uint8 [2, F, 64, 64, 3]: possible, impossible; `actions` [F - 1, A] lead from frame to frame in both.

    `event`: the first frame that may differ.
    """

    kind: str
    images: np.ndarray
    actions: np.ndarray
    event: int


def clip_pairs(env: Benchmark, kind: str, count: int, seed: int, history: int = 1) -> Iterator[ClipPair]:
    """`count` pairs; the event comes after at least `history` frames.  InputError where a task has no such pairs."""
    if kind not in KINDS:
        raise InputError(f"clips of kind {kind!r}: there are none; known: {', '.join(KINDS)}")
    if reason := why_not(env, kind):
        raise InputError(f"task {env.task}: no clips of kind {kind}: {reason}")
    if kind in ("wall", "closed"):
        yield from (_walls if kind == "wall" else _closed)(env, count, seed, history)
        return
    make = {"teleport": _teleport, "vanish": _vanish, "freeze": _freeze, "occlusion": _occlusion}[kind]
    number = 0
    for _ in range(count):
        for _ in range(TRIES):
            random = np.random.default_rng([seed, number, KINDS.index(kind)])
            states, actions, layout = _drive(env, random, seed, number, history + STEPS)
            number += 1
            pair = make(env, random, states, actions, layout, history)
            if pair is not None:
                yield pair
                break
        else:
            raise InputError(f"task {env.task}: no clips of kind {kind}: exploration hardly moves the robot")


def why_not(env: Benchmark, kind: str) -> str:
    """Why a task has no clips of a kind; empty where it has."""
    if type(env).place is Benchmark.place:
        return "its world can't be set to a state"
    if kind in ("wall", "closed") and not hasattr(env, "pushes"):
        return "it has no push test"
    if kind == "closed" and env.fixed:
        return "it has one layout"
    return ""


def _drive(env: Benchmark, random: np.random.Generator, seed: int, number: int, steps: int):
    """(states [steps + 1, S], actions [steps, A], layout) of an exploring robot in a held-out layout."""
    image, info = env.reset(seed=seed, options={"split": "test", "index": number, "goal": False})
    layout, policy = info["layout"], env.explore(random)
    states, actions = [info["state"]], []
    for _ in range(steps):
        action = np.asarray(policy(image, {"state": states[-1], "layout": layout}), np.float32)
        env.advance(np.clip(action.astype(float), -1, 1))
        actions.append(action)
        states.append(env.read_state())
        image = env.draw_frame()
    return np.stack(states), np.stack(actions), layout


def _follow(env: Benchmark, state: np.ndarray, layout: int, actions: np.ndarray) -> list[np.ndarray]:
    """States after each of `actions`, from `state`."""
    env.place(np.asarray(state, float), layout)
    states = []
    for action in actions:
        env.advance(np.clip(np.asarray(action, float), -1, 1))
        states.append(env.read_state())
    return states


def _event(random: np.random.Generator, history: int) -> int:
    """The event's frame: at least one predicted frame comes before it, and one after it."""
    return history + int(random.integers(1, STEPS - 1))


def _elsewhere(env: Benchmark, random: np.random.Generator, state: np.ndarray, layout: int) -> np.ndarray | None:
    for _ in range(50):
        other = np.asarray(env.draw_state(layout, random), float)
        if env.distance(other, state) >= FAR * env.tolerance:
            return other
    return None


def _teleport(env, random, states, actions, layout, history) -> ClipPair | None:
    event = _event(random, history)
    other = _elsewhere(env, random, states[event], layout)
    if other is None:
        return None
    moved = [*states[:event], other.astype(np.float32), *_follow(env, other, layout, actions[event:])]
    return _pair("teleport", env, layout, states, np.stack(moved), actions, event)


def _vanish(env, random, states, actions, layout, history) -> ClipPair:
    event = _event(random, history)
    possible = env.render_states(states, layout)
    impossible = possible.copy()
    impossible[event:] = _empty(env, random, layout)
    return ClipPair("vanish", np.stack([possible, impossible]), actions, event)


def _freeze(env, random, states, actions, layout, history) -> ClipPair | None:
    event = history + int(random.integers(1, STEPS // 2))
    if max(env.distance(state, states[event - 1]) for state in states[event:]) < FAR * env.tolerance:
        return None
    frozen = np.concatenate([states[:event], np.repeat(states[event - 1 : event], len(states) - event, 0)])
    return _pair("freeze", env, layout, states, frozen, actions, event)


def _occlusion(env, random, states, actions, layout, history) -> ClipPair | None:
    """The robot, seen at first, goes behind the board and comes out: where it must, or elsewhere.  Both are hidden as long."""
    behind = history + int(random.integers(1, STEPS // 2))
    empty = _empty(env, random, layout)
    possible = env.render_states(states, layout)
    where = np.abs(possible[behind].astype(int) - empty).sum(-1)
    if not where.any():
        return None
    row, column = (np.average(index, weights=where) for index in np.indices(where.shape))
    top, left = (int(np.clip(round(middle) - BOARD // 2, 0, len(empty) - BOARD)) for middle in (row, column))
    board = (slice(None), slice(top, top + BOARD), slice(left, left + BOARD))
    seen = _visible(possible, empty, board)
    if not seen[history - 1] or seen[behind] or not seen[behind:].any():
        return None
    event = behind + int(np.argmax(seen[behind:]))
    other = _elsewhere(env, random, states[event], layout)
    if other is None:
        return None
    moved = np.stack([*states[:event], other.astype(np.float32), *_follow(env, other, layout, actions[event:])])
    impossible = env.render_states(moved, layout)
    if not np.array_equal(_visible(impossible, empty, board), seen):
        return None
    images = np.stack([possible, impossible])
    images[(slice(None), *board)] = BOARD_COLOUR
    return ClipPair("occlusion", images, actions, event)


def _visible(images: np.ndarray, empty: np.ndarray, board: tuple) -> np.ndarray:
    """[F] bool: whether more than a sliver of what moves is seen beside the board."""
    apart = np.abs(images.astype(int) - empty).max(-1)
    apart[board] = 0
    return (apart > CLEAR).sum((1, 2)) >= SLIVER


def _walls(env, count: int, seed: int, history: int) -> Iterator[ClipPair]:
    for push in env.pushes(count, seed):
        actions, states = _pushed(env, push, push["layout"], history)
        told = np.concatenate([np.zeros((1, actions.shape[1])), np.cumsum(actions, 0)])
        ghost = np.clip(states[0] + SPEED * told, 0.05, 0.95).astype(np.float32)
        event = int(np.argmax(np.abs(ghost - states).max(1) > 0.01))
        yield _pair("wall", env, push["layout"], states, ghost, actions, event)


def _closed(env, count: int, seed: int, history: int) -> Iterator[ClipPair]:
    number, made = 0, 0
    for push in env.pushes(2 * count, seed, blocked=False):
        actions, states = _pushed(env, push, push["layout"], history)
        for _ in range(TRIES):
            number += 1
            other = env.reset(seed=seed, options={"split": "test", "index": number, "goal": False})[1]["layout"]
            if env.layout(other).free(states[0]):
                stopped = _pushed(env, push, other, history)[1]
                if np.abs(states[-1] - stopped[-1]).max() > 2 * env.tolerance:
                    event = int(np.argmax(np.abs(states - stopped).max(1) > 0.01))
                    images = np.stack([env.render_states(states, layout) for layout in (push["layout"], other)])
                    yield ClipPair("closed", images, actions, event)
                    made += 1
                    break
        if made == count:
            return
    raise InputError(f"task {env.task}: no clips of kind closed: its layouts hardly differ")


def _pushed(env, push: dict, layout: int, history: int) -> tuple[np.ndarray, np.ndarray]:
    """(actions [W - 1 + steps, A], states [W + steps, S]) of a push in a layout, begun at rest."""
    action = np.asarray(push["action"], np.float32)
    actions = np.repeat(action[None], history - 1 + int(push["steps"]), 0)
    actions[: history - 1] = 0
    start = np.asarray(push["start"], np.float32)
    return actions, np.stack([start, *_follow(env, start, layout, actions)])


def _pair(kind, env, layout, possible: np.ndarray, impossible: np.ndarray, actions: np.ndarray, event: int) -> ClipPair:
    images = env.render_states(np.concatenate([possible, impossible]), layout)
    return ClipPair(kind, images.reshape(2, len(possible), *images.shape[1:]), actions, event)


def _empty(env: Benchmark, random: np.random.Generator, layout: int) -> np.ndarray:
    """The layout without anything that moves: what most of many states show at each pixel."""
    states = np.stack([env.draw_state(layout, random) for _ in range(31)])
    return np.median(env.render_states(states, layout), axis=0).astype(np.uint8)
