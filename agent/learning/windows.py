"""Training windows: where stretches of consecutive model steps begin, in which worlds, and what came before them.

Worlds are kept apart: training never sees a world that calibration or the metrics use, and those two share none either.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from objective_agent.learning import people
from objective_agent.learning.dataset import Dataset

SPLITS = ("train", "calibration", "test")

SEEN_BEFORE = 2
"""Steps before a window in which somebody seen is still known."""


class Sequences:
    """An opened data set as the trainer looks at it.  InputError when it is missing or damaged."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.dataset = Dataset.open(path)
        self.columns, self.meta, self.rows, self.dt = (
            self.dataset.columns,
            self.dataset.meta,
            len(self.dataset),
            self.dataset.dt,
        )
        self.world = np.asarray(self.columns["world"])
        episode, step = np.asarray(self.columns["episode"]), np.asarray(self.columns["step"])
        self._nobody = np.zeros(int(episode.max()) + 1, bool)
        for number, info in enumerate(self.meta.get("episodes", [])[: len(self._nobody)]):
            self._nobody[number] = info.get("people") == 0
        self._follows = np.zeros(self.rows, bool)
        self._follows[1:] = (episode[1:] == episode[:-1]) & (step[1:] == step[:-1] + 1)

    def digest(self) -> str:
        """A sha256 over the description and the small columns: which data these are."""
        digest = hashlib.sha256(json.dumps(self.meta, sort_keys=True).encode())
        for name in ("stamp", "episode", "step", "world", "pose", "action", "clearance"):
            digest.update(np.ascontiguousarray(self.columns[name]).tobytes())
        return digest.hexdigest()

    def starts(self, horizon: int, split: str) -> np.ndarray:
        """Rows at which a window of `horizon` further steps begins, in the worlds of `split`."""
        first = self.dataset.sequences(horizon + 1)
        return first[np.isin(self.world[first], self.worlds(split))]

    def worlds(self, split: str) -> np.ndarray:
        """World numbers of `split`: the data set's own training worlds; its held-out ones go to calibration and test in turn.

        In turn within each recorded condition, so that both know all of them; a single held-out world has to serve for both.
        """
        present = np.unique(self.world)
        training = np.intersect1d(present, np.asarray(self.meta["split"]["train"], np.int64))
        held = np.setdiff1d(present, training)
        _, first = np.unique(self.world, return_index=True)
        held = held[np.argsort(self.conditions(first[np.searchsorted(present, held)]), kind="stable")]
        halves = {"calibration": held[::2], "test": held[1::2] if len(held) > 1 else held}
        return training if split == "train" else np.sort(halves[split])

    def take(self, name: str, rows: np.ndarray) -> np.ndarray:
        """`rows` (any shape) of a column, in memory."""
        column = self.columns[name]
        return np.asarray(column[rows.ravel()]).reshape(*rows.shape, *column.shape[1:])

    def people(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(gap to the nearest known person [S, n], places of the known people [S, n, P, 3]) in windows `rows` [S, n].

        Known is who was seen in the first row or the two before it.  Gaps are NaN where the recording says nothing about
        people, and people.FARTHEST where it says that nobody is there.
        """
        first = rows[0]
        seen = np.zeros((len(first), people.MOST), bool)
        for past in range(SEEN_BEFORE + 1):
            at = self.past(first, past)
            seen |= (at >= 0)[:, None] & self.take("people_seen", np.maximum(at, 0))
        places = people.known_places(self.take("people_places", rows), seen)
        told = ~np.isnan(self.take("people", rows)) | self._nobody[np.asarray(self.columns["episode"])[rows]]
        return np.where(told, people.nearest(places), np.nan).astype(np.float32), places.astype(np.float32)

    def past(self, rows: np.ndarray, steps: int) -> np.ndarray:
        """The row `steps` before each of `rows`, or -1 where the episode (or a gap) begins later."""
        found = rows.copy()
        for _ in range(steps):
            found = np.where((found > 0) & self._follows[found], found - 1, -1)
        return found

    def conditions(self, rows: np.ndarray) -> np.ndarray:
        """What the recordings say of each row's episode: the name of its condition; "recorded" where they say nothing."""
        episodes = self.meta.get("episodes", [])
        names = np.array([str(info.get("condition", "recorded")) for info in episodes] or ["recorded"])
        return names[np.minimum(np.asarray(self.columns["episode"])[rows], len(names) - 1)]

    def has_images(self) -> bool:
        return bool(np.asarray(self.columns["has_image"]).any())
