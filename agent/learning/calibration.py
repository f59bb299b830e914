"""Conformal margins: how much a read-out must be lowered so that it keeps its promise in homes it has never seen.

Windows of one home are alike, homes are exchangeable; so each held-out world gives ONE score per step (split conformal
prediction over groups): the quantile, over that world's windows and futures, of how far the read-out's 5 % quantile lay above
what came.  The margin is the ceil((n + 1) coverage)-th smallest of n scores.  With probability `coverage` a new world is then
one in which the promise holds for at least the share `within` of its windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from objective_agent.config import Strict


class CalibrationSettings(Strict):
    coverage: float = 0.95
    """Share of worlds in which the promise must hold."""
    within: float = 0.95
    """Share of a world's windows for which it must hold there."""
    clearance_near: float = 0.5
    """Windows count where the predicted or the true clearance is below this, m."""
    people_near: float = 1.5


def world_scores(over: np.ndarray, counts: np.ndarray, worlds: np.ndarray, within: float) -> np.ndarray:
    """[W, H] the `within` quantile of the over-estimates `over` [K, H, n] per world of `worlds` [n], where `counts` [K, H, n].

    Worlds in which nothing counts at a step have NaN there.
    """
    names = np.unique(worlds)
    scores = np.full((len(names), over.shape[1]), np.nan)
    for i, world in enumerate(names):
        mine = worlds == world
        for step in range(over.shape[1]):
            values = over[:, step, mine][counts[:, step, mine]]
            if len(values):
                scores[i, step] = np.quantile(values, within, method="higher")
    return scores


def conformal_margin(scores: np.ndarray, coverage: float) -> float:
    """The smallest margin >= 0 with the promised coverage for a world exchangeable with those of `scores` [n] (NaN left out).

    With fewer than coverage / (1 - coverage) worlds the promise can't be made; the largest score is what there is.
    """
    known = np.sort(scores[~np.isnan(scores)])
    if not len(known):
        return 0.0
    rank = min(math.ceil((len(known) + 1) * coverage), len(known))
    return float(max(known[rank - 1], 0.0))


def margins(over: np.ndarray, counts: np.ndarray, worlds: np.ndarray, settings: CalibrationSettings) -> list[float]:
    """A margin [H] per step."""
    scores = world_scores(over, counts, worlds, settings.within)
    return [round(conformal_margin(column, settings.coverage), 4) for column in scores.T]


def covered(over: np.ndarray, counts: np.ndarray, worlds: np.ndarray, margin: np.ndarray, within: float) -> dict[str, float]:
    """What became of the promise: the share of worlds that keep it at every step, and the share of all counted predictions."""
    lowered = over - np.asarray(margin)[None, :, None]
    scores = world_scores(lowered, counts, worlds, within)
    known = ~np.isnan(scores)
    return {
        "worlds": float((scores[known] <= 1e-9).mean()) if known.any() else math.nan,
        "predictions": float((lowered[counts] <= 0).mean()) if counts.any() else math.nan,
    }


def risk_margin(over: Sequence[np.ndarray], risk: float) -> float:
    """The least margin >= 0 with which a new episode's share of broken promises is at most `risk` in the mean.

    `over`: over-estimates of each episode of a calibration set, m; episodes without any are left out.  Conformal risk control
    (Angelopoulos et al. 2022) with episodes as what is exchangeable: of n episodes the mean share may be at most
    ((n + 1) risk - 1) / n.  With fewer than 1 / risk - 1 episodes no share is small enough, and the largest one counts.
    """
    known = [np.sort(values) for values in over if len(values)]
    if not known:
        return 0.0
    allowed = max(0.0, ((len(known) + 1) * risk - 1) / len(known))
    tried = np.unique(np.clip(np.concatenate([[0.0], *known]), 0.0, None))

    def broken(margin: float) -> float:
        return float(np.mean([1 - np.searchsorted(values, margin + 1e-9, side="right") / len(values) for values in known]))

    low, high = 0, len(tried) - 1  # what is broken falls as the margin grows
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if broken(tried[middle]) <= allowed else (middle + 1, high)
    return float(tried[low])
