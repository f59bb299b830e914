"""The demo's recorder: every topic of the graph into one MCAP file that Foxglove opens, from a process of its own.

Messages are taken and stored as the bytes that they travel in (`raw` subscriptions), so recording costs little CPU; it also
runs at low priority.  Two things are added for people who look at the file: `/tf` made from `odom`, and the world's geometry.

    python -m objective_agent_nodes.demo_record --out run.mcap --world apartment
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import rclpy
from mcap.writer import CompressionType, Writer
from nav_msgs.msg import OccupancyGrid
from nav_msgs.msg import Odometry as OdometryMessage
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message

from objective_agent.types import ObjectiveAgentError
from objective_agent.visualization.bag import WORLD, typestore
from objective_agent_nodes.process import make_executor, spin

LOOK_PERIOD = 0.25
"""Time between looks for new topics, s."""
QUEUE = 50
"""Messages that may wait per topic while the machine is busy."""
NICENESS = 5


class McapFile:
    """An MCAP file of ROS 2 messages: schemas as `ros2msg`, messages as CDR."""

    def __init__(self, path: str | Path):
        self._stream = open(path, "wb")  # noqa: SIM115 (closed with the file)
        self._writer = Writer(self._stream, compression=CompressionType.LZ4)
        self._writer.start(profile="ros2", library="objective_agent")
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._wall, self._steady = time.time_ns(), time.monotonic_ns()
        self.messages = 0

    def now(self) -> int:
        """Nanoseconds of wall time that never jump: what messages are logged with."""
        return self._wall + time.monotonic_ns() - self._steady

    def add(self, topic: str, kind: str, data: bytes, stamp: int | None = None) -> None:
        """Appends a serialized message of type `kind` ("pkg/msg/Name"); KeyError for a type that rosbags doesn't know."""
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(
                topic, "cdr", self._schema(kind), {"offered_qos_profiles": ""}
            )
        stamp = self.now() if stamp is None else stamp
        self._writer.add_message(self._channels[topic], stamp, data, stamp, self.messages)
        self.messages += 1

    def _schema(self, kind: str) -> int:
        if kind not in self._schemas:
            text, _ = typestore().generate_msgdef(kind, ros_version=2)
            self._schemas[kind] = self._writer.register_schema(kind, "ros2msg", text.encode())
        return self._schemas[kind]

    def close(self) -> None:
        self._writer.finish()
        self._stream.close()


class Recorder(Node):
    """Subscribes to every topic that appears and hands its bytes to the file."""

    def __init__(self, file: McapFile):
        super().__init__("demo_recorder", enable_rosout=False, start_parameter_services=False)
        self.file = file
        self._seen: set[str] = set()
        self._parent = os.getppid()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._look = self.create_timer(LOOK_PERIOD, self._subscribe_to_new, clock=self._steady)

    def _subscribe_to_new(self) -> None:
        if os.getppid() != self._parent:  # whoever started us is gone: nobody will tell us to stop
            rclpy.try_shutdown()
            return
        for topic, kinds in self.get_topic_names_and_types():
            publishers = self.get_publishers_info_by_topic(topic)
            if topic in self._seen or not publishers:
                continue
            self._seen.add(topic)
            self._subscribe(topic, kinds[0], [info.qos_profile for info in publishers])

    def _subscribe(self, topic: str, kind: str, offers: list[QoSProfile]) -> None:
        """The strictest quality of service that all the present publishers can serve."""
        package, _, name = kind.split("/")
        try:
            message_type = getattr(importlib.import_module(f"{package}.msg"), name)
            typestore().types[kind]
        except (ImportError, AttributeError, KeyError):
            self.get_logger().warning(f"{topic} is not recorded: the layout of {kind} is unknown here")
            return
        reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
        latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
        profile = QoSProfile(
            depth=QUEUE,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )

        def store(data: bytes) -> None:
            self.file.add(topic, kind, data)
            if topic == "/odom":
                self.file.add("/tf", "tf2_msgs/msg/TFMessage", transform(data))

        self.create_subscription(message_type, topic, store, profile, raw=True)


def transform(data: bytes) -> bytes:
    """A serialized Odometry as the serialized TFMessage that says the same."""
    odometry = deserialize_message(data, OdometryMessage)
    types = typestore().types
    stamp, at, turn = odometry.header.stamp, odometry.pose.pose.position, odometry.pose.pose.orientation
    header = types["std_msgs/msg/Header"](
        types["builtin_interfaces/msg/Time"](stamp.sec, stamp.nanosec), odometry.header.frame_id
    )
    move = types["geometry_msgs/msg/Transform"](
        types["geometry_msgs/msg/Vector3"](at.x, at.y, at.z),
        types["geometry_msgs/msg/Quaternion"](turn.x, turn.y, turn.z, turn.w),
    )
    stamped = types["geometry_msgs/msg/TransformStamped"](header, odometry.child_frame_id, move)
    message = types["tf2_msgs/msg/TFMessage"]([stamped])
    return bytes(typestore().serialize_cdr(message, "tf2_msgs/msg/TFMessage"))


def world_message(grid: np.ndarray, origin: tuple[float, float], resolution: float) -> bytes:
    """The world's geometry [h, w] (True: obstacle) as a serialized OccupancyGrid in odom."""
    message = OccupancyGrid()
    message.header.frame_id = "odom"
    message.info.height, message.info.width = grid.shape
    message.info.resolution = float(resolution)
    message.info.origin.position.x, message.info.origin.position.y = float(origin[0]), float(origin[1])
    message.data = (np.asarray(grid, np.int8) * 100).ravel().tolist()
    return serialize_message(message)


def record(path: Path, world: str | None = None) -> int:
    """Records until SIGINT or SIGTERM, then closes the file properly; returns how many messages it holds."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    rclpy.init(args=[])
    file = McapFile(path)
    executor = make_executor()
    node = Recorder(file)
    try:
        if world:
            from objective_agent.simulation import World, occupancy

            walls = occupancy(World.load(world))
            file.add(f"/{WORLD}", "nav_msgs/msg/OccupancyGrid", world_message(walls.grid, walls.origin, walls.resolution))
        executor.add_node(node)
        spin(executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        file.close()
        executor.shutdown(0)
        node.destroy_node()
        rclpy.try_shutdown()
    return file.messages


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Records every topic into one MCAP file until SIGINT or SIGTERM.")
    parser.add_argument("--out", type=Path, required=True, help="the file to write, e.g. run.mcap")
    parser.add_argument("--world", help="world whose geometry goes into the file as well")
    args = parser.parse_args(argv)
    try:
        record(args.out, args.world)
    except (ObjectiveAgentError, OSError) as error:
        sys.stderr.write(f"demo_record: error: {' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
