"""The arithmetic of an estimator: what was believed goes on, what comes is weighed by how far each can be trusted.

    predict     m' = f(m, u)                 P' = P + t Q                    t: elapsed model steps
    correct     S  = P' + R / min(t, 1)      K  = P' S^-1
                m  = m' + K (y - b - m')     P  = (I - K) P'
    surprise    s  = (y - b - m')' S^-1 (y - b - m') / D         if s > alarm:  P' grows by (s / alarm - 1) S first

The Kalman filter (Kalman 1960) for a state that the world model carries on, errors of which neither grow nor fade on the way.
Q is how wrong one predicted step is, R and b how far and how constantly an encoding that lacks a sense lies beside the one of
all senses; all are full matrices, because what a camera does not see are directions of the representation, not single features.
Errors of an encoding hardly change within a step, so measurements that come faster than steps count for less each.  All senses
together say what is asked for: R = 0, and the encoding is the estimate.

The last line is an innovation test (Mehra 1970): what is unusually far from the prediction makes the memory doubt itself just
as much as it takes for it to be usual again.  At s = 3 alarm at least two thirds of the difference is believed at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Belief:
    """Mean [D] and covariance [D, D] of the representation of all senses."""

    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Measure:
    """What an encoding with some senses is worth: constant `offset` [D], covariance `noise` [D, D], the `alarm` level of s.

    Without noise (None) it is exact.
    """

    offset: np.ndarray
    noise: np.ndarray | None
    alarm: float = np.inf


def started(encoding: np.ndarray, measure: Measure) -> Belief:
    """All there is after the first encoding [D]."""
    mean = encoding - measure.offset
    return Belief(mean, np.zeros((len(mean), len(mean))) if measure.noise is None else measure.noise)


def predicted(belief: Belief, mean: np.ndarray, process: np.ndarray, steps: float) -> Belief:
    """`belief` when `steps` model steps have passed and the world model says `mean` [D]; `process` [D, D] per step."""
    return Belief(mean, belief.covariance + steps * process)


def corrected(belief: Belief, encoding: np.ndarray, measure: Measure, steps: float = 1.0) -> tuple[Belief, float]:
    """(belief after an `encoding` [D] that came `steps` model steps after the one before, its surprise s; 0 when exact)."""
    if measure.noise is None:
        return started(encoding, measure), 0.0
    innovation = encoding - measure.offset - belief.mean
    noise = measure.noise / min(max(steps, 1e-3), 1.0)
    covariance = belief.covariance
    total = covariance + noise
    surprise = float(innovation @ np.linalg.solve(total, innovation)) / len(innovation)
    if surprise > measure.alarm:
        covariance = covariance + (surprise / measure.alarm - 1) * total
        total = covariance + noise
    gain = np.linalg.solve(total, covariance).T  # both are symmetric
    after = covariance - gain @ covariance
    return Belief(belief.mean + gain @ innovation, 0.5 * (after + after.T)), surprise
