"""Fixtures for tests over real ROS 2 (rclpy and DDS on this machine only)."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time

import pytest

from objective_agent_nodes import transport

# A shell that starts the tests in its background has them ignore Ctrl-C, and their children would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Each test gets a domain of its own, so that a late message of one is never heard by the next; parallel runs start elsewhere.
# 91 to 100 are for what several tests share.
_domains = itertools.count(os.getpid() % 90)


def loopback() -> dict[str, str]:
    """Environment of processes that stay off the network and share no memory."""
    environment: dict[str, str] = {}
    transport.stay_here(environment)
    return environment


@pytest.fixture
def domain(monkeypatch) -> int:
    """A ROS_DOMAIN_ID of the test's own in the environment (child processes get it too); discovery on this machine only."""
    number = 1 + next(_domains) % 90
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    for name, value in loopback().items():
        monkeypatch.setenv(name, value)
    return number


class Ros:
    """An rclpy context whose nodes are spun in a background thread."""

    def __init__(self):
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(args=[], context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self._nodes = []
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        from rclpy.executors import ExternalShutdownException

        try:
            while self.context.ok():
                self.executor.spin_once(timeout_sec=0.05)
        except (ExternalShutdownException, RuntimeError):
            pass

    def add(self, node):
        """Spins `node` until the end of the test."""
        self._nodes.append(node)
        self.executor.add_node(node)
        return node

    def node(self, name: str = "tester", **options):
        """A plain node to publish and listen with."""
        import rclpy

        return self.add(rclpy.create_node(name, context=self.context, **options))

    def overrides(self, **values):
        """Options for a node's constructor: this context and parameter overrides (`a__b` means `a.b`)."""
        from rclpy.parameter import Parameter

        given = [Parameter(name.replace("__", "."), value=value) for name, value in values.items()]
        return {"context": self.context, "parameter_overrides": given}

    def close(self):
        self.context.try_shutdown()
        self._thread.join(5)
        for node in self._nodes:
            node.destroy_node()
        self.executor.shutdown(0)


@pytest.fixture
def ros(domain):
    """rclpy in a domain of its own; skipped where ROS 2 is missing."""
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed; install the [ros] extra or source a ROS 2 setup")
    made = Ros()
    yield made
    made.close()


@pytest.fixture
def until():
    """`until(condition, seconds)`: waits until `condition()` is truthy and returns its value; the last value at the end."""

    def wait(condition, seconds: float = 5.0):
        end = time.monotonic() + seconds
        while not (value := condition()) and time.monotonic() < end:
            time.sleep(0.01)
        return value

    return wait


@pytest.fixture
def one_thread():
    """Small matrices on several threads of a busy machine spend their time waiting for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
