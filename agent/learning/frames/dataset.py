"""Data sets of images: a folder of memory-mapped columns, one row per step of an episode; `meta.json` says what they are.

    FrameWriter(out, ...)     episode by episode into a folder that appears when it is complete
    FrameData.open(path)      the columns, and where windows of consecutive rows begin in training and held-out layouts

    image    [rows, 64, 64, 3]  uint8      what the task's camera shows
    action   [rows, A]          float32    the action AT a row leads to the next row; zeros in an episode's last row
    state    [rows, S]          float32    the truth: for probes, scores and drawings alone, never for training
    episode, step, layout [rows] int32

Layouts that train never calibrate or test.  A task with one layout holds out whole episodes instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from objective_agent.types import InputError

KIND, SCHEMA = "frames", 1
SIZE = 64
SPLITS = ("train", "calibration", "test")
HELD_OUT = 0.05
"""Share of the layouts (or episodes) that each of calibration and test gets."""

MANY = 20
"""From this many layouts on, whole layouts are held out."""

AGAIN = "collect it again: objective-agent collect"


def columns_of(actions: int, states: int) -> dict[str, tuple[type, tuple[int, ...]]]:
    """Name of each column -> (type, shape of a row)."""
    return {
        "image": (np.uint8, (SIZE, SIZE, 3)),
        "action": (np.float32, (actions,)),
        "state": (np.float32, (states,)),
        "episode": (np.int32, ()),
        "step": (np.int32, ()),
        "layout": (np.int32, ()),
    }


def is_frames(path: str | Path) -> bool:
    """Whether `path` is a folder whose meta.json says that it holds images of a benchmark task."""
    try:
        return json.loads((Path(path) / "meta.json").read_text(encoding="utf-8")).get("kind") == KIND
    except (OSError, ValueError, AttributeError):
        return False


class FrameData:
    """An opened data set: `meta`, `columns` (name -> memory-mapped array), `rows`, `task`, `actions` (A), `states` (S)."""

    def __init__(self, path: Path, meta: dict[str, Any], columns: dict[str, np.ndarray]):
        self.path, self.meta, self.columns = path, meta, columns
        self.rows, self.task = int(meta["rows"]), str(meta["task"])
        self.actions, self.states = int(meta["actions"]), int(meta["states"])
        self.episode, self.step, self.layout = (np.asarray(columns[name]) for name in ("episode", "step", "layout"))
        self.first = np.arange(self.rows) - self.step
        """[rows] the first row of each row's episode."""
        self.unit = self.layout if len(np.unique(self.layout)) >= MANY else self.episode
        """[rows] what is held out whole: the layout, or the episode where there are few layouts."""

    @classmethod
    def open(cls, path: str | Path) -> FrameData:
        """Raises InputError with one line when the folder is missing, unfinished, damaged or of another schema."""
        path = Path(path)
        try:
            meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: is no data set: {error.strerror}; give the folder that collect wrote") from None
        except ValueError:
            raise InputError(f"{path}/meta.json: is damaged; {AGAIN}") from None
        if not isinstance(meta, dict) or meta.get("kind") != KIND:
            raise InputError(f"{path}: is no data set of images; collect --task TASK makes one")
        if meta.get("schema") != SCHEMA:
            raise InputError(f"{path}: has schema {meta.get('schema')}, this version reads {SCHEMA}; {AGAIN}")
        try:
            rows, expected = int(meta["rows"]), columns_of(int(meta["actions"]), int(meta["states"]))
            sha = dict(meta["sha256"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{path}/meta.json: is damaged; {AGAIN}") from None
        columns = {}
        for name, (kind, shape) in expected.items():
            file = path / f"{name}.npy"
            try:
                columns[name] = np.load(file, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                raise InputError(f"{file}: is missing or damaged; {AGAIN}") from None
            found = columns[name]
            if found.shape != (rows, *shape) or found.dtype != kind:
                raise InputError(f"{file}: holds {found.dtype} {found.shape}, not what meta.json says; {AGAIN}")
            if name != "image" and hashlib.sha256(found.tobytes()).hexdigest() != sha.get(name):
                raise InputError(f"{file}: is not what meta.json was written for (sha256); {AGAIN}")
        return cls(path, meta, columns)

    def verify(self) -> None:
        """Reads the images, too, and compares their sha256.  InputError when they were changed."""
        found = hashlib.sha256()
        for first in range(0, self.rows, 4096):
            found.update(np.ascontiguousarray(self.columns["image"][first : first + 4096]).data)
        if found.hexdigest() != self.meta["sha256"]["image"]:
            raise InputError(f"{self.path}/image.npy: is not what meta.json was written for (sha256); {AGAIN}")

    def digest(self) -> str:
        """A sha256 over all columns' sha256: which data these are."""
        return hashlib.sha256(json.dumps(self.meta["sha256"], sort_keys=True).encode()).hexdigest()

    def mask(self, split: str) -> np.ndarray:
        """[rows] bool: the rows of "train", "calibration" or "test"."""
        if split not in SPLITS:
            raise InputError(f"split {split!r}: unknown; known: {', '.join(SPLITS)}")
        units = np.unique(self.unit)
        order = units[np.argsort([_hash(unit) for unit in units], kind="stable")]
        held = max(1, round(HELD_OUT * len(order))) if len(order) > 2 else 0
        chosen = {"calibration": order[:held], "test": order[held : 2 * held], "train": order[2 * held :]}
        return np.isin(self.unit, chosen[split])

    def starts(self, horizon: int, split: str | None = None) -> np.ndarray:
        """Rows after which `horizon` further rows follow in the same episode, ascending."""
        first = np.arange(max(0, self.rows - horizon))
        good = self.episode[first + horizon] == self.episode[first] if len(first) else np.zeros(0, bool)
        if split is not None:
            good = good & self.mask(split)[first]
        return first[good]

    def history(self, rows: np.ndarray, length: int) -> np.ndarray:
        """[..., length] the last `length` rows up to each of `rows`; before an episode's begin its first row again."""
        back = rows[..., None] - np.arange(length - 1, -1, -1)
        return np.maximum(back, self.first[rows][..., None])

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """`rows` (any shape) of a column, in memory."""
        column = self.columns[name]
        return np.asarray(column[rows.ravel()]).reshape(*rows.shape, *column.shape[1:])

    def past_actions(self, rows: np.ndarray, length: int) -> np.ndarray:
        """[..., length - 1, A] what was done between the rows of `history(rows, length)`: zeros where a row is repeated."""
        back = self.history(rows, length)
        moved = (back[..., 1:] > back[..., :-1])[..., None]
        return np.where(moved, self.take("action", back[..., :-1]), np.float32(0))


def _hash(unit: int) -> bytes:
    return hashlib.sha256(f"unit {int(unit)}".encode()).digest()


class FrameWriter:
    """Writes a data set; as a context manager it leaves the complete folder `out`, or nothing.

    Killed at any moment it leaves only a hidden folder, which the next writer of the same name removes.  InputError, one line,
    when `out` exists, or when the disk is full.
    """

    def __init__(self, out: str | Path, task: str, actions: int, states: int, about: Mapping[str, Any] | None = None):
        self.out, self.about = Path(out), dict(about or {})
        self.task, self.actions, self.states = task, actions, states
        self.rows = self.episodes = 0
        if self.out.exists():
            raise InputError(f"{self.out}: exists; remove it, or give another --out")
        self.part = self.out.with_name(f".{self.out.name}.part")
        self._columns: dict[str, _Column] = {}
        with self._disk():
            shutil.rmtree(self.part, ignore_errors=True)
            self.part.mkdir(parents=True)
            for name, (kind, shape) in columns_of(actions, states).items():
                self._columns[name] = _Column(self.part / f"{name}.npy", kind, shape)

    def __enter__(self) -> FrameWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for column in self._columns.values():
                column.abandon()
            shutil.rmtree(self.part, ignore_errors=True)

    def add(self, images: np.ndarray, actions: np.ndarray, states: np.ndarray, layout: int) -> None:
        """One episode: `images` [n + 1, 64, 64, 3], `actions` [n, A], `states` [n + 1, S].  InputError: NaN, wrong shape."""
        count, where = len(images), f"{self.task}, episode {self.episodes}"
        expected = {"image": (images, count), "action": (actions, count - 1), "state": (states, count)}
        kinds = columns_of(self.actions, self.states)
        for name, (values, length) in expected.items():
            shape = (length, *kinds[name][1])
            if count < 2 or values.shape != shape:
                raise InputError(f"{where}: {name} has shape {values.shape}, {shape} is needed (2 frames or more)")
            if name == "image" and values.dtype != np.uint8:
                raise InputError(f"{where}: image is {values.dtype}, uint8 is needed")
            if not np.isfinite(values).all():
                raise InputError(f"{where}: {name} holds NaN or infinite values")
        whole = {
            "image": images,
            "action": np.concatenate([actions, np.zeros((1, self.actions), np.float32)]),
            "state": states,
            "episode": np.full(count, self.episodes),
            "step": np.arange(count),
            "layout": np.full(count, layout),
        }
        with self._disk():
            for name, column in self._columns.items():
                column.append(whole[name])
        self.rows += count
        self.episodes += 1

    def _finish(self) -> None:
        if not self.rows:
            raise InputError(f"{self.out}: no episode was given; nothing was written")
        with self._disk():
            sha = {name: column.close() for name, column in self._columns.items()}
            meta = {
                "kind": KIND,
                "schema": SCHEMA,
                "task": self.task,
                "rows": self.rows,
                "episodes": self.episodes,
                "actions": self.actions,
                "states": self.states,
                **self.about,
                "sha256": sha,
            }
            with (self.part / "meta.json").open("w", encoding="utf-8") as file:
                file.write(json.dumps(meta, indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(self.part, self.out)

    def _disk(self) -> _Disk:
        return _Disk(self.out)


class _Disk:
    """Turns what a disk refuses into one line."""

    def __init__(self, out: Path):
        self.out = out

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, OSError):
            raise InputError(f"{self.out}: can't be written: {error.strerror}; make room, or give another --out") from None


class _Column:
    """A .npy file of unknown length, with the sha256 of its values: the header is written again when the length is known."""

    HEADER = 256

    def __init__(self, path: Path, kind: type, shape: tuple[int, ...]):
        self._type, self._shape, self._rows = np.dtype(kind), shape, 0
        self._sha = hashlib.sha256()
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close` or `abandon`)
        self._file.write(bytes(self.HEADER))

    def append(self, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values, self._type).tobytes()
        self._file.write(data)
        self._sha.update(data)
        self._rows += len(values)

    def close(self) -> str:
        text = str({"descr": self._type.str, "fortran_order": False, "shape": (self._rows, *self._shape)})
        space = self.HEADER - 10
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + space.to_bytes(2, "little") + f"{text:<{space - 1}}\n".encode("latin1"))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._sha.hexdigest()

    def abandon(self) -> None:
        with contextlib.suppress(OSError):  # what is buffered may not fit on the disk: the folder is removed anyway
            self._file.close()
