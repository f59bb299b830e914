"""A data set: a folder of memory-mapped arrays, one row per model step, and `meta.json` that says what they are.

    build(bags, out)     bags -> folder, whole or not at all; everything left out or mended is counted in meta.json
    Dataset.open(path)   the arrays, which worlds train and which are held out, and where sequences may begin

Columns: `rows.COLUMNS`; docs/data.md tells each one's meaning.  Training and validation never share a world.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from objective_agent.config import PerceptionParameters
from objective_agent.learning.bags import Bag, Segment, find_bags, read_bag
from objective_agent.learning.coverage import coverage
from objective_agent.learning.rows import COLUMNS, segment_rows
from objective_agent.learning.workers import in_processes
from objective_agent.types import InputError, Scan

SCHEMA = 2
HELD_OUT = 0.12
"""Share of the worlds that never train."""

END = 0.15
"""Share of a recording in one world only that is held out: its end."""

SHORTEST = 3
"""An episode of fewer steps teaches nothing about time."""


class Dataset:
    """An opened data set.  `columns` name -> array [N, ...], memory-mapped; `meta`: what meta.json says."""

    def __init__(self, path: Path, meta: dict, columns: dict[str, np.ndarray]):
        self.path, self.meta, self.columns = path, meta, columns

    @classmethod
    def open(cls, path: str | Path) -> Dataset:
        """Raises InputError with one line when the folder is missing, damaged or of another schema."""
        path = Path(path)
        try:
            meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
            rows, schema = int(meta["rows"]), int(meta["schema"])
        except OSError as error:
            raise InputError(f"{path}: is no data set: {error.strerror}; give the folder that was made from bags") from None
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}/meta.json: is damaged; make the data set again") from None
        if schema != SCHEMA:
            raise InputError(f"{path}: has schema {schema}, this version reads {SCHEMA}; make the data set again")
        columns = {}
        for name, (_, shape) in COLUMNS.items():
            try:
                columns[name] = np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError):
                raise InputError(f"{path}/{name}.npy: is missing or damaged; make the data set again") from None
            if columns[name].shape != (rows, *shape):
                raise InputError(f"{path}/{name}.npy: has shape {columns[name].shape}; make the data set again")
        return cls(path, meta, columns)

    def __len__(self) -> int:
        return int(self.meta["rows"])

    @property
    def dt(self) -> float:
        """Seconds per step."""
        return float(self.meta["dt"])

    @property
    def worlds(self) -> list[str]:
        """Names; `columns["world"]` counts in them."""
        return self.meta["worlds"]

    def mask(self, split: str) -> np.ndarray:
        """[N] bool: the rows of "train" or "val"."""
        if split not in self.meta["split"]:
            raise InputError(f"split {split!r}: unknown; known: {', '.join(self.meta['split'])}")
        return np.isin(self.columns["world"], self.meta["split"][split])

    def sequences(self, length: int, split: str | None = None) -> np.ndarray:
        """Rows from which `length` steps follow one another in one episode (of `split`): start indices, ascending."""
        if length < 1:
            raise InputError(f"sequences of {length} steps: must be 1 or more")
        if length > len(self):
            return np.zeros(0, np.int64)
        episode, step = np.asarray(self.columns["episode"]), np.asarray(self.columns["step"])
        first = np.arange(len(self) - length + 1)
        last = first + length - 1
        good = (episode[first] == episode[last]) & (step[last] - step[first] == length - 1)
        if split is not None:
            good &= self.mask(split)[first]
        return first[good]

    def batch(self, starts: np.ndarray, length: int, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Sequences [len(starts), length, ...] of the columns `names`."""
        rows = np.asarray(starts)[:, None] + np.arange(length)
        return {name: self.columns[name][rows] for name in names}


@dataclass(frozen=True)
class BuildSettings:
    """How bags become rows.  `radius` of the footprint for bags that don't say which robot made them, m; `lidar_pose`: pose
    [x, y, yaw] of the lidar in base_link (a LaserScan doesn't say), m, rad."""

    dt: float = 0.2
    radius: float = 0.18
    lidar_pose: tuple[float, float, float] = (0.0, 0.0, 0.0)
    perception: PerceptionParameters = field(default_factory=PerceptionParameters)

    def __post_init__(self):
        if not 0.02 <= self.dt <= 5:
            raise InputError(f"dt = {self.dt:g} s per step: must be 0.02 to 5")


def build(
    bags: Sequence[str | Path],
    out: str | Path,
    settings: BuildSettings | None = None,
    jobs: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Makes the data set `out` from bags (files, or folders of them); it appears when it is complete.

    A bag that can't be used is left out and named in meta.json; InputError when none can be, or `out` exists.
    `report` is called with (bags done, bags in all).
    """
    out, settings = Path(out), settings or BuildSettings()
    paths = find_bags(bags)
    if out.exists():
        raise InputError(f"{out}: exists; remove it, or give another folder")
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{out}: can't be written: {error.strerror}; give another folder") from None
    try:
        made = _Builder(part, settings)
        for done, (path, result) in enumerate(zip(paths, _read_all(paths, settings, jobs), strict=True), 1):
            made.add(path, result)
            report(done, len(paths))
        made.finish()
        os.replace(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Dataset.open(out)


@dataclass
class BagRows:
    """What became of one bag: pieces of (world, info, columns), or a `problem`."""

    sha256: str = ""
    pieces: tuple = ()
    counts: dict | None = None
    problem: str = ""


def _read_all(paths: list[Path], settings: BuildSettings, jobs: int) -> Iterator[BagRows]:
    if jobs == 1 or len(paths) == 1:
        yield from (bag_rows(path, settings) for path in paths)
        return
    calls = ((path, settings) for path in paths)
    yield from in_processes(bag_rows, calls, min(jobs, len(paths)), "try again with fewer --jobs", in_order=True)


def bag_rows(path: Path, settings: BuildSettings) -> BagRows:
    """The rows of one bag; never raises for what is in it."""
    try:
        bag = read_bag(path)
    except InputError as error:
        return BagRows(problem=str(error))
    counts = bag.counts
    radius = _radius(bag, settings.radius)
    pieces = []
    for segment in bag.segments:
        mount(segment, settings.lidar_pose)
        for rows in segment_rows(segment, settings.perception, radius, settings.dt, counts):
            if len(rows["stamp"]) < SHORTEST:
                counts["episodes: too short, left out"] += 1
                continue
            pieces.append((str(segment.info.get("world", path.stem)), segment.info, rows))
    if not pieces:
        return BagRows(
            bag.sha256, problem=f"{path}: gives no episode of {SHORTEST} steps; {_said(counts)}", counts=dict(counts)
        )
    return BagRows(bag.sha256, tuple(pieces), dict(counts))


def mount(segment: Segment, pose: tuple[float, float, float]) -> None:
    """Puts the sweeps of `segment` where the lidar sits, as the perception node does."""
    if any(pose):
        segment.readings[Scan] = [replace(scan, offset=tuple(pose)) for scan in segment.of(Scan)]


def _said(counts: Counter) -> str:
    return "; ".join(f"{count} x {name}" for name, count in counts.most_common(3)) or "it is too short"


def _radius(bag: Bag, default: float) -> float:
    try:
        return float(json.loads(bag.metadata["robot"])["radius"])
    except (KeyError, ValueError, TypeError):
        return default


class _Builder:
    """Appends bags' rows to the columns in `folder` and writes meta.json."""

    def __init__(self, folder: Path, settings: BuildSettings):
        self.folder, self.settings = folder, settings
        self._files = {name: _Column(folder / f"{name}.npy", *spec) for name, spec in COLUMNS.items()}
        self._worlds: dict[str, int] = {}
        self._episodes: list[dict] = []
        self._bags: list[dict] = []
        self._left_out: list[str] = []
        self._counts: Counter[str] = Counter()
        self._rows = 0
        self._divided = False

    def add(self, path: Path, made: BagRows) -> None:
        self._counts.update(made.counts or {})
        if made.problem:
            self._left_out.append(made.problem)
            return
        for world, info, rows in made.pieces:
            self._add_piece(world, info, rows)
        steps = sum(len(rows["stamp"]) for _, _, rows in made.pieces)
        self._bags.append({"name": path.name, "sha256": made.sha256, "rows": steps})

    def _add_piece(self, world: str, info: dict, rows: dict[str, np.ndarray]) -> None:
        count = len(rows["stamp"])
        number = self._worlds.setdefault(world, len(self._worlds))
        whole = {
            **rows,
            "episode": np.full(count, len(self._episodes), np.int32),
            "step": np.arange(count, dtype=np.int32),
            "world": np.full(count, number, np.int32),
        }
        for name, file in self._files.items():
            file.append(whole[name])
        self._episodes.append({"rows": [self._rows, self._rows + count], **info})
        self._rows += count

    def finish(self) -> None:
        if not self._rows:
            more = f" (and {len(self._left_out) - 1} more bags)" if len(self._left_out) > 1 else ""
            raise InputError(f"no data: {self._left_out[0]}{more}")
        for file in self._files.values():
            file.close()
        if len(self._worlds) == 1:
            self._divide()
        columns = {name: np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in COLUMNS}
        worlds = list(self._worlds)
        meta = {
            "schema": SCHEMA,
            "rows": self._rows,
            "dt": self.settings.dt,
            "columns": {name: [np.dtype(kind).name, list(shape)] for name, (kind, shape) in COLUMNS.items()},
            "worlds": worlds,
            "split": split_worlds(worlds),
            "bags": self._bags,
            "left_out": self._left_out,
            "mended": dict(sorted(self._counts.items())),
            "missing": missing(columns),
            "episodes": self._episodes,
        }
        if self._divided:
            meta["split"] = {"train": [0], "val": [1]}
            meta["note"] = "one world only: its end stands in for a second one, so validation says nothing about other worlds"
        report = coverage(columns, self.settings.dt, meta)
        (self.folder / "coverage.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
        (self.folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")

    def _divide(self) -> None:
        """Makes the end of the only world a world of its own: the best that can be held out of a recording in one home."""
        cut = self._rows - math.ceil(END * self._rows)
        if cut < SHORTEST:
            return
        world, episode, step = (np.load(self.folder / f"{name}.npy", mmap_mode="r+") for name in ("world", "episode", "step"))
        world[cut:] = 1
        index = next(i for i, made in enumerate(self._episodes) if made["rows"][0] <= cut < made["rows"][1])
        begin, end = self._episodes[index]["rows"]
        if begin < cut:
            episode[cut:] += 1
            step[cut:end] -= cut - begin
            self._episodes[index : index + 1] = [{**self._episodes[index], "rows": rows} for rows in ([begin, cut], [cut, end])]
        for array in (world, episode, step):
            array.flush()
        self._worlds[f"{next(iter(self._worlds))} (end)"] = 1
        self._divided = True


class _Column:
    """A .npy file of unknown length: the header is written again when the length is known."""

    LENGTH = 256

    def __init__(self, path: Path, kind: type, shape: tuple[int, ...]):
        self._type, self._shape, self._rows = np.dtype(kind), shape, 0
        self._file = open(path, "wb")  # noqa: SIM115 (closed by `close`)
        self._file.write(bytes(self.LENGTH))

    def append(self, values: np.ndarray) -> None:
        if values.shape[1:] != self._shape:
            raise ValueError(f"rows of shape {values.shape[1:]} in a column of {self._shape}")
        self._file.write(np.ascontiguousarray(values, self._type).tobytes())
        self._rows += len(values)

    def close(self) -> None:
        text = str({"descr": self._type.str, "fortran_order": False, "shape": (self._rows, *self._shape)})
        space = self.LENGTH - 10
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + space.to_bytes(2, "little") + f"{text:<{space - 1}}\n".encode("latin1"))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def split_worlds(worlds: Sequence[str]) -> dict[str, list[int]]:
    """Numbers of the worlds that train and of those held out: by the hash of their names, whatever their order."""
    order = sorted(range(len(worlds)), key=lambda number: hashlib.sha256(worlds[number].encode()).digest())
    held = math.ceil(HELD_OUT * len(worlds)) if len(worlds) > 1 else 0
    return {"train": sorted(order[held:]), "val": sorted(order[:held])}


def missing(columns: dict[str, np.ndarray]) -> dict[str, float]:
    """Shares of rows or values that no sensor gave."""
    scan = np.asarray(columns["has_scan"])
    return {
        "scans": round(float(1 - scan.mean()), 5),
        "images": round(float(1 - np.asarray(columns["has_image"]).mean()), 5),
        "scan_directions": round(float(np.isnan(columns["scan"][scan]).mean()), 5) if scan.any() else 1.0,
        "clearance": round(float(np.isnan(columns["clearance"]).mean()), 5),
        "people": round(float(np.isnan(columns["people"]).mean()), 5),
    }
