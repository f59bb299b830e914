"""Is a source fresh?  By the stamp (ROS time) and by the arrival (steady clock): either alone can be fooled.

A stamp tells how old the content is but stands still with a stopped clock; an arrival tells that the sender lives but not that
what it sends is new.  After a gap a source counts as fresh again only after N good messages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from objective_agent.safety.state import Source


def receive(
    source: Source, message: Any, now: float, steady: float, max_age: float, max_future: float, check: Callable[[Any], str]
) -> Source:
    """`source` after `message` (None, or the same object as before: nothing new) was looked at.

    A message with an impossible stamp is dropped: the source ages on.  One with impossible content ends the source's freshness.
    """
    if message is None or message is source.seen:
        return source
    stamp = message.stamp
    if not math.isfinite(stamp) or stamp <= 0:
        return replace(source, seen=message, problem="has no stamp")
    if stamp > now + max_future:
        return replace(source, seen=message, problem=f"is stamped {stamp - now:.2f} s in the future")
    if source.message is not None and stamp < source.message.stamp:
        return replace(source, seen=message, problem=f"stamps run backwards by {source.message.stamp - stamp:.2f} s")
    if now - stamp > max_age:
        return replace(source, seen=message, problem=f"is stamped {now - stamp:.2f} s ago")
    problem = check(message)
    if problem:
        return replace(source, seen=message, fresh=0, problem=problem)
    return Source(message, message, steady, source.fresh + 1, "")


def judge(
    source: Source, name: str, now: float, steady: float, max_age: float, timeout: float, needed: int
) -> tuple[Source, str, bool]:
    """The source, why it can't be used (empty: it can), and whether that is a fault (or only a wait for N messages)."""
    if source.message is None:
        return source, f"no {name} yet" + (f": it {source.problem}" if source.problem else ""), True
    age, silence = now - source.message.stamp, steady - source.arrival
    if age > max_age or silence > timeout:
        why = f"{name} is stale: stamp {age:.2f} s old, {silence:.2f} s since the last good one"
        return replace(source, fresh=0), why + (f"; the newest {source.problem}" if source.problem else ""), True
    if source.fresh == 0:
        return source, f"{name} {source.problem or 'is not fresh'}", True
    if source.fresh < needed:
        return source, f"{name}: {source.fresh} of {needed} fresh messages", False
    return source, "", False
