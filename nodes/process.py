"""Runs nodes until SIGINT or SIGTERM, then takes them down in order.

One thread calls back (in rclpy's events executor where there is one: far less overhead than its wait sets); what has to think
does so in a thread of its own.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode


def make_executor(context=None):
    """The fastest single-threaded executor that this rclpy has, for the default context or another."""
    try:
        from rclpy.experimental import EventsExecutor
    except ImportError:
        return SingleThreadedExecutor(context=context)
    return EventsExecutor(context=context)


def spin(executor) -> None:
    """Calls back until the context is shut down."""
    context = rclpy.get_default_context()
    while context.ok():
        executor.spin_once(timeout_sec=0.5)  # the events executor's own `spin` never wakes up in Jazzy's wheels


def run(make: Callable[[], Sequence[LifecycleNode]], args: Sequence[str] | None = None) -> int:
    """Makes the nodes and spins them; 0 after a signal.  Before they are destroyed they give all back, as at shutdown."""
    # A thread that computes in Python holds the interpreter for this long before a callback gets its turn.
    sys.setswitchinterval(0.001)
    # rclpy's handlers end the spinning; Python's own would also raise, in a callback, or at a second Ctrl-C while nodes close
    signal.signal(signal.SIGINT, lambda *_: None)
    rclpy.init(args=args)
    nodes: Sequence[LifecycleNode] = ()
    executor = make_executor()
    try:
        nodes = make()
        for node in nodes:
            executor.add_node(node)
        spin(executor)
    except ExternalShutdownException:
        pass
    except Exception:
        if rclpy.ok():  # else a signal came while the nodes were being made
            raise
    finally:
        for node in nodes:
            node.on_shutdown(None)
        executor.shutdown(0)
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
