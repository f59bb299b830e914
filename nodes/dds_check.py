"""A real message between two processes over DDS, and what ROS 2 this is; `objective-agent doctor` runs it.

    python -m objective_agent_nodes.dds_check [--seconds S]

One process publishes a word, another listens for it; one JSON line tells the ROS distribution, the middleware and how long the
word took from the listener's start.  Exit code 1 when it never arrived.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from importlib.metadata import distributions

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.utilities import get_rmw_implementation_identifier
from std_msgs.msg import String

from objective_agent_nodes import qos, transport

TOPIC = "objective_agent_dds_check"


def main() -> int:
    parser = argparse.ArgumentParser(description="sends one message between two processes over DDS")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long to wait for it (default: 8)")
    parser.add_argument("--publish", metavar="WORD", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.publish:
        return publish(args.publish, args.seconds)
    word = f"{os.getpid()}-{random.getrandbits(32):x}"
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    transport.choose(os.environ)
    command = [sys.executable, "-m", __spec__.name, "--publish", word, "--seconds", str(args.seconds)]
    with subprocess.Popen(command) as publisher:
        try:
            delay = listen(word, args.seconds)
        finally:
            publisher.terminate()
    report = {"distro": distro(), "rmw": get_rmw_implementation_identifier(), "path": rclpy.__path__[0], "seconds": delay}
    print(json.dumps(report))  # noqa: T201  (the answer that the caller reads)
    return 0 if delay is not None else 1


def distro() -> str:
    """The ROS distribution: of the wheels when rclpy came as one, else of the sourced setup."""
    names = {(found.metadata["Name"] or "").lower().replace("_", "-") for found in distributions()}
    wheels = sorted(
        parts[1] for name in names if len(parts := name.split("-")) == 3 and parts[0] == "ros" and parts[2] == "rclpy"
    )
    return ", ".join(wheels) or os.environ.get("ROS_DISTRO", "unknown")


def listen(word: str, seconds: float) -> float | None:
    """Seconds until `word` arrived; None when it didn't."""
    heard = []
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("dds_check_listener", context=context)
    node.create_subscription(String, TOPIC, lambda message: heard.append(message.data), qos.LATCHED)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    start = time.monotonic()
    while word not in heard and time.monotonic() - start < seconds:
        executor.spin_once(timeout_sec=0.1)
    delay = time.monotonic() - start
    executor.shutdown()
    node.destroy_node()
    context.try_shutdown()
    return round(delay, 3) if word in heard else None


def publish(word: str, seconds: float) -> int:
    rclpy.init(args=[])
    node = rclpy.create_node("dds_check_publisher")
    node.create_publisher(String, TOPIC, qos.LATCHED).publish(String(data=word))
    end = time.monotonic() + seconds
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        while rclpy.ok() and time.monotonic() < end:
            rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
