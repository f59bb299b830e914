"""Sensor messages and commands <-> readings.  Bad input is one line of InputError; what passes has the right size.

Sources: REP-103 (units, frames), REP-117 (lidar returns), sensor_msgs/image_encodings.
"""

from __future__ import annotations

import array
import math

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, Twist, TwistStamped
from nav_msgs.msg import Odometry as OdometryMessage
from sensor_msgs.msg import CompressedImage, LaserScan
from sensor_msgs.msg import Image as ImageMessage

from objective_agent.types import Command, Image, InputError, Odometry, Scan

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
"""Accepted image encodings -> bytes per pixel."""
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}
_LARGEST_IMAGE = 64 * 2**20


def seconds(stamp: Time) -> float:
    return stamp.sec + stamp.nanosec * 1e-9


def nanoseconds(stamp: Time) -> int:
    """A stamp as one integer, exact: what messages are matched by."""
    return stamp.sec * 10**9 + stamp.nanosec


def to_time(stamp: float) -> Time:
    """Seconds as a Time; exact to the float's resolution (0.24 us for today's epoch)."""
    total = round(stamp * 1e9)
    return Time(sec=total // 10**9, nanosec=total % 10**9)


def bytes_of(values: np.ndarray) -> array.array:
    """Message data from an array: assigning an array.array skips rclpy's check of every element (0.1 ms, not 50, at VGA)."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(values).tobytes())
    return data


def _finite(values, what: str) -> None:
    if not all(map(math.isfinite, values)):
        raise InputError(f"{what} has a value that is not finite: {list(values)}")


def yaw_of(q: Quaternion) -> float:
    """Heading of a rotation; raises InputError for a quaternion that is none."""
    norm = math.hypot(q.x, q.y, q.z, q.w)
    if not abs(norm - 1) < 0.1:
        raise InputError(
            f"orientation is not a unit quaternion: [{q.x:.3g}, {q.y:.3g}, {q.z:.3g}, {q.w:.3g}]; publish x y z w of length 1"
        )
    return math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))


def quaternion(yaw: float) -> Quaternion:
    return Quaternion(z=math.sin(yaw / 2), w=math.cos(yaw / 2))


def scan_from(message: LaserScan, offset: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Scan:
    """`offset`: pose of the lidar in base_link."""
    ranges = np.array(message.ranges, np.float32)
    if not ranges.size:
        raise InputError("scan has no ranges")
    fields = (message.angle_min, message.angle_increment, message.range_min, message.range_max)
    _finite(fields, "scan [angle_min, angle_increment, range_min, range_max]")
    if message.angle_increment == 0 or not 0 <= message.range_min < message.range_max:
        raise InputError(
            f"scan [angle_min, angle_increment, range_min, range_max] makes no sense: {[round(f, 4) for f in fields]}"
        )
    return Scan(seconds(message.header.stamp), ranges, *fields, offset)


def scan_to(scan: Scan, frame: str = "base_scan") -> LaserScan:
    message = LaserScan(
        angle_min=float(scan.angle_min),
        angle_increment=float(scan.angle_increment),
        angle_max=float(scan.angle_min + scan.angle_increment * (len(scan.ranges) - 1)),
        range_min=float(scan.range_min),
        range_max=float(scan.range_max),
    )
    message.header.stamp, message.header.frame_id = to_time(scan.stamp), frame
    message.ranges = array.array("f", np.asarray(scan.ranges, np.float32).tobytes())
    return message


def image_from(message: ImageMessage | CompressedImage, horizontal_fov: float = math.pi / 2) -> Image:
    """rgb8, bgr8, rgba8, bgra8, mono8 or a JPEG or PNG, as RGB."""
    stamp = seconds(message.header.stamp)
    if isinstance(message, CompressedImage):
        pixels = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR) if len(message.data) else None
        if pixels is None:
            raise InputError(f"compressed image (format {message.format!r}) can't be decoded; send JPEG or PNG")
        return Image(stamp, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), None, horizontal_fov)
    channels = CHANNELS.get(message.encoding)
    if channels is None:
        raise InputError(f"image encoding {message.encoding!r} is not accepted; accepted: {', '.join(CHANNELS)}")
    height, width, step = message.height, message.width, message.step
    size = height * step
    if not (height and width and step >= width * channels and len(message.data) == size <= _LARGEST_IMAGE):
        raise InputError(
            f"image of {width}x{height} {message.encoding} with step {step} has {len(message.data)} bytes; "
            f"height * step must be the size, step at least {width * channels}, at most {_LARGEST_IMAGE >> 20} MiB in all"
        )
    rows = np.frombuffer(message.data, np.uint8).reshape(height, step)[:, : width * channels]
    pixels = rows.reshape(height, width, channels)
    if message.encoding != "rgb8":
        pixels = cv2.cvtColor(np.ascontiguousarray(pixels), _TO_RGB[message.encoding])
    return Image(stamp, pixels, None, horizontal_fov)


def image_to(stamp: float, pixels: np.ndarray, frame: str = "camera") -> ImageMessage:
    """[h, w, 3] uint8 as rgb8, [h, w] float32 as 32FC1."""
    deep = pixels.ndim == 2
    pixels = np.asarray(pixels, np.float32 if deep else np.uint8)
    height, width = pixels.shape[:2]
    message = ImageMessage(height=height, width=width, encoding="32FC1" if deep else "rgb8", step=width * (4 if deep else 3))
    message.header.stamp, message.header.frame_id = to_time(stamp), frame
    message.data = bytes_of(pixels)
    return message


def odometry_from(message: OdometryMessage) -> Odometry:
    position, twist = message.pose.pose.position, message.twist.twist
    values = (position.x, position.y, twist.linear.x, twist.angular.z)
    _finite(values, "odometry [x, y, v, w]")
    pose = np.array([position.x, position.y, yaw_of(message.pose.pose.orientation)])
    return Odometry(seconds(message.header.stamp), pose, np.array(values[2:]))


def odometry_to(odometry: Odometry, frame: str = "odom", child: str = "base_link") -> OdometryMessage:
    message = OdometryMessage(child_frame_id=child)
    message.header.stamp, message.header.frame_id = to_time(odometry.stamp), frame
    x, y, yaw = map(float, odometry.pose)
    message.pose.pose.position.x, message.pose.pose.position.y = x, y
    message.pose.pose.orientation = quaternion(yaw)
    message.twist.twist.linear.x, message.twist.twist.angular.z = map(float, odometry.velocity)
    return message


def command_from(message: Twist | TwistStamped, now: float) -> Command:
    """`now` stamps a Twist, which has none.  Not checked for NaN: the safety gate must see that and stop."""
    if isinstance(message, TwistStamped):
        return Command(seconds(message.header.stamp), message.twist.linear.x, message.twist.angular.z)
    return Command(now, message.linear.x, message.angular.z)


def command_type(stamped: bool) -> type:
    """The message type of velocity commands under `enable_stamped_cmd_vel`."""
    return TwistStamped if stamped else Twist


def command_to(command: Command, stamped: bool = True, frame: str = "base_link") -> Twist | TwistStamped:
    message = command_type(stamped)()
    twist = message.twist if stamped else message
    twist.linear.x, twist.angular.z = float(command.v), float(command.w)
    if stamped:
        message.header.stamp, message.header.frame_id = to_time(command.stamp), frame
    return message
