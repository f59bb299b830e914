"""Runs nodes until SIGINT or SIGTERM, then takes them down in order.

One thread calls back (in rclpy's events executor where there is one: far less overhead than its wait sets); what has to think
does so in a thread of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node


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


def run(make: Callable[[], Sequence[Node]], args: Sequence[str] | None = None) -> int:
    """Makes the nodes and spins them; 0 after a signal.  A node's `close`, if it has one, is called before it is destroyed."""
    # A thread that computes in Python holds the interpreter for this long before a callback gets its turn.
    sys.setswitchinterval(0.001)
    rclpy.init(args=args)
    nodes: Sequence[Node] = ()
    executor = make_executor()
    try:
        nodes = make()
        for node in nodes:
            executor.add_node(node)
        spin(executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():  # else a signal came while the nodes were being made
            raise
    finally:
        for node in nodes:
            close = getattr(node, "close", None)
            if close is not None:
                close()
        executor.shutdown(0)
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0
