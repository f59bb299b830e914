"""Representations, obstacle points, routes and goals <-> standard messages, so that every topic opens in RViz and Foxglove.

A representation [T, D] travels as an Image 32FC1 (height tokens, width features), its frame_id naming the model that made it,
and, after a blank, the senses that it was made from, where the encoder says so: `e4bd4b70c664 lidar+camera`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry as OdometryMessage
from nav_msgs.msg import Path
from sensor_msgs.msg import Image, PointCloud2, PointField

from objective_agent.config import Task, validate
from objective_agent.types import InputError, ObjectiveAgentError, Odometry, WorldState
from objective_agent.versions import short
from objective_agent_nodes.convert import bytes_of, image_to, odometry_to, quaternion, to_time, yaw_of

LARGEST_JSON = 64 * 1024
DEEPEST_JSON = 16
SENSES = frozenset(("lidar", "camera"))
_FLOAT = np.dtype("<f4")


def tokens_to(stamp: float, tokens: np.ndarray, model: str, senses: Sequence[tuple[str, ...]] = ()) -> Image:
    """`tokens` [1, T, D] or [T, D]; `senses` as in a Representation: of one problem, or not said."""
    tokens = np.asarray(tokens, _FLOAT)
    name = " ".join([short(model), *("+".join(some) or "none" for some in senses[:1])])
    return image_to(stamp, tokens.reshape(tokens.shape[-2:]), name)


def tokens_from(message: Image) -> tuple[np.ndarray, str]:
    """(tokens [1, T, D], model); raises InputError for another encoding, a wrong size or values that are not finite."""
    if message.encoding != "32FC1":
        raise InputError(f"representation has encoding {message.encoding!r}; it must be 32FC1")
    if len(message.data) != message.height * message.width * 4 or not message.height * message.width:
        raise InputError(f"representation of {message.height}x{message.width} tokens has {len(message.data)} bytes")
    order = _FLOAT if not message.is_bigendian else _FLOAT.newbyteorder(">")
    tokens = np.frombuffer(message.data, order).astype(np.float32, copy=False).reshape(1, message.height, message.width)
    if not np.isfinite(tokens).all():
        raise InputError("representation has values that are not finite")
    return tokens, _model_and_senses(message)[0]


def senses_from(message: Image) -> tuple[tuple[str, ...], ...]:
    """What a representation was made from, as a Representation has it: empty where the message does not say."""
    return _model_and_senses(message)[1]


def _model_and_senses(message: Image) -> tuple[str, tuple[tuple[str, ...], ...]]:
    model, _, said = message.header.frame_id.rpartition(" ")
    senses = tuple(said.split("+")) if said != "none" else ()
    if not model or not SENSES.issuperset(senses):
        return message.header.frame_id, ()
    return model, (senses,)


def points_to(stamp: float, points: np.ndarray | None, frame: str = "odom") -> PointCloud2:
    """Obstacle points [P, 2]; what is not finite (padding) is left out.  None: no lidar, a cloud without fields."""
    message = PointCloud2(height=1, is_dense=True)
    message.header.stamp, message.header.frame_id = to_time(stamp), frame
    if points is None:
        return message
    points = np.asarray(points, _FLOAT).reshape(-1, 2)
    points = points[np.isfinite(points).all(1)]
    message.fields = [PointField(name=n, offset=4 * i, datatype=PointField.FLOAT32, count=1) for i, n in enumerate("xyz")]
    message.point_step, message.width = 12, len(points)
    message.row_step = 12 * len(points)
    message.data = bytes_of(np.concatenate([points, np.zeros((len(points), 1), _FLOAT)], 1))
    return message


def points_from(message: PointCloud2) -> np.ndarray | None:
    """Points [P, 2] of this package's own clouds (x, y, z float32); None for a cloud without fields."""
    if not message.fields:
        return None
    step, count = message.point_step, message.width * message.height
    if message.is_bigendian or [f.name for f in message.fields[:2]] != ["x", "y"] or step < 8 or step % 4:
        raise InputError("state/points must be little-endian with float32 fields x, y first")
    if len(message.data) != step * count:
        raise InputError(f"state/points of {count} points has {len(message.data)} bytes; {step * count} expected")
    return np.frombuffer(message.data, _FLOAT).reshape(count, step // 4)[:, :2].astype(np.float32)


def state_to(state: WorldState) -> tuple[OdometryMessage, PointCloud2, Image]:
    """state/odom, state/points and state of the first problem, in the order in which they are published."""
    odometry = odometry_to(Odometry(state.stamp, state.pose[0], state.velocity[0]))
    points = points_to(state.stamp, None if state.points is None else state.points[0])
    return odometry, points, tokens_to(state.stamp, np.asarray(state.representation), state.model)


def path_to(stamp: float, poses: np.ndarray, frame: str = "odom") -> Path:
    """`poses` [n, 2] or [n, 3]."""
    message = Path()
    message.header.stamp, message.header.frame_id = to_time(stamp), frame
    for pose in np.asarray(poses, float):
        item = PoseStamped(header=message.header)
        item.pose.position.x, item.pose.position.y = float(pose[0]), float(pose[1])
        item.pose.orientation = quaternion(float(pose[2]) if len(pose) > 2 else 0.0)
        message.poses.append(item)
    return message


def path_from(message: Path) -> np.ndarray | None:
    """Way points [n, 2]; None for an empty path: no way is known."""
    if not message.poses:
        return None
    points = np.array([[p.pose.position.x, p.pose.position.y] for p in message.poses])
    if not np.isfinite(points).all():
        raise InputError("path has way points that are not finite")
    return points


def goal_from(message: PoseStamped, identity: str = "") -> Task:
    """RViz's 2D goal pose as a task, in the message's own frame."""
    position = message.pose.position
    if not np.isfinite([position.x, position.y]).all():
        raise InputError(f"goal position [{position.x}, {position.y}] is not finite")
    heading = yaw_of(message.pose.orientation)
    frame = message.header.frame_id or "odom"
    task = {"kind": "goal_pose", "id": identity, "position": (position.x, position.y), "heading": heading, "frame": frame}
    return validate(Task, task, "goal_pose")


def task_from(text: str) -> Task:
    """A task from JSON; InputError when it is too large, too deep or not JSON, ConfigurationError when it makes no sense."""
    size = len(text.encode())
    if size > LARGEST_JSON:
        raise InputError(f"task has {size} bytes; at most {LARGEST_JSON} are accepted")
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise InputError(f"task is nested more than {DEEPEST_JSON} deep") from None
    except ValueError as error:
        raise InputError(f"task is not JSON: {error}") from None
    if _depth(data) > DEEPEST_JSON:
        raise InputError(f"task is nested more than {DEEPEST_JSON} deep")
    try:
        return validate(Task, data, "task")
    except ObjectiveAgentError:
        raise
    except (RecursionError, ValueError) as error:  # e.g. an integer with thousands of digits
        raise InputError(f"task can't be read: {error}") from None


def _no_constant(name: str):
    raise ValueError(f"{name} is not a number that JSON knows")


def _depth(data, limit: int = DEEPEST_JSON + 1) -> int:
    if limit == 0 or not isinstance(data, dict | list):
        return 0
    items = data.values() if isinstance(data, dict) else data
    return 1 + max((_depth(item, limit - 1) for item in items), default=0)
