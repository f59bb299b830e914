"""Conformal margins keep their promise on new worlds drawn like the old ones, and count worlds, not windows."""

from __future__ import annotations

import math

import numpy as np

from objective_agent.learning.calibration import CalibrationSettings, conformal_margin, covered, margins, world_scores

SETTINGS = CalibrationSettings()


def worlds(count: int, seed: int, windows: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Over-estimates [1, 2, n] of worlds that differ from one another far more than their windows do."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.exponential(0.1, count), windows)
    over = level + rng.normal(0, 0.02, len(level))
    return np.stack([over, 2 * over])[None], np.ones((1, 2, len(level)), bool), np.repeat(np.arange(count), windows)


def test_the_promise_is_kept_on_new_worlds():
    kept = []
    for seed in range(40):
        margin = np.array(margins(*worlds(60, seed), SETTINGS))
        kept.append(covered(*worlds(60, 1000 + seed), margin, SETTINGS.within)["worlds"])
    assert 0.93 <= np.mean(kept) <= 0.99


def test_calibrating_over_windows_would_have_promised_too_much():
    """With all windows in one pot the margin covers 95 % of predictions, but far fewer worlds."""
    over, counts, names = worlds(60, 0)
    pooled = np.quantile(over[0, 0], 0.95)
    assert pooled < margins(over, counts, names, SETTINGS)[0]


def test_a_farther_step_gets_its_own_margin():
    first, second = margins(*worlds(60, 3), SETTINGS)
    assert second > 1.5 * first


def test_a_margin_is_never_negative():
    over, counts, names = worlds(60, 3)
    assert margins(over - 10, counts, names, SETTINGS) == [0.0, 0.0]


def test_too_few_worlds_give_the_worst_that_was_seen():
    assert conformal_margin(np.array([0.1, 0.4, 0.2]), 0.95) == 0.4
    assert conformal_margin(np.array([math.nan]), 0.95) == 0.0


def test_what_does_not_count_is_left_out():
    over, counts, names = worlds(4, 0)
    counts[:, 0, names == 2] = False
    scores = world_scores(over, counts, names, 0.95)
    assert np.isnan(scores[2, 0]) and not np.isnan(scores[2, 1])
    assert math.isnan(covered(over, np.zeros_like(counts), names, np.zeros(2), 0.95)["worlds"])
