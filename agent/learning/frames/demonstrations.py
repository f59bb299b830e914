"""Recorded images and actions as a log of plans: what a policy learns from where nobody has searched (`learning/policy.py`).

    state = the frames up to row t     plan = what was done at t ... t + H - 1     goal = the representation of row t + H

Whoever made the data reached that goal that way, so what was done is a plan for it (goal-conditioned supervised learning: Ghosh
et al. 2021, arXiv 1912.06088; hindsight: Andrychowicz et al. 2017).  It need not be the best one: a proposal only has to lie
near a good one, the search does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from objective_agent.learning.frames.batches import Frames
from objective_agent.learning.frames.latents import choose, latents_of
from objective_agent.memory.plans import Plans
from objective_agent.types import InputError

MOST_ROWS = 400_000


def plans_of(
    encoder: nn.Module,
    frames: Frames,
    history: int,
    horizon: int,
    dt: float = 1.0,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Plans:
    """A row for each of the training rows that `horizon` more follow, with `history` frames as state.

    InputError for an encoder with a map, whose scene such rows would have to hold as well, and for episodes that are too short.
    """
    if encoder.tokens > encoder.dynamic:
        raise InputError("--data: a policy learns from images only where the encoder has no map; give a log of plans")
    data = frames.data
    latents = latents_of(encoder, frames, most_rows=MOST_ROWS, seed=seed, report=report)
    tokens = latents.tokens.half().cpu().numpy()
    encoded = choose(data, "train", MOST_ROWS, seed)  # those of the latents
    index = np.full(data.rows, -1)
    index[encoded] = np.arange(len(encoded))
    rows = data.starts(horizon)
    rows = rows[index[rows] >= 0]
    if not len(rows):
        raise InputError(f"{data.path}: no episode has {horizon} steps to train with; collect longer ones")
    done = data.take("action", rows)
    state = tokens[index[data.history(rows, history)]]
    step = (rows - data.first[rows]).astype(np.int64)
    about: dict[str, Any] = {"task": data.task, "data": data.digest(), "dt": dt, "frames": history, "dynamic": encoder.dynamic}
    return Plans(
        episode=np.unique(data.episode[rows], return_inverse=True)[1],
        step=step,
        stamp=dt * step.astype(float),
        energy=np.zeros(len(rows), np.float32),
        feasible=np.ones(len(rows), bool),
        mode=np.full(len(rows), "demonstration"),
        state=state.reshape(len(rows), -1, tokens.shape[-1]),
        plan=data.take("action", rows[:, None] + np.arange(horizon)),
        done=done,
        goal=tokens[index[rows + horizon]],
        about=({**about, "rows": len(rows)},),
    )
