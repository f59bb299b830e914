"""Collecting images: a benchmark task's own exploration policy, episode by episode, into a data set.

All randomness of episode i comes from (seed, i), so the data do not depend on the number of processes.  Only training
layouts of the task are visited: those of its evaluation stay unseen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from objective_agent.learning.batches import generator
from objective_agent.learning.frames.coverage import coverage
from objective_agent.learning.frames.dataset import FrameData, FrameWriter
from objective_agent.learning.workers import in_processes

CHUNK = 32
"""Episodes that a process drives at a time."""


@dataclass(frozen=True)
class Episode:
    """`images` [n + 1, 64, 64, 3] uint8, `actions` [n, A], `states` [n + 1, S] float32."""

    images: np.ndarray
    actions: np.ndarray
    states: np.ndarray
    layout: int


def collect(
    task: str,
    out: str | Path,
    steps: int,
    seed: int = 0,
    jobs: int = 1,
    about: dict[str, Any] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[FrameData, dict[str, Any]]:
    """At least `steps` steps in whole episodes; `report` gets (steps done, steps in all).  Returns (data, coverage report).

    InputError for an unknown task, an existing `out` or a full disk; then nothing is left behind.
    """
    env, first = environment(task), 0
    said = {"seed": seed, "steps": 0, "protocol": env.protocol, **(about or {})}
    with FrameWriter(out, task, env.action_size, env.state_size, said) as writer:
        while (missing := steps - writer.about["steps"]) > 0:  # again where episodes end before they are `episode_steps` long
            length = writer.about["steps"] / first if first else env.episode_steps
            last = first + math.ceil(missing / length)
            chunks = [(task, seed, begin, min(begin + CHUNK, last)) for begin in range(first, last, CHUNK)]
            for episodes in drive_all(chunks, jobs):
                for episode in episodes:
                    if writer.about["steps"] < steps:
                        writer.add(episode.images, episode.actions, episode.states, episode.layout)
                        writer.about["steps"] += len(episode.actions)
                report(min(writer.about["steps"], steps), steps)
            first = last
    data = FrameData.open(out)
    return data, coverage(data)


def drive_all(chunks: list[tuple], jobs: int) -> Iterator[list[Episode]]:
    if jobs == 1 or len(chunks) == 1:
        yield from (drive(*chunk) for chunk in chunks)
        return
    yield from in_processes(drive, chunks, min(jobs, len(chunks)), "try again with fewer --jobs", in_order=True)


def drive(task: str, seed: int, first: int, last: int) -> list[Episode]:
    """Episodes `first` ... `last` - 1 of a collection."""
    env = environment(task)
    return [drive_episode(env, seed, number) for number in range(first, last)]


def drive_episode(env, seed: int, number: int) -> Episode:
    """One episode; it ends where the task ends it, or after the task's `episode_steps`."""
    random = generator(seed, "episode", number)
    options = {"split": "train", "layout": env.train_layout(seed, number // env.episodes_per_layout), "goal": False}
    image, info = env.reset(seed=int(random.integers(2**31)), options=options)
    policy = env.explore(random)
    images, actions, states = [image], [], [info["state"]]
    for _ in range(env.episode_steps):
        action = np.asarray(policy(image, info), np.float32)
        image, _, terminated, truncated, info = env.step(action)
        images.append(image)
        actions.append(action)
        states.append(info["state"])
        if terminated or truncated:
            break
    return Episode(np.stack(images), np.stack(actions), np.stack(states).astype(np.float32), int(info["layout"]))


@lru_cache(maxsize=1)
def environment(task: str):
    """The task's environment; one is kept."""
    from objective_agent.simulation import benchmarks

    return benchmarks.make(task).unwrapped
