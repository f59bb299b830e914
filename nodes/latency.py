"""How long from a camera image's publication to the arrival of the first cmd_vel that was made from it, on the steady clock.

The gate's state says which observation a command was made from (`command_stamp`) and when that command left (`cmd_vel_stamp`);
the command itself says when it left.  The two messages may arrive in either order.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus

KEPT = 256
TOLERANCE = 2e-6
"""Stamps travel as text and as seconds in between, s."""


class SensorToCommand:
    """Latencies of the last `window` commands, ms."""

    def __init__(self, window: int = 4000):
        self._lock = threading.Lock()
        self._images: OrderedDict[int, float] = OrderedDict()
        self._arrivals: OrderedDict[int, float] = OrderedDict()
        self._origins: OrderedDict[int, int] = OrderedDict()
        self._window: deque[float] = deque(maxlen=window)
        self.count = 0

    def forget(self) -> None:
        """Time starts anew; what was measured stays."""
        with self._lock:
            for table in (self._images, self._arrivals, self._origins):
                table.clear()

    def on_image(self, stamp: int) -> None:
        """An image with this stamp (ns) is about to be published."""
        self._note(self._images, stamp, time.monotonic())

    def on_command(self, stamp: int) -> None:
        """A cmd_vel with this stamp (ns) arrived."""
        self._note(self._arrivals, stamp, time.monotonic())
        self._settle(stamp)

    def on_gate(self, message: DiagnosticStatus) -> None:
        found = {item.key: item.value for item in message.values}
        try:
            left, origin = (round(float(found[key]) * 1e9) for key in ("cmd_vel_stamp", "command_stamp"))
        except (KeyError, ValueError, OverflowError):
            return
        self._note(self._origins, left, origin)
        self._settle(left)

    def _note(self, table: OrderedDict, key: int, value) -> None:
        with self._lock:
            table.setdefault(key, value)
            while len(table) > KEPT:
                table.popitem(last=False)

    def _settle(self, stamp: int) -> None:
        """Counts the command that left at `stamp`, when both messages about it are here and its image waits for one."""
        with self._lock:
            arrival, origin = _near(self._arrivals, stamp), _near(self._origins, stamp)
            if arrival is None or origin is None:
                return
            image = next((key for key in reversed(self._images) if abs(key - origin) <= TOLERANCE * 1e9), None)
            if image is None:
                return
            self._window.append(1000 * (arrival - self._images.pop(image)))
            self.count += 1

    def quantiles(self) -> tuple[float, float]:
        """(p50, p99) in ms; NaN before the first."""
        with self._lock:
            values = list(self._window)
        if not values:
            return float("nan"), float("nan")
        p50, p99 = np.percentile(values, [50, 99])
        return float(p50), float(p99)


def _near(table: OrderedDict, stamp: int):
    if stamp in table:
        return table[stamp]
    return next((value for key, value in reversed(table.items()) if abs(key - stamp) <= TOLERANCE * 1e9), None)
