"""Who is alive: what the managed nodes say on /diagnostics, and a warning about those that have fallen silent.

A node that is not on the command path may die without anything stopping: the last configuration serves on.  Somebody has to say
so, and a dead node can't; the lifecycle manager does, within two seconds.
"""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node

from objective_agent_nodes import diagnostics, qos
from objective_agent_nodes.diagnostics import OK, WARN, Health

SILENT = 1.6
"""Nodes report once a second; one that has not for this long is warned about, s."""
PERIOD = 1.0


class NodeWatch:
    """Listens for the nodes `names` of the namespace of `node`, and reports under that node's name."""

    def __init__(self, node: Node, names: list[str]):
        self._node, self._names = node, names
        self._heard: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._reported, self._last = 0.0, ""
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)

    def said(self, name: str) -> str:
        """A node's last message, "" when it has not said anything since `forget`."""
        return self._said.get(self._full(name), "")

    def forget(self, name: str) -> None:
        self._said.pop(self._full(name), None)

    def silent(self, seconds: float) -> list[str]:
        """The nodes that have not been heard for so long."""
        now = time.monotonic()
        return [name for name in self._names if now - self._heard.get(self._full(name), -seconds) >= seconds]

    def report(self, active: list[str]) -> None:
        """Publishes how the `active` nodes are: once a second, and at once when that changes."""
        silent = [name for name in self.silent(SILENT) if name in active]
        health = Health(WARN, f"silent: {', '.join(silent)}; the last configuration serves on") if silent else Health(OK)
        now = time.monotonic()
        if now - self._reported < PERIOD and health.message == self._last:
            return
        self._reported, self._last = now, health.message
        status = diagnostics.status(self._full(self._node.get_name()), health)
        self._publisher.publish(diagnostics.array(self._node.get_clock().now().to_msg(), status))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self._heard[status.name] = time.monotonic()
            self._said[status.name] = status.message

    def _full(self, name: str) -> str:
        return f"{self._node.get_namespace()}/{name}".replace("//", "/").strip("/")
