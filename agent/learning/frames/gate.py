"""What a reachability head is worth: does it rank start and goal pairs that nobody trained on by the steps they really take?

Spearman's rank correlation with the length of the shortest way, over the test pairs of a benchmark task, and over the pairs
with a detour alone.  In open space distance in representation space ranks well too, so the figure over all pairs says little;
where walls stand between, it is the whole point.  `l2` is that distance under the same pairs: what the head has to beat.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from objective_agent.cost.frame_quasimetric import FrameQuasimetric
from objective_agent.types import InputError

LEAST_PAIRS = 8
CHUNK = 128
PAIRS, SEED = 300, 12345
"""The pairs of every card; no evaluation has this seed."""


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation, ties sharing their rank; None with fewer than 8 pairs, or where one side never varies."""
    if len(first) < LEAST_PAIRS:
        return None
    ranks = [_ranks(np.asarray(values, float)) for values in (first, second)]
    if min(rank.std() for rank in ranks) == 0:
        return None
    return float(np.corrcoef(*ranks)[0, 1])


def _ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def gate(metric: FrameQuasimetric, encoder: nn.Module, task: str, pairs: int = PAIRS, seed: int = SEED) -> dict[str, Any]:
    """Figures on `pairs` held-out pairs of `task`; None where a figure can't be had (too few detours, no way known)."""
    from objective_agent.simulation import benchmarks

    env = benchmarks.make(task)
    shortest, detour, starts, goals = [], [], [], []
    for index in range(pairs):
        image, info = env.reset(seed=seed, options={"split": "test", "index": index})
        starts.append(image)
        goals.append(info["goal_image"])
        shortest.append(float(info["shortest"]))
        detour.append(bool(info["detour"]))
    env.close()
    return figures(metric, encoder, np.stack(starts), np.stack(goals), np.array(shortest), np.array(detour))


def figures(
    metric: FrameQuasimetric,
    encoder: nn.Module,
    starts: np.ndarray,
    goals: np.ndarray,
    shortest: np.ndarray,
    detour: np.ndarray,
) -> dict[str, Any]:
    """`gate` for pairs given as images [n, h, w, 3], true steps [n] and detours [n]."""
    if not len(starts) == len(goals) == len(shortest) == len(detour):
        raise InputError("gate: starts, goals, shortest and detour must have the same length")
    learned, plain = [], []
    device = next(iter(metric.weights.values())).device
    encoder.eval()
    with torch.inference_mode():
        for first in range(0, len(starts), CHUNK):
            here, there = (encoder(torch.from_numpy(images[first : first + CHUNK]).to(device)) for images in (starts, goals))
            d = encoder.dynamic
            places = here[:, d:] if metric.shape.places else None
            learned.append(metric.steps(here[:, None, :d], there[:, None, :d], places)[:, 0])
            plain.append((here[:, :d] - there[:, :d]).square().mean((1, 2)).sqrt())
    learned, plain = _numpy(learned), _numpy(plain)
    known = np.isfinite(shortest)
    some = known & detour
    ratio = learned[known] / np.maximum(shortest[known], 1e-6)
    return {
        "pairs": int(known.sum()),
        "spearman": spearman(learned[known], shortest[known]),
        "detours": int(some.sum()),
        "spearman_detours": spearman(learned[some], shortest[some]),
        "l2": spearman(plain[known], shortest[known]),
        "l2_detours": spearman(plain[some], shortest[some]),
        "per_step": float(np.median(ratio)) if len(ratio) else None,
    }


def _numpy(parts: list[Tensor]) -> np.ndarray:
    return torch.cat(parts).float().cpu().numpy()
