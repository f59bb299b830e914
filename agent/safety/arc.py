"""How far a disc can drive along an arc, and how fast it may be with that much room.

Free arc length: the disc's centre moves on a circle of radius rho = |v / w|.  A point at distance q from the turning centre and
at angle phi ahead is touched by a disc of radius r when rho^2 + q^2 - 2 rho q cos(phi - beta) = r^2, i.e. after the angle
beta = phi - arccos((rho^2 + q^2 - r^2) / (2 rho q)).

Admissible speed: react for t seconds, then brake with a: v t + v^2 / (2 a) + u (t + v / a) <= d, where u is the obstacle's
closing speed.
"""

from __future__ import annotations

import numpy as np

STRAIGHT = 1e-4  # curvature (1/m) below which an arc is a line: 8 m of it leave the line by 3 mm


def free_length(points: np.ndarray, v: float, w: float, radius: float) -> np.ndarray:
    """Arc length [P] (m) that a disc can drive before its edge touches each point [P, 2] (base_link, centre at the origin).

    A point already nearer than `radius` blocks motions that bring it nearer (0) and lets others pass until they would bring
    it as near again: the escape rule.  Turning on the spot is free for a disc (inf).
    """
    count = len(points)
    if v == 0.0 or count == 0:
        return np.full(count, np.inf)
    x = points[:, 0] if v > 0 else -points[:, 0]
    y = points[:, 1]
    distance = np.hypot(x, y)
    inside = distance <= radius
    r = np.where(inside, distance * (1 - 1e-9), radius)
    curvature = w / v
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        if abs(curvature) < STRAIGHT:
            ahead = x > 0
            length = np.where((np.abs(y) < r) & ahead, x - np.sqrt(np.maximum(r * r - y * y, 0.0)), np.inf)
            return np.where(inside, np.where(ahead, 0.0, np.inf), np.maximum(length, 0.0))
        rho = 1.0 / abs(curvature)
        y = y if curvature > 0 else -y
        q = np.hypot(x, rho - y)
        phi = np.mod(np.arctan2(x, rho - y), 2 * np.pi)
        cosine = (rho * rho + q * q - r * r) / (2 * rho * q)
        touch = np.where(cosine < 1.0, np.mod(phi - np.arccos(np.clip(cosine, -1.0, 1.0)), 2 * np.pi), np.inf)
        approaching = np.sin(phi) > 0
        return np.where(inside & approaching, 0.0, rho * touch)


def admissible_speed(free: np.ndarray, reaction: float, deceleration: float, closing: np.ndarray | float = 0.0) -> np.ndarray:
    """Largest speed (m/s) from which the manoeuvre ends within `free` metres; 0 where none does."""
    b = deceleration * reaction + closing
    root = b * b + 2 * deceleration * (free - closing * reaction)
    return np.maximum(np.sqrt(np.maximum(root, 0.0)) - b, 0.0)
