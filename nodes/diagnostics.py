"""/diagnostics: every node says once a second how it is, and when it holds, WHY."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

OK, WARN, ERROR, STALE = (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE)


@dataclass
class Health:
    """How a node is: `level`, `message` (why it holds, when it holds) and key values."""

    level: bytes = OK
    message: str = "ok"
    values: Mapping[str, Any] = field(default_factory=dict)


def text(value: Any) -> str:
    """A value as diagnostics show it: floats with six significant digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def status(name: str, health: Health, hardware_id: str = "objective_agent") -> DiagnosticStatus:
    """The DiagnosticStatus of `health`."""
    values = [KeyValue(key=key, value=text(value)) for key, value in health.values.items()]
    return DiagnosticStatus(level=health.level, name=name, message=health.message, hardware_id=hardware_id, values=values)


def array(stamp, *statuses: DiagnosticStatus) -> DiagnosticArray:
    """Statuses as the message of /diagnostics, at time message `stamp`."""
    message = DiagnosticArray(status=list(statuses))
    message.header.stamp = stamp
    return message


def values(message: DiagnosticStatus) -> dict[str, str]:
    """The key values of a status as a dict."""
    return {item.key: item.value for item in message.values}
