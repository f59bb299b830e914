"""The log of plans: one row per decision of Mode-2, what Mode-1 is distilled from (LeCun 2022, section 3.1.3).

A row holds what the actor knew (state, goal), what it found (plan, energy, feasible) and what was then done.  What a plan came
to is in the later rows of its episode: every representation reached later is a goal that was reached (hindsight).

    with PlanLog("plans.db", encoder=sha) as log:      append to a log, made where there is none
        log.append(PlanRow(...))
    plans = read_plans(["plans.db"], encoder=sha)      all rows as arrays

SQLite with a write-ahead log: what `append` returned from survives kill -9, several processes may append to one file, a reader
disturbs nobody, and a full disk is one clear line.  A log holds representations of one encoder, all of one shape; the oldest
rows go when there are more than `most_rows`.  Representations are kept in half precision, all else in single.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from objective_agent.types import InputError

SCHEMA = 1
MOST_ROWS = 200_000
TRIM = 1000
"""Old rows are removed every so many appended ones."""

ARRAYS = {"state": np.float16, "goal": np.float16, "plan": np.float32, "done": np.float32, "velocity": np.float32,
          "pose": np.float32, "position": np.float32}  # fmt: skip
NEEDED = ("state", "plan", "done")
PLAIN = {"run": "TEXT", "episode": "INTEGER", "step": "INTEGER", "stamp": "REAL", "energy": "REAL", "feasible": "INTEGER",
         "mode": "TEXT"}  # fmt: skip


@dataclass(frozen=True)
class PlanRow:
    """One decision.  Steps of an episode (one task, one way there) count up; `run` tells the episodes of two runs apart.

    `state` [W * T, D] is the world state's representation, newest frame last; `plan` [H, A] is Mode-2's answer and `done` [A]
    the action that was really sent; `energy` of the plan; `mode`: who acted ("optimizer", "policy", ...), which need not be the
    plan's author.  `goal` [G, D]: the goal's tokens; `position` [2]: the goal's (or subgoal's) place in odom, for robots with
    their `pose` [3] in odom and `velocity` [2].
    """

    run: str
    episode: int
    step: int
    state: np.ndarray
    plan: np.ndarray
    done: np.ndarray
    energy: float = 0.0
    feasible: bool = True
    mode: str = "optimizer"
    stamp: float = 0.0
    goal: np.ndarray | None = None
    velocity: np.ndarray | None = None
    pose: np.ndarray | None = None
    position: np.ndarray | None = None


class PlanLog:
    """Appends decisions to the file `path`; every row is on its way to the disk when `append` returns.

    InputError, one line: the disk is full, the file is no log or damaged, it is another encoder's, a row holds NaN or has
    another shape than the rows before it.
    """

    def __init__(self, path: str | Path, encoder: str, about: dict[str, Any] | None = None, most_rows: int = MOST_ROWS):
        """`encoder`: sha256 of the model that made the representations.  `about` (JSON values) is kept with a new log."""
        self.path, self.encoder, self._most = Path(path), encoder, most_rows
        self._since = TRIM  # the first row trims what runs too short for that left
        with _Disk(self.path):
            self._base = _connect(self.path)
            with self._base:
                self._base.execute("CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT)")
                columns = ", ".join([*(f"{name} {kind}" for name, kind in PLAIN.items()), *(f"{name} BLOB" for name in ARRAYS)])
                self._base.execute(f"CREATE TABLE IF NOT EXISTS plans (id INTEGER PRIMARY KEY, {columns})")
                said = {"schema": SCHEMA, "encoder": encoder, "about": about or {}}
                for name, value in said.items():
                    self._base.execute("INSERT OR IGNORE INTO about VALUES (?, ?)", (name, json.dumps(value)))
            found = _about(self._base, self.path)
        _check_about(found, encoder, self.path)
        self._shapes = {name: tuple(shape) for name, shape in found.get("shapes", {}).items()}

    def append(self, row: PlanRow) -> None:
        self.extend([row])

    def extend(self, rows: Sequence[PlanRow]) -> None:
        """Appends all of `rows`, or none."""
        values = [self._values(row) for row in rows]
        if not values:
            return
        names = (*PLAIN, *ARRAYS)
        with _Disk(self.path), self._base:
            places = ", ".join("?" * len(names))
            self._base.executemany(f"INSERT INTO plans ({', '.join(names)}) VALUES ({places})", values)
            self._since += len(values)
            if self._since >= TRIM:
                self._since = 0
                self._base.execute("DELETE FROM plans WHERE id <= (SELECT MAX(id) FROM plans) - ?", (self._most,))

    @property
    def rows(self) -> int:
        with _Disk(self.path):
            return int(self._base.execute("SELECT COUNT(*) FROM plans").fetchone()[0])

    def close(self) -> None:
        self._base.close()

    def __enter__(self) -> PlanLog:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _values(self, row: PlanRow) -> tuple:
        arrays = {}
        for name, kind in ARRAYS.items():
            value = getattr(row, name)
            if value is None and name not in NEEDED:
                continue
            with np.errstate(over="ignore"):
                arrays[name] = np.ascontiguousarray(value, kind)
            if not np.isfinite(arrays[name]).all():
                raise InputError(f"{self.path}: {name} of step {row.step} has NaN or infinite values; the row was not logged")
        shapes = {name: array.shape for name, array in arrays.items()}
        if not self._shapes:
            self._learn(shapes)
        if shapes != self._shapes:
            raise InputError(f"{self.path}: a row of shapes {shapes}, the log has {self._shapes}; start a new log")
        plain = (row.run, row.episode, row.step, float(row.stamp), float(row.energy), int(row.feasible), row.mode)
        return (*plain, *(arrays[name].tobytes() if name in arrays else None for name in ARRAYS))

    def _learn(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """The first row says what all rows look like, unless another process was faster."""
        with _Disk(self.path), self._base:
            self._base.execute("INSERT OR IGNORE INTO about VALUES ('shapes', ?)", (json.dumps(shapes),))
            found = _about(self._base, self.path)["shapes"]
        self._shapes = {name: tuple(shape) for name, shape in found.items()}


@dataclass(frozen=True)
class Plans:
    """Rows of logs as arrays, n rows, in the order (episode, step).

    `episode` [n] counts the episodes of all runs and logs; `first`, `last` [n]: the rows between which each row's episode lies.
    Arrays as in `PlanRow`, with n in front; None where the logs have none.  `about`: what each log says of itself.
    """

    episode: np.ndarray
    step: np.ndarray
    stamp: np.ndarray
    energy: np.ndarray
    feasible: np.ndarray
    mode: np.ndarray
    state: np.ndarray
    plan: np.ndarray
    done: np.ndarray
    goal: np.ndarray | None = None
    velocity: np.ndarray | None = None
    pose: np.ndarray | None = None
    position: np.ndarray | None = None
    about: tuple[dict[str, Any], ...] = ()

    def __len__(self) -> int:
        return len(self.step)

    @property
    def first(self) -> np.ndarray:
        return np.searchsorted(self.episode, self.episode, "left")

    @property
    def last(self) -> np.ndarray:
        return np.searchsorted(self.episode, self.episode, "right") - 1


def unused(path: str | Path) -> Path:
    """`path`, if nothing is there yet, else InputError: what is collected is a log of its own, never added to another."""
    path = Path(path)
    if path.exists():
        raise InputError(f"{path}: exists; remove it, or give another --out")
    return path


def read_plans(paths: Iterable[str | Path], encoder: str | None = None) -> Plans:
    """All rows of one or more logs.  InputError: no such file, no log, no rows, another encoder's, or of different shapes."""
    found, about, shapes = [], [], None
    for path in map(Path, paths):
        if not path.is_file():
            raise InputError(f"{path}: there is no such log of plans; collect --plans makes one")
        with _Disk(path):
            base = _connect(path)
            try:
                said = _about(base, path)
                _check_about(said, encoder, path)
                mine = {name: tuple(shape) for name, shape in said.get("shapes", {}).items()}
                if shapes is not None and mine != shapes and mine:
                    raise InputError(f"{path}: rows of shapes {mine}, the logs before it have {shapes}; train on one kind")
                shapes = mine or shapes
                names = ", ".join((*PLAIN, *ARRAYS))
                rows = base.execute(f"SELECT {names} FROM plans ORDER BY run, episode, step, id").fetchall()
            finally:
                base.close()
        about.append({**said.get("about", {}), "file": path.name, "rows": len(rows)})
        found += [(path.name, *row) for row in rows]
    if not found:
        raise InputError("the log of plans has no rows; let the agent plan first")
    columns = dict(zip(("file", *PLAIN, *ARRAYS), zip(*found, strict=True), strict=True))
    arrays = {}
    for name, shape in (shapes or {}).items():
        data = np.frombuffer(bytearray().join(columns[name]), ARRAYS[name])
        if len(data) != len(found) * int(np.prod(shape)):
            raise InputError(f"a log of plans is damaged ({name}); leave it out")
        arrays[name] = data.reshape(len(found), *shape)
    keys = [
        f"{file} {run} {number}" for file, run, number in zip(columns["file"], columns["run"], columns["episode"], strict=True)
    ]
    new = np.array([True, *(one != two for one, two in zip(keys[1:], keys[:-1], strict=True))])
    plain = {name: np.array(columns[name]) for name in ("step", "stamp", "mode")}
    return Plans(
        episode=np.cumsum(new) - 1,
        energy=np.array(columns["energy"], np.float32),
        feasible=np.array(columns["feasible"], bool),
        about=tuple(about),
        **plain,
        **arrays,
    )


def _connect(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=2.0)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=NORMAL")
    return base


def _about(base: sqlite3.Connection, path: Path) -> dict[str, Any]:
    try:
        return {name: json.loads(value) for name, value in base.execute("SELECT name, value FROM about")}
    except (ValueError, sqlite3.OperationalError):
        raise InputError(f"{path}: is no log of plans; give the file that the memory or collect --plans wrote") from None


def _check_about(found: dict[str, Any], encoder: str | None, path: Path) -> None:
    if found.get("schema") != SCHEMA:
        raise InputError(f"{path}: has schema {found.get('schema')}, this version reads {SCHEMA}; start a new log")
    if encoder is not None and str(found.get("encoder"))[:12] != encoder[:12]:  # messages carry the first digits alone
        raise InputError(
            f"{path}: holds representations of encoder {str(found.get('encoder'))[:12]}, the model's is {encoder[:12]}; "
            "give this model's own log, or start a new one"
        )


class _Disk:
    """Turns what SQLite refuses into one line."""

    def __init__(self, path: Path):
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        if isinstance(error, sqlite3.Error):
            raise InputError(f"{self.path}: log of plans: {error}; make room, or give another file") from None
