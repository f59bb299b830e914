"""Batches of clips: windows of consecutive frames, drawn layout by layout, some of them by surprise.

A window is W rows of history (its last one is the present) and H rows of future.  What a model without a map already predicts
teaches nothing about walls: contacts are rare.  So a share of the windows is drawn in proportion to such a model's error
(prioritised by surprise, as in Schmidhuber 1991 and prioritised replay, Schaul et al. 2016, but within each layout).

All randomness of batch number i comes from (seed, i).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from objective_agent import devices
from objective_agent.learning.frames.dataset import FrameData
from objective_agent.learning.frames.kept_tokens import KeptTokens

UPLOAD = 8192
"""Images that go to a GPU at once when all do."""


@dataclass(frozen=True)
class Clips:
    """n windows: `rows` [n, W + H] of the data, the actions between them, further rows of the same layouts, their layouts."""

    rows: np.ndarray
    past: Tensor
    """[n, W - 1, A] actions between the rows of the history; zeros where a row is repeated."""
    actions: Tensor
    """[n, H, A]"""
    more: np.ndarray
    """[n, X] further rows of each window's layout."""
    layouts: np.ndarray
    """[n]"""

    def to(self, device: torch.device) -> Clips:
        """The same windows with their actions on `device`."""
        return replace(self, past=devices.move(self.past, device), actions=devices.move(self.actions, device))


class Windows:
    """Where windows of `horizon` steps begin in a split of the data, grouped by what is constant: layout or whole data set."""

    def __init__(self, data: FrameData, horizon: int, history: int, split: str):
        self.data, self.horizon, self.length = data, horizon, history
        starts = data.starts(horizon, split)
        self.starts = starts[np.argsort(data.layout[starts], kind="stable")]
        self.layouts, first, sizes = np.unique(data.layout[self.starts], return_index=True, return_counts=True)
        self._bounds = np.stack([first, first + sizes], 1)  # [layouts, 2] into `starts`
        rows = np.flatnonzero(data.mask(split))
        self.rows = rows[np.argsort(data.layout[rows], kind="stable")]
        where = np.searchsorted(data.layout[self.rows], self.layouts, "left")
        until = np.searchsorted(data.layout[self.rows], self.layouts, "right")
        self._row_bounds = np.stack([where, until], 1)
        self._cumulated: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts)

    def prefer(self, surprise: np.ndarray) -> None:
        """Sets how much each row's step to the next surprises, `surprise` [rows]: a window weighs the sum over its steps."""
        total = np.concatenate([[0.0], np.cumsum(np.maximum(surprise, 0), dtype=np.float64)])
        weights = total[self.starts + self.horizon] - total[self.starts]
        self._cumulated = np.concatenate([[0.0], np.cumsum(weights + 1e-9 * max(weights.mean(), 1e-12))])

    def draw(self, random: np.random.Generator, count: int, each: int = 1, more: int = 0, surprising: float = 0.0) -> Clips:
        """`count` x `each` windows, `each` of one layout (different layouts as long as there are enough), `more` further rows.

        A share `surprising` of them is drawn by surprise (`prefer`).  Windows of one layout follow each other.
        """
        layouts = self._draw_layouts(random, count)
        low, high = self._bounds[layouts].T[..., None]
        chance = random.random((count, each))
        chosen = low + (chance * (high - low)).astype(np.int64)
        if surprising and self._cumulated is not None:
            below, above = self._cumulated[low], self._cumulated[high]
            preferred = np.searchsorted(self._cumulated, below + chance * (above - below), "right") - 1
            chosen = np.where(random.random((count, each)) < surprising, np.clip(preferred, low, high - 1), chosen)
        rows = self._more(random, np.repeat(layouts, each), more)
        return self.clips(self.starts[chosen.ravel()], rows)

    def clips(self, starts: np.ndarray, more: np.ndarray | None = None) -> Clips:
        """The windows whose present is at rows `starts` [n]."""
        data = self.data
        future = starts[:, None] + np.arange(1, self.horizon + 1)
        return Clips(
            rows=np.concatenate([data.history(starts, self.length), future], 1),
            past=torch.from_numpy(data.past_actions(starts, self.length)),
            actions=torch.from_numpy(data.take("action", future - 1)),
            more=np.zeros((len(starts), 0), np.int64) if more is None else more,
            layouts=data.layout[starts],
        )

    def some(self, random: np.random.Generator, most: int) -> np.ndarray:
        """At most `most` of the starts, spread over the layouts."""
        return self.starts if len(self) <= most else np.sort(random.choice(self.starts, most, replace=False))

    def _draw_layouts(self, random: np.random.Generator, count: int) -> np.ndarray:
        known = len(self.layouts)
        if known == 1:
            return np.zeros(count, np.int64)
        return random.choice(known, count, replace=known < count)

    def _more(self, random: np.random.Generator, layouts: np.ndarray, more: int) -> np.ndarray:
        low, high = self._row_bounds[layouts].T[..., None]
        return self.rows[low + (random.random((len(layouts), more)) * (high - low)).astype(np.int64)]


class Frames:
    """The images of a data set as tensors on a device.

    A GPU keeps all of them from the first time on, where they take at most half of its free memory: no step then waits for a
    disk.  Otherwise, and on a CPU, they are read when they are asked for.
    """

    def __init__(self, data: FrameData, device: str | torch.device = "cpu"):
        self.data, self.device = data, torch.device(device)
        self._kept: Tensor | None = None
        self._keep = self._fits(data.columns["image"].nbytes)
        self.kept_tokens: KeptTokens | None = None
        """Where a frozen encoder is trained on: its tokens."""

    def __call__(self, rows: np.ndarray) -> Tensor:
        """The images of `rows` (any shape), uint8 [..., 64, 64, 3]."""
        if self._keep:
            if self._kept is None:
                self._kept = self._all()
            return self._kept[devices.move(torch.from_numpy(rows), self.device)]
        return devices.move(torch.from_numpy(self.data.take("image", rows)), self.device)

    def tokens(self, encode: Callable[[Tensor], Tensor], rows: np.ndarray) -> Tensor:
        """What `encode` (images [n, h, w, 3] -> [n, T, D]) makes of the images of `rows` (any shape), or what is kept of it."""
        if self.kept_tokens is not None:
            return self.kept_tokens.take(rows)
        return encode(self(rows).flatten(0, rows.ndim - 1)).unflatten(0, rows.shape)

    def _fits(self, size: int) -> bool:
        return 2 * size <= devices.free(self.device)

    def _all(self) -> Tensor:
        images = self.data.columns["image"]
        kept = torch.empty(images.shape, dtype=torch.uint8, device=self.device)
        for first in range(0, len(images), UPLOAD):
            kept[first : first + UPLOAD] = torch.from_numpy(np.array(images[first : first + UPLOAD]))
        return kept
