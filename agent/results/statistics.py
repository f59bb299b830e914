"""How much to believe of a share and of a paired difference: Wilson's and Tango's intervals, the exact paired sign test."""

from __future__ import annotations

import math
from collections.abc import Sequence

Z = 1.959963984540054
"""What a normal number exceeds, up or down, once in twenty times."""


def wilson(successes: int, total: int) -> list[float]:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    if not total:
        return [0.0, 1.0]
    z = Z
    share, spread = successes / total, z * z / total
    centre = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / total + spread / total / 4)
    return [max(0.0, (centre - half) / (1 + spread)), min(1.0, (centre + half) / (1 + spread))]


def paired(ours: Sequence[bool], theirs: Sequence[bool]) -> dict:
    """The agent against another controller on the same episodes; `p`: exact two-sided sign test of the discordant pairs."""
    wins = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    losses = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    n, k = wins + losses, min(wins, losses)
    p = min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n) if n else 1.0
    return {"difference": (wins - losses) / max(1, len(ours)), "agent_only": wins, "baseline_only": losses, "p": p}


def difference_interval(ours: Sequence[bool], theirs: Sequence[bool]) -> list[float]:
    """95 % interval of the difference (ours - theirs) of two shares of the same episodes: Tango's score interval.

    Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample design": all
    differences d whose score |b - c - n d| / sqrt(n (2 q + d (1 - d))) is no more than z, where b episodes succeed for ours
    alone and c for theirs alone, and q is the likeliest share of the latter, given d.
    """
    found = paired(ours, theirs)
    n, b, c = max(1, len(ours)), found["agent_only"], found["baseline_only"]

    def score(d: float) -> float:
        linear, constant = -b - c + (2 * n - b + c) * d, -c * d * (1 - d)
        q = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
        spread, off = n * (2 * q + d * (1 - d)), b - c - n * d
        return off / math.sqrt(spread) if spread > 0 else math.copysign(math.inf, off) if off else 0.0

    def where(z: float) -> float:
        low, high = -1.0, 1.0  # the score falls from the one to the other
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if score(middle) > z else (low, middle)
        return (low + high) / 2

    return [where(Z), where(-Z)]
