"""Puts together what belongs together: messages of several topics that carry the same stamp."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any


class StampMatcher:
    """Collects one item per topic and stamp; a complete set comes out once, newer sets make older ones worthless.

    topics: names.  depth: how many incomplete stamps are kept.
    """

    def __init__(self, topics: tuple[str, ...], depth: int = 8):
        self._topics, self._depth = frozenset(topics), depth
        self.incomplete = 0
        self.clear()

    def clear(self) -> None:
        self._parts: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._last = -1

    def add(self, topic: str, stamp: int, item: Any) -> dict[str, Any] | None:
        """Notes `item` of `topic` with `stamp` (ns); the complete set of that stamp, or None while parts are missing."""
        if stamp <= self._last:
            return None
        parts = self._parts.setdefault(stamp, {})
        parts[topic] = item
        if parts.keys() >= self._topics:
            self._last = stamp
            for old in [key for key in self._parts if key <= stamp]:
                self.incomplete += old != stamp
                del self._parts[old]
            return parts
        while len(self._parts) > self._depth:
            del self._parts[min(self._parts)]
            self.incomplete += 1
        return None
