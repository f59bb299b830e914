"""Labels about people: where each one is as seen from the robot, whether the robot can know it, and how far they are.

Truth about somebody behind a wall teaches nothing but noise, so a distance counts people only whom the sweep has shown by then:
at the beginning of a training window, or in the two steps before it (what the encoder is shown).  They stay known through the
window, seen or not.
"""

from __future__ import annotations

import math

import numpy as np

MOST = 6
"""People kept apart per step."""

FARTHEST = 3.0
"""All beyond this are alike, m."""

BEFORE, BEHIND = 0.3, 0.15
"""A beam towards a person that ends this much before or behind the near side of the body still shows it (it walks on), m."""


def places(people: np.ndarray, pose: np.ndarray, radius: float) -> np.ndarray:
    """`people` [n, 3] = x, y, radius in the world -> [MOST, 3] = x, y seen from `pose` [3], gap to the body; NaN beyond n.

    The nearest MOST when there are more: rows then may change hands, which shows as a person who jumps.
    """
    found = np.full((MOST, 3), np.nan)
    dx, dy = people[:, 0] - pose[0], people[:, 1] - pose[1]
    cos, sin = math.cos(pose[2]), math.sin(pose[2])
    seen = np.stack([cos * dx + sin * dy, cos * dy - sin * dx, np.hypot(dx, dy) - people[:, 2] - radius], 1)
    if len(seen) > MOST:
        seen = seen[np.sort(np.argsort(seen[:, 2])[:MOST])]
    found[: len(seen)] = seen
    return found


def visible(places: np.ndarray, ranges: np.ndarray, radius: float) -> np.ndarray:
    """Which of `places` [P, 3] a sweep of canonical `ranges` [beams] shows [P]; without a sweep all of them count."""
    there = ~np.isnan(places[:, 0])
    if np.isnan(ranges).all():
        return there
    beams = len(ranges)
    angles = np.arange(beams) * (2 * math.pi / beams) - math.pi
    distance = np.hypot(places[:, 0], places[:, 1])
    body = np.maximum(distance - places[:, 2] - radius, 0.05)
    near = distance - body
    with np.errstate(invalid="ignore"):
        half = np.maximum(np.arcsin(np.clip(body / np.maximum(distance, 1e-6), 0, 1)), 2 * math.pi / beams)
        off = (np.arctan2(places[:, 1], places[:, 0])[:, None] - angles + math.pi) % (2 * math.pi) - math.pi
        hits = (ranges > near[:, None] - BEFORE) & (ranges < near[:, None] + body[:, None] + BEHIND)
        return there & ((np.abs(off) <= half[:, None]) & hits).any(1)


def known_places(places: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """`places` [S, n, P, 3] of windows, with NaN for everybody who is not `seen` [n, P]."""
    return np.where(seen[None, :, :, None], places, np.nan)


def nearest(places: np.ndarray) -> np.ndarray:
    """Gap to the nearest of known `places` [..., P, 3], FARTHEST where there is nobody [...]."""
    return np.minimum(np.nan_to_num(places[..., 2], nan=FARTHEST).min(-1), FARTHEST)


def sectors(places: np.ndarray, count: int, sharpness: float = 6.0) -> np.ndarray:
    """How near people at `places` [..., P, 3] are in each of `count` directions [..., count]: 1 at the body, 0 from FARTHEST.

    Sector s looks at s 2 pi / count from straight ahead; a person fades with exp(sharpness (cos - 1)) of the angle to it.
    """
    share = np.clip(1 - np.nan_to_num(places[..., 2], nan=FARTHEST) / FARTHEST, 0, 1)
    bearing = np.arctan2(np.nan_to_num(places[..., 1]), np.nan_to_num(places[..., 0]))
    angles = np.arange(count) * (2 * math.pi / count)
    fade = np.exp(sharpness * (np.cos(bearing[..., None] - angles) - 1))
    return (share[..., None] * fade).max(-2).astype(np.float32)
