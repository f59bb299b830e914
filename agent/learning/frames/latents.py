"""Representations of a whole data set, made once by a frozen encoder: what the reachability head learns from.

The dynamic tokens are kept for every row, the map only as a few frames of each layout show it: the scene stays while the agent
moves, and a head that hears it from several frames learns to overlook what the agent hides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from objective_agent import devices
from objective_agent.learning.batches import generator
from objective_agent.learning.frames.batches import Frames
from objective_agent.learning.frames.dataset import FrameData
from objective_agent.learning.frames.where import fit_where
from objective_agent.types import InputError

CHUNK = 256
MAP_FRAMES = 3
WHERE_FRAMES, WHERE_LAYOUTS = 24, 160
"""For the read-out of the agent's place: so many frames of so many layouts."""


@dataclass
class Latents:
    """Representations of a data set's rows, as a frozen encoder gives them.

    `tokens` [n, dynamic, D] in the order of the rows; `maps` [layouts, frames, P, D], the map as seen in a few frames of each
    layout, or None; `layout` [n] indexes them (0 .. layouts - 1); `follows` [n]: the next row is the next step of its episode.
    `where`: (weight [D, 2], bias [2]) of the read-out of the agent's place (`where.fit_where`); None: learned from nothing.
    """

    tokens: Tensor
    layout: np.ndarray
    follows: np.ndarray
    maps: Tensor | None = None
    where: tuple[Tensor, Tensor] | None = None

    def __post_init__(self):
        if self.tokens.ndim != 3 or not len(self.tokens) == len(self.layout) == len(self.follows):
            shapes = tuple(self.tokens.shape), np.shape(self.layout), np.shape(self.follows)
            raise InputError(f"latents: tokens, layout, follows are {shapes}; need [n, dynamic, D], [n], [n]")
        if not bool(torch.isfinite(self.tokens[:: max(1, len(self.tokens) // 4096)]).all()):
            raise InputError("latents: tokens have NaN or infinite values; the encoder is broken: train it again")

    @property
    def spread(self) -> float:
        """Root mean square deviation of a token's features: what is far in representation space."""
        sample = self.tokens[:: max(1, len(self.tokens) // 20_000)].float()
        return float((sample - sample.mean(0)).square().mean().sqrt())

    def take(self, rows: np.ndarray) -> Tensor:
        """The tokens [..., dynamic, D] of `rows` (any shape), float32."""
        return self.tokens[devices.move(torch.from_numpy(rows), self.tokens.device)].float()


def latents_of(
    encoder: nn.Module,
    frames: Frames,
    split: str = "train",
    most_rows: int = 150_000,
    seed: int = 0,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Latents:
    """What `encoder` (images -> [n, T, D]) makes of whole episodes, about `most_rows` rows at most, on their device."""
    data = frames.data
    rows = choose(data, split, most_rows, seed)
    follows = np.append((rows[1:] == rows[:-1] + 1) & (data.episode[rows[1:]] == data.episode[rows[:-1]]), False)
    layouts, layout = np.unique(data.layout[rows], return_inverse=True)
    agent = getattr(encoder, "agent", encoder)  # kind cnn_map can leave the scene out
    encoder.eval()
    with torch.inference_mode():
        tokens = None
        for first in range(0, len(rows), CHUNK):
            found = frames.tokens(agent, rows[first : first + CHUNK])[:, : encoder.dynamic]
            if tokens is None:
                kind = torch.float16 if found.shape[1] > 1 else torch.float32
                tokens = torch.empty(len(rows), *found.shape[1:], dtype=kind, device=found.device)
            tokens[first : first + len(found)] = found
            report(min(first + CHUNK, len(rows)), len(rows))
        maps = None
        if encoder.tokens > encoder.dynamic:
            maps = scenes(encoder, frames, rows, layout, len(layouts), seed)
    where = None
    if maps is not None:
        some = where_rows(layout, generator(seed, "where", 0))
        where = fit_where(tokens[:, 0].cpu()[torch.from_numpy(some)], data.take("image", rows[some]), layout[some])
    return Latents(tokens.clone(), layout, follows, None if maps is None else maps.clone(), where)


def choose(data: FrameData, split: str, most: int, seed: int) -> np.ndarray:
    """Rows of whole episodes of a split, ascending; where there are too many, episodes are drawn."""
    rows = np.flatnonzero(data.mask(split))
    if not len(rows):
        raise InputError(f"{data.path}: has no rows of split {split}; collect more")
    if len(rows) <= most:
        return rows
    episodes = np.unique(data.episode[rows])
    kept = generator(seed, "episodes", 0).permutation(episodes)[: max(1, int(len(episodes) * most / len(rows)))]
    return rows[np.isin(data.episode[rows], kept)]


def scenes(encoder: nn.Module, frames: Frames, rows: np.ndarray, layout: np.ndarray, layouts: int, seed: int) -> Tensor:
    """The map tokens [layouts, MAP_FRAMES, P, D] (float16) as some frames of each layout show them."""
    order = np.argsort(layout, kind="stable")
    counts = np.bincount(layout, minlength=layouts)
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    share = generator(seed, "maps", 0).random((layouts, MAP_FRAMES))
    chosen = rows[order[first[:, None] + (share * counts[:, None]).astype(np.int64)]].ravel()
    found = []
    for at in range(0, len(chosen), CHUNK):
        images = frames(chosen[at : at + CHUNK])
        found.append(encoder.scene(images) if hasattr(encoder, "scene") else encoder(images)[:, encoder.dynamic :])
    tokens = torch.cat(found).half()
    return tokens.view(layouts, MAP_FRAMES, *tokens.shape[1:])


def where_rows(layout: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Some rows of some layouts, enough of each that its median image shows the scene alone."""
    some = random.permutation(np.unique(layout))[:WHERE_LAYOUTS]
    parts = []
    for number in some:
        mine = np.flatnonzero(layout == number)
        most = WHERE_FRAMES * max(1, WHERE_LAYOUTS // len(some))
        parts.append(mine if len(mine) <= most else random.choice(mine, most, replace=False))
    return np.concatenate(parts)
