"""How much to believe of a share and of a difference: Wilson's and Newcombe's intervals, the exact paired sign test."""

from __future__ import annotations

import math
from collections.abc import Sequence


def wilson(successes: int, total: int) -> list[float]:
    """Wilson's 95 % interval of a share (Wilson 1927)."""
    if not total:
        return [0.0, 1.0]
    z = 1.959963984540054
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
    """95 % interval of the difference of two shares (ours - theirs), from Wilson's intervals of both (Newcombe 1998).

    As if the episodes were not the same; where both succeed on the same ones it is wider than need be.
    """
    one, two = sum(map(bool, ours)) / max(1, len(ours)), sum(map(bool, theirs)) / max(1, len(theirs))
    (low1, high1), (low2, high2) = (wilson(sum(map(bool, each)), len(each)) for each in (ours, theirs))
    difference = one - two
    return [difference - math.hypot(one - low1, high2 - two), difference + math.hypot(high1 - one, two - low2)]
