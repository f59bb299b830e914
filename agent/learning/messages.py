"""ROS 2 messages <-> readings, without ROS: the layouts and the serialization (CDR) come from rosbags.

One encoder and one decoder per topic of a bag; names and types are the robot's (docs/data.md).  A message that makes no sense
raises InputError with what is wrong with it; the reader counts it and goes on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from objective_agent.perception.image import canonical_image
from objective_agent.types import Command, Image, InputError, Odometry, Scan

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}
EPISODE = "episode"
"""std_msgs/String (JSON): a new life begins here; world, condition and seeds."""


@dataclass(frozen=True)
class People:
    """Where people really were, in the world frame: `places` [n, 3] = x, y, radius.  A label, known in simulation only."""

    stamp: float
    places: np.ndarray


@dataclass(frozen=True)
class Truth:
    """Where the robot really was: `pose` [3] in the world frame.  A label, known in simulation only."""

    stamp: float
    pose: np.ndarray


@dataclass(frozen=True)
class EpisodeStart:
    """What the bag says about the episode that begins."""

    info: dict


@lru_cache(maxsize=1)
def typestore():
    """The message layouts of ROS 2 Jazzy."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)


def _type(name: str):
    return typestore().types[name]


def _header(stamp: float, frame: str):
    total = round(stamp * 1e9)
    time = _type("builtin_interfaces/msg/Time")(total // 10**9, total % 10**9)
    return _type("std_msgs/msg/Header")(time, frame)


def seconds(message) -> float:
    """The header's stamp."""
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


# --- readings -> messages ---------------------------------------------------------------------------------------------------

_NO_COVARIANCE = np.zeros(36)


def _vector(x: float, y: float, z: float):
    return _type("geometry_msgs/msg/Vector3")(float(x), float(y), float(z))


def _pose(x: float, y: float, z: float, yaw: float):
    turn = _type("geometry_msgs/msg/Quaternion")(0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    return _type("geometry_msgs/msg/Pose")(_type("geometry_msgs/msg/Point")(float(x), float(y), float(z)), turn)


def _twist(v: float, w: float):
    return _type("geometry_msgs/msg/Twist")(_vector(v, 0, 0), _vector(0, 0, w))


def odometry_to(reading: Odometry, frame: str = "odom"):
    pose, (v, w) = reading.pose, reading.velocity
    at = _type("geometry_msgs/msg/PoseWithCovariance")(_pose(pose[0], pose[1], 0.0, float(pose[2])), _NO_COVARIANCE)
    moving = _type("geometry_msgs/msg/TwistWithCovariance")(_twist(v, w), _NO_COVARIANCE)
    return _type("nav_msgs/msg/Odometry")(_header(reading.stamp, frame), "base_link", at, moving)


def scan_to(scan: Scan):
    last = scan.angle_min + scan.angle_increment * (len(scan.ranges) - 1)
    return _type("sensor_msgs/msg/LaserScan")(
        _header(scan.stamp, "base_scan"), scan.angle_min, last, scan.angle_increment, 0.0, 0.0, scan.range_min,
        scan.range_max, np.asarray(scan.ranges, np.float32), np.zeros(0, np.float32),
    )  # fmt: skip


def image_to(image: Image):
    height, width, _ = image.rgb.shape
    pixels = np.ascontiguousarray(image.rgb).reshape(-1)
    return _type("sensor_msgs/msg/Image")(_header(image.stamp, "camera"), height, width, "rgb8", 0, 3 * width, pixels)


def command_to(command: Command):
    return _type("geometry_msgs/msg/TwistStamped")(_header(command.stamp, "base_link"), _twist(command.v, command.w))


def people_to(people: People):
    marker, colour = _type("visualization_msgs/msg/Marker"), _type("std_msgs/msg/ColorRGBA")(0.9, 0.4, 0.2, 0.9)
    none = _type("builtin_interfaces/msg/Duration")(0, 0)
    file, texture = _mesh_file(), _compressed("", np.zeros(0, np.uint8))
    header = _header(people.stamp, "world")
    markers = [
        marker(header, "people", index, 3, 0, _pose(x, y, 0.85, 0.0), _vector(2 * r, 2 * r, 1.7), colour, none, False,
               [], [], "", texture, [], "", "", file, False)
        for index, (x, y, r) in enumerate(people.places.tolist())
    ]  # fmt: skip
    return _type("visualization_msgs/msg/MarkerArray")(markers)


def _mesh_file():
    return _type("visualization_msgs/msg/MeshFile")("", np.zeros(0, np.uint8))


def _compressed(form: str, data: np.ndarray):
    return _type("sensor_msgs/msg/CompressedImage")(_header(0.0, ""), form, data)


def episode_to(start: EpisodeStart):
    return _type("std_msgs/msg/String")(json.dumps(start.info, sort_keys=True))


# --- messages -> readings ---------------------------------------------------------------------------------------------------


def odometry_from(message) -> Odometry:
    p, q, twist = message.pose.pose.position, message.pose.pose.orientation, message.twist.twist
    if not abs(math.hypot(q.x, q.y, q.z, q.w) - 1) < 0.1:
        raise InputError("orientation is not a unit quaternion")
    yaw = math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
    return Odometry(
        seconds(message), np.array([p.x, p.y, yaw], np.float32), np.array([twist.linear.x, twist.angular.z], np.float32)
    )


def scan_from(message) -> Scan:
    ranges = np.array(message.ranges, np.float32)
    return Scan(seconds(message), ranges, message.angle_min, message.angle_increment, message.range_min, message.range_max)


def image_from(message) -> Image:
    """In the canonical size: a bag of VGA frames must fit into memory."""
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise InputError(f"encoding {message.encoding!r} is not one of {', '.join(CHANNELS)}")
    height, width, step = message.height, message.width, message.step
    if not (height and width and step >= width * channels and len(message.data) == height * step):
        raise InputError("size, step and data don't fit together")
    pixels = np.asarray(message.data, np.uint8).reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    if message.encoding != "rgb8":
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), TO_RGB[message.encoding])
    return _canonical(seconds(message), pixels)


def compressed_from(message) -> Image:
    pixels = cv2.imdecode(np.asarray(message.data, np.uint8), cv2.IMREAD_COLOR) if len(message.data) else None
    if pixels is None:
        raise InputError("is no JPEG or PNG")
    return _canonical(seconds(message), cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _canonical(stamp: float, pixels: np.ndarray) -> Image:
    small = canonical_image(pixels)
    if small.min() == small.max():
        raise InputError("all pixels are the same")
    return Image(stamp, small)


def command_from(message) -> Command:
    """TwistStamped or Twist; a Twist has stamp 0 and gets the time at which it was recorded."""
    twist = getattr(message, "twist", message)
    v, w = float(twist.linear.x), float(twist.angular.z)
    if not (math.isfinite(v) and math.isfinite(w)):
        raise InputError("is not finite")
    return Command(seconds(message) if hasattr(message, "header") else 0.0, v, w)


def people_from(message) -> People:
    rows = [[m.pose.position.x, m.pose.position.y, m.scale.x / 2] for m in sorted(message.markers, key=lambda m: m.id)]
    if not rows:
        raise InputError("has no markers")
    return People(seconds(message.markers[0]), np.array(rows, np.float64))


def truth_from(message) -> Truth:
    odometry = odometry_from(message)
    return Truth(odometry.stamp, odometry.pose)


def episode_from(message) -> EpisodeStart:
    try:
        info = json.loads(message.data)
    except json.JSONDecodeError:
        raise InputError("is not JSON") from None
    if not isinstance(info, dict):
        raise InputError("is not a JSON object")
    return EpisodeStart(info)


Reading = Scan | Image | Odometry | Command | People | Truth | EpisodeStart

READERS: dict[str, dict[str, Callable[[Any], Reading]]] = {
    "odom": {"nav_msgs/msg/Odometry": odometry_from},
    "scan": {"sensor_msgs/msg/LaserScan": scan_from},
    "camera/image_raw": {"sensor_msgs/msg/Image": image_from},
    "camera/image_raw/compressed": {"sensor_msgs/msg/CompressedImage": compressed_from},
    "cmd_vel": {"geometry_msgs/msg/TwistStamped": command_from, "geometry_msgs/msg/Twist": command_from},
    "simulator/people": {"visualization_msgs/msg/MarkerArray": people_from},
    "simulator/ground_truth": {"nav_msgs/msg/Odometry": truth_from},
    EPISODE: {"std_msgs/msg/String": episode_from},
}
"""Topic -> type -> decoder."""

WRITERS: dict[type, tuple[str, str, Callable[[Any], Any]]] = {
    Odometry: ("odom", "nav_msgs/msg/Odometry", odometry_to),
    Scan: ("scan", "sensor_msgs/msg/LaserScan", scan_to),
    Image: ("camera/image_raw", "sensor_msgs/msg/Image", image_to),
    Command: ("cmd_vel", "geometry_msgs/msg/TwistStamped", command_to),
    People: ("simulator/people", "visualization_msgs/msg/MarkerArray", people_to),
    Truth: ("simulator/ground_truth", "nav_msgs/msg/Odometry",
            lambda truth: odometry_to(Odometry(truth.stamp, truth.pose, (0.0, 0.0)), "world")),
    EpisodeStart: (EPISODE, "std_msgs/msg/String", episode_to),
}  # fmt: skip
"""Reading -> (topic, type, encoder)."""
