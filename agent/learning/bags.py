"""Bags: MCAP files of a robot's topics, written and read without ROS.

What is written looks like what a robot records; what is read may be anything a robot recorded.  A file that was cut off is read
as far as it goes, a spoilt chunk or message is left out, and everything left out or mended is counted under its own name.

Times are header stamps.  A message without one (a plain Twist) gets the time at which it was recorded, moved to the sensors'
clock by the odometry recorded about then.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from objective_agent.learning.messages import EPISODE, READERS, WRITERS, EpisodeStart, Reading, typestore
from objective_agent.types import Command, InputError, Odometry

METADATA = "objective_agent"
"""Name of the MCAP metadata record that holds what made the bag."""

OTHER_ODOMETRY = ("representation/odom", "state/odom")
"""Topics that end like the robot's own, but are the mind's."""

JUMP = 1.0
"""Odometry that goes back by more, or is silent for longer, begins a new episode, s."""


class BagWriter:
    """Appends readings to an MCAP file that appears under its name when it is complete, never before.

    Raises InputError when the file can't be written.  Used as a context: an exception inside leaves no file.
    """

    def __init__(self, path: str | Path, metadata: Mapping[str, Any]):
        from mcap.writer import CompressionType, Writer

        self.path = Path(path)
        self._part = self.path.with_name(f".{self.path.name}.part")
        try:
            self._stream = open(self._part, "wb")  # noqa: SIM115 (closed with the writer)
        except OSError as error:
            raise InputError(f"{self.path}: can't be written: {error.strerror}; give another --out") from None
        self._writer = Writer(self._stream, compression=CompressionType.LZ4)
        self._writer.start(profile="ros2", library="objective_agent")
        self._writer.add_metadata(METADATA, {key: _text(value) for key, value in metadata.items()})
        self._channels: dict[type, tuple[int, Any, str]] = {}
        self._serialize = typestore().serialize_cdr
        self.messages = 0

    def add(self, reading: Reading, stamp: float | None = None) -> None:
        """Appends `reading`, logged at its own stamp (or at `stamp`, for those that have none)."""
        kind = type(reading)
        if kind not in self._channels:
            topic, name, encode = WRITERS[kind]
            text, _ = typestore().generate_msgdef(name, ros_version=2)
            schema = self._writer.register_schema(name, "ros2msg", text.encode())
            channel = self._writer.register_channel(f"/{topic}", "cdr", schema, {"offered_qos_profiles": ""})
            self._channels[kind] = (channel, encode, name)
        channel, encode, name = self._channels[kind]
        nanoseconds = round((reading.stamp if stamp is None else stamp) * 1e9)
        self._writer.add_message(channel, nanoseconds, bytes(self._serialize(encode(reading), name)), nanoseconds)
        self.messages += 1

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            self._stream.close()
            self._part.unlink(missing_ok=True)
            return
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        os.replace(self._part, self.path)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


@dataclass
class Segment:
    """Readings without a break in time: one episode of a bag, by kind, each list in the order of its stamps."""

    info: dict
    readings: dict[type, list] = field(default_factory=dict)

    def of(self, kind: type) -> list:
        return self.readings.get(kind, [])


@dataclass
class Bag:
    """A bag that was read: its `segments`, the `metadata` of what made it, and `counts` of all that was left out or mended."""

    path: Path
    sha256: str
    metadata: dict[str, str]
    segments: list[Segment]
    counts: Counter


def find_bags(paths) -> list[Path]:
    """The MCAP files that `paths` name: files, or folders that hold some.  InputError when one holds none."""
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(path.glob("*.mcap")) if path.is_dir() else [path]
        if path.is_dir() and not inside:
            other = "; convert it: rosbags-convert --dst-storage mcap" if any(path.glob("*.db3")) else ""
            raise InputError(f"{path}: holds no *.mcap file{other}")
        if path.suffix == ".db3":
            raise InputError(f"{path}: is an SQLite bag; convert it: rosbags-convert --dst-storage mcap")
        found += inside
    return found


def read_bag(path: str | Path) -> Bag:
    """All that a world model can learn from in the bag at `path`.

    Raises InputError when it can't be read, is no MCAP file, or holds no odometry and commands.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}; give an MCAP file") from None
    counts: Counter[str] = Counter()
    metadata: dict[str, str] = {}
    logged = list(_decode(_records(data, path, counts, metadata), counts))
    _stamp_unstamped(logged, counts)
    segments = [_sorted(segment, counts) for segment in _split(logged, counts)]
    segments = [segment for segment in segments if segment.of(Odometry) and segment.of(Command)]
    if not segments:
        raise InputError(
            f"{path}: holds no odometry with commands beside it; record odom and cmd_vel, and scan or camera/image_raw"
        )
    return Bag(path, hashlib.sha256(data).hexdigest(), metadata, segments, counts)


# --- file -> messages -------------------------------------------------------------------------------------------------------


def _records(data: bytes, path: Path, counts: Counter, metadata: dict) -> Iterator[tuple[str, str, int, bytes]]:
    """(topic, type, log time in ns, serialized message) in file order, chunk by chunk."""
    from mcap.records import Channel, Chunk, Message, Metadata, Schema
    from mcap.stream_reader import StreamReader, breakup_chunk

    channels, schemas = _summary(data)
    found = 0
    reader = StreamReader(io.BytesIO(data), emit_chunks=True, record_size_limit=len(data)).records
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except Exception as error:  # the parser raises many kinds for bytes that are cut off or no MCAP at all
            if not found:
                raise InputError(f"{path}: is not an MCAP file, or was cut off at its beginning ({error})") from None
            counts["file: cut off, read as far as it goes"] += 1
            return
        inside = [record]
        if isinstance(record, Chunk):
            try:
                inside = breakup_chunk(record, validate_crc=True)
            except Exception:  # a spoilt chunk: decompressors and parser raise what they like
                counts["file: chunk spoilt, left out"] += 1
                continue
        for item in inside:
            if isinstance(item, Schema):
                schemas[item.id] = item.name
            elif isinstance(item, Channel):
                channels[item.id] = item
            elif isinstance(item, Metadata) and item.name == METADATA:
                metadata.update(item.metadata)
            elif isinstance(item, Message) and item.channel_id in channels:
                found += 1
                channel = channels[item.channel_id]
                if channel.message_encoding == "cdr" and channel.schema_id in schemas:
                    yield channel.topic, schemas[channel.schema_id], item.log_time, item.data


def _summary(data: bytes) -> tuple[dict, dict]:
    """Channels and schema names from the end of the file, where it has one: the first chunk may be the spoilt one."""
    from mcap.reader import make_reader

    with contextlib.suppress(Exception):
        summary = make_reader(io.BytesIO(data)).get_summary()
        if summary is not None:
            return dict(summary.channels), {key: schema.name for key, schema in summary.schemas.items()}
    return {}, {}


def _role(topic: str) -> str | None:
    """Which of the topics that are read this is; a namespace before it does not matter."""
    name = topic.strip("/")
    if name.endswith(OTHER_ODOMETRY):
        return None
    fitting = [role for role in READERS if name == role or name.endswith(f"/{role}")]
    return max(fitting, key=len) if fitting else None


def _decode(records, counts: Counter) -> Iterator[tuple[int, Reading]]:
    """(log time in ns, reading) of every message that makes sense."""
    roles: dict[str, str | None] = {}
    deserialize = typestore().deserialize_cdr
    for topic, kind, logged, data in records:
        if topic not in roles:
            roles[topic] = _role(topic)
        role = roles[topic]
        if role is None:
            continue
        read = READERS[role].get(kind)
        if read is None:
            counts[f"{role}: type {kind} is not read"] += 1
            continue
        try:
            yield logged, read(deserialize(data, kind))
        except InputError as error:
            counts[f"{role}: {error}"] += 1
        except Exception:  # CDR that is too short, too long or nonsense: struct, index, unicode and value errors
            counts[f"{role}: can't be decoded"] += 1


# --- messages -> segments ---------------------------------------------------------------------------------------------------


def _stamp_unstamped(logged: list[tuple[int, Reading]], counts: Counter) -> None:
    """Gives commands without a stamp the time at which they were recorded, on the clock of the odometry."""
    bare = [index for index, (_, reading) in enumerate(logged) if isinstance(reading, Command) and reading.stamp <= 0]
    pairs = [(when, reading.stamp) for when, reading in logged if isinstance(reading, Odometry)]
    if not bare or not pairs:
        return
    when, stamps = np.array(pairs, float).T
    for index in bare:
        time, command = logged[index]
        near = min(max(int(np.searchsorted(when, time)) - 1, 0), len(when) - 1)
        logged[index] = (time, Command(float(stamps[near] + (time - when[near]) * 1e-9), command.v, command.w))
    counts["cmd_vel: without a stamp, given the time of its recording"] += len(bare)


def _split(logged: list[tuple[int, Reading]], counts: Counter) -> list[Segment]:
    """Cut where the bag says that an episode begins, and where the clock went back."""
    segments = [Segment({})]
    newest = None
    for _, reading in logged:
        if isinstance(reading, EpisodeStart):
            segments.append(Segment(reading.info))
            newest = None
            continue
        if isinstance(reading, Odometry) and np.isfinite(reading.stamp) and reading.stamp > 0:
            if newest is not None and reading.stamp < newest - JUMP:
                counts["odom: clock went back, new episode"] += 1
                segments.append(Segment(dict(segments[-1].info)))
                newest = None
            newest = reading.stamp if newest is None else max(newest, reading.stamp)
        segments[-1].readings.setdefault(type(reading), []).append(reading)
    return segments


def _sorted(segment: Segment, counts: Counter) -> Segment:
    """The segment with each kind's readings in the order of their stamps, none twice, none without one."""
    made = Segment(segment.info)
    for kind, readings in segment.readings.items():
        topic = WRITERS[kind][0]
        good = [reading for reading in readings if np.isfinite(reading.stamp) and reading.stamp > 0]
        counts[f"{topic}: without a usable stamp, left out"] += len(readings) - len(good)
        stamps = np.array([reading.stamp for reading in good])
        late = int((np.diff(stamps) < 0).sum()) if len(good) > 1 else 0
        counts[f"{topic}: out of order, sorted"] += late
        order = np.argsort(stamps, kind="stable")
        ordered = [good[index] for index in order]
        once = [reading for i, reading in enumerate(ordered) if not i or reading.stamp > ordered[i - 1].stamp]
        if kind is not Command:  # two commands may well leave in the same instant: the later one counts
            counts[f"{topic}: stamp repeated, left out"] += len(ordered) - len(once)
            ordered = once
        made.readings[kind] = ordered
    for name in [name for name, count in counts.items() if not count]:
        del counts[name]
    return made


__all__ = ["EPISODE", "Bag", "BagWriter", "Segment", "find_bags", "read_bag"]
