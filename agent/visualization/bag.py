"""Reads a run's MCAP file into a `Recording`, without ROS: the message layouts come from rosbags.

A file that was cut off (power, kill -9) is read as far as it goes.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from objective_agent.types import InputError, Scan
from objective_agent.visualization.recording import Futures, GoalSpan, Recording, Series, Walls

logger = logging.getLogger(__name__)

EVENTS = "demo/events"
"""String (JSON): what the demo did when; goal spans, world, seed and result are read from it."""
WORLD = "demo/world"
"""OccupancyGrid: the world's geometry, written by the recorder for people to look at; no node ever hears it."""
LINE_STRIP, LINE_LIST = 4, 5
GONE = np.zeros(0)
ADD = 0


@lru_cache(maxsize=1)
def typestore():
    """The message layouts of ROS 2 Jazzy."""
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_JAZZY)


def messages(path: str | Path) -> Iterator[tuple[str, str, int, bytes]]:
    """(topic, type, log time in ns, serialized message) in file order; InputError when it is no MCAP file of ROS 2 messages."""
    from mcap.reader import NonSeekingReader

    found = 0
    try:
        with open(path, "rb") as stream:
            for schema, channel, message in NonSeekingReader(stream).iter_messages(log_time_order=False):
                if channel.message_encoding == "cdr" and schema is not None:
                    found += 1
                    yield channel.topic, schema.name, message.log_time, message.data
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}; give a run.mcap that `demo` wrote") from None
    except Exception as error:  # the parser and its decompressors raise many kinds for bytes that are cut off or no MCAP at all
        if not found:
            raise InputError(f"{path}: is not an MCAP file ({error}); give a run.mcap that `demo` wrote") from None
        logger.warning(
            "%s is cut off after %d messages (%s); what is there is used", path, found, error or type(error).__name__
        )


READERS: dict[str, tuple[str, Callable[[Any], Any], bool]] = {}
"""Topic -> (field of Recording, decoder, lazy)."""


def _reader(topic: str, field: str, lazy: bool = False):
    def register(function):
        READERS[topic] = (field, function, lazy)
        return function

    return register


def read_recording(path: str | Path) -> Recording:
    """The run in `path`.  Raises InputError when the file can't be read or holds nothing that could be drawn."""
    times: dict[str, list[int]] = {}
    values: dict[str, list[Any]] = {}
    events: list[tuple[float, dict]] = []
    walls, first, last = None, None, 0
    store = typestore()
    for topic, kind, stamp, data in messages(path):
        name = topic.lstrip("/")
        if name == WORLD:
            walls = _walls(store.deserialize_cdr(data, kind))
            continue
        first = stamp if first is None else min(first, stamp)
        last = max(last, stamp)
        if name == EVENTS:
            events.append((stamp, json.loads(store.deserialize_cdr(data, kind).data)))
            continue
        reader = READERS.get(name)
        if reader is None:
            continue
        field, decode, lazy = reader
        value = (data, kind) if lazy else decode(store.deserialize_cdr(data, kind))
        if value is not None:
            times.setdefault(field, []).append(stamp)
            values.setdefault(field, []).append(value)
    if first is None:
        raise InputError(f"{path}: holds no ROS 2 message; give a run.mcap that `demo` wrote")
    series = {field: _series(field, times[field], values[field], first) for field in times}
    seconds = [((stamp - first) / 1e9, event) for stamp, event in sorted(events, key=lambda item: item[0])]
    info = next((event for _, event in seconds if event.get("event") == "start"), {})
    ends = {key: value for _, event in seconds if event.get("event") == "end" for key, value in event.items()}
    end = (last - first) / 1e9
    if "diagnostics" in series:
        series["simulator"] = _of_node(series["diagnostics"], "simulator")
    return Recording(
        **series,
        goals=_goal_spans(seconds, end),
        all_goals=tuple((float(goal[0]), float(goal[1])) for goal in info.get("goals", [])),
        walls=walls,
        end=end,
        info={**ends, **info},
    )


def _series(field: str, stamps: list[int], values: list[Any], first: int) -> Series:
    order = np.argsort(stamps, kind="stable")
    seconds = (np.asarray(stamps, np.int64)[order] - first) / 1e9
    ordered = [values[i] for i in order]
    decode = next(function for name, function, lazy in READERS.values() if name == field)
    if not next(lazy for name, _, lazy in READERS.values() if name == field):
        return Series(seconds, ordered)
    return Series(seconds, ordered, lambda raw: decode(typestore().deserialize_cdr(*raw)))


def _goal_spans(events: list[tuple[float, dict]], end: float) -> tuple[GoalSpan, ...]:
    spans: dict[int, GoalSpan] = {}
    for time, event in events:
        if event.get("event") == "goal":
            x, y = event["position"]
            spans[event["index"]] = GoalSpan(event["index"], (float(x), float(y)), time, end, False, "the run ended")
        elif event.get("event") == "goal_end" and event["index"] in spans:
            given = spans[event["index"]]
            spans[event["index"]] = GoalSpan(
                given.index, given.position, given.start, time, bool(event["reached"]), str(event.get("reason", ""))
            )
    return tuple(spans[index] for index in sorted(spans))


def _of_node(diagnostics: Series, node: str) -> Series:
    """The statuses of one node out of the merged diagnostics."""
    found = [(time, status) for time, statuses in diagnostics for name, status in statuses.items() if node in name]
    return Series([time for time, _ in found], [status for _, status in found])


# --- message -> value -------------------------------------------------------------------------------------------------------


def status_values(status) -> dict[str, Any]:
    """A DiagnosticStatus's key-values, numbers as floats; `message` and `diagnostic_level` beside them."""
    level = status.level[0] if isinstance(status.level, bytes) else int(status.level)
    found: dict[str, Any] = {"message": status.message, "diagnostic_level": level}
    for pair in status.values:
        try:
            found[pair.key] = float(pair.value)
        except ValueError:
            found[pair.key] = pair.value
    return found


def _yaw(q) -> float:
    return math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))


@_reader("odom", "pose")
def _odometry(message) -> np.ndarray:
    pose = message.pose.pose
    return np.array([pose.position.x, pose.position.y, _yaw(pose.orientation)])


_reader("simulator/ground_truth", "true_pose")(_odometry)


@_reader("scan", "scan", lazy=True)
def _scan(message) -> Scan:
    stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
    ranges = np.asarray(message.ranges, np.float32)
    return Scan(stamp, ranges, message.angle_min, message.angle_increment, message.range_min, message.range_max)


@_reader("camera/image_raw", "image", lazy=True)
def _image(message) -> np.ndarray | None:
    channels = {"rgb8": 3, "bgr8": 3, "mono8": 1}.get(message.encoding)
    if channels is None:
        return None
    rows = np.frombuffer(bytes(message.data), np.uint8).reshape(message.height, message.step)
    picture = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
    if message.encoding == "bgr8":
        picture = picture[..., ::-1]
    return np.repeat(picture, 3, -1) if channels == 1 else picture


def _path(message) -> np.ndarray:
    return np.array([[p.pose.position.x, p.pose.position.y] for p in message.poses]).reshape(-1, 2)


_reader("route", "route")(_path)
_reader("actor/plan", "plan")(_path)


@_reader("actor/candidates", "candidates", lazy=True)
def _futures(message) -> Futures:
    """The actor's line markers.  It colours them from green (least energy) to red (most), grey where not feasible."""
    points, colours = [np.zeros((0, 2, 2))], [np.zeros((0, 3))]
    for marker in message.markers:
        if marker.action != ADD or marker.type not in (LINE_STRIP, LINE_LIST) or len(marker.points) < 2:
            continue
        place = np.array([[p.x, p.y] for p in marker.points])
        colour = np.array([[c.r, c.g, c.b] for c in marker.colors or [marker.color] * len(place)])
        if marker.type == LINE_LIST:
            count = len(place) // 2
            points.append(place[: 2 * count].reshape(count, 2, 2))
            colours.append(colour[: 2 * count : 2])
        else:
            points.append(np.stack([place[:-1], place[1:]], 1))
            colours.append(colour[:-1])
    red, green, blue = np.concatenate(colours).T
    grey = (np.abs(red - green) < 0.02) & (np.abs(red - blue) < 0.02)
    return Futures(np.concatenate(points), red / np.maximum(red + green, 1e-6), ~grey)


@_reader("actor/objective_costs", "energies")
def _energies(message) -> dict[str, float]:
    return {dim.label: float(value) for dim, value in zip(message.layout.dim, message.data, strict=False)}


_reader("surprise", "surprise")(_energies)


@_reader("actor/status", "status")
def _status(message) -> dict[str, Any]:
    return status_values(message)


_reader("safety_gate/state", "gate")(_status)


@_reader("diagnostics", "diagnostics")
def _diagnostics(message) -> dict[str, dict[str, Any]]:
    return {status.name: status_values(status) for status in message.status}


@_reader("simulator/people", "people")
def _people(message) -> np.ndarray:
    rows = [[m.pose.position.x, m.pose.position.y, max(m.scale.x / 2, 0.1)] for m in message.markers if m.action == ADD]
    return np.array(rows).reshape(-1, 3)


@_reader("simulator/wall", "wall")
def _wall(message) -> np.ndarray:
    """[5] x, y, yaw, thickness, width of the wall that appeared; empty when it is gone."""
    place = message.pose.position
    if message.action != ADD:
        return GONE
    return np.array([place.x, place.y, _yaw(message.pose.orientation), message.scale.x, message.scale.y])


@_reader("simulator/contact", "contact")
def _contact(message) -> bool:
    return bool(message.data)


@_reader("configuration", "configuration")
def _configuration(message) -> dict | None:
    try:
        return json.loads(message.data)
    except json.JSONDecodeError:
        return None


@_reader("clock", "clock")
def _clock(message) -> float:
    return message.clock.sec + message.clock.nanosec * 1e-9


def _walls(message) -> Walls:
    info = message.info
    grid = np.asarray(message.data, np.int8).reshape(info.height, info.width) > 50
    return Walls(grid, (info.origin.position.x, info.origin.position.y), float(info.resolution))
