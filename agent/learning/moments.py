"""What a frozen model makes of recorded moments: the representations that a value head is trained on, all in memory.

The planner scores predicted representations, the cost node encoded ones; robots have a lidar, a camera or both; a goal comes
as a picture alone.  So every recorded moment is kept several times: encoded with each mix of senses, predicted for it from
earlier moments under the commands that were really sent, and as a goal: the camera's picture, a body that stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from objective_agent.learning.batches import frame_inputs
from objective_agent.learning.windows import Sequences
from objective_agent.perception.jepa_network import EncoderNetwork
from objective_agent.types import InputError, wrap_angle
from objective_agent.world_model.jepa_network import PredictorNetwork

VIEWS = ("all", "camera", "lidar")
PREDICTED = VIEWS[:2]
AHEAD = (1, 4, 8)
"""Steps of 0.2 s for which a kept moment was predicted."""

CHUNK = 512


@dataclass
class Moments:
    """Rows of a data set (whole episodes) as representations; `kinds` [V, N, D] float16, `known` [V, N], `goals` [N, D]."""

    kinds: Tensor
    known: np.ndarray
    goals: Tensor
    has_goal: np.ndarray
    pose: np.ndarray
    episode: np.ndarray
    world: np.ndarray
    rows: np.ndarray
    """Where each row stands in the data set."""

    def __post_init__(self):
        first = np.flatnonzero(np.diff(self.episode, prepend=-1))
        last = np.append(first[1:], len(self.episode))
        place = np.cumsum(np.diff(self.episode, prepend=-1) != 0) - 1
        self.first, self.last = first[place], last[place]
        """Of each row's episode: its first row, and the row after its last."""

    def relative(self, rows: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Pose [n, 3] by odometry of `rows` as seen from `goals`."""
        here, there = self.pose[rows].astype(float), self.pose[goals].astype(float)
        dx, dy = (here - there)[:, :2].T
        cos, sin = np.cos(there[:, 2]), np.sin(there[:, 2])
        return np.stack([cos * dx + sin * dy, cos * dy - sin * dx, wrap_angle(here[:, 2] - there[:, 2])], -1)


def episodes_of(data: Sequences, split: str, most: int) -> np.ndarray:
    """Rows (ascending) of whole episodes in the worlds of `split`: all, or every n-th: about `most` rows at most."""
    episode = np.asarray(data.columns["episode"])
    rows = np.flatnonzero(np.isin(data.world, data.worlds(split)))
    step = -(-len(rows) // most)
    if step > 1:
        numbers = np.unique(episode[rows])
        rows = rows[np.isin(episode[rows], numbers[::step])]
    return rows


def collect(
    encoder: EncoderNetwork,
    predictor: PredictorNetwork,
    data: Sequences,
    rows: np.ndarray,
    report: Callable[[float], None] | None = None,
) -> Moments:
    """The moments in `rows` (whole episodes).  InputError when none has a picture to serve as a goal."""
    has_image = np.asarray(data.columns["has_image"])[rows]
    if not has_image.any():
        raise InputError(f"{data.path}: has no camera images, so no goal images can be learned from it; record the camera")
    size, count = encoder.shape.features, len(rows)
    encoded = {view: torch.zeros(count, size) for view in VIEWS}
    goals = torch.zeros(count, size)
    with torch.inference_mode():
        for begin in range(0, count, CHUNK):
            chunk = slice(begin, min(begin + CHUNK, count))
            inputs, _ = frame_inputs(data, rows[chunk])
            for view, values in encoder.views(inputs).items():
                (goals if view == "goal" else encoded[view])[chunk] = values
            if report is not None:
                report(chunk.stop / count)
        kinds = [*encoded.values()]
        has_scan = np.asarray(data.columns["has_scan"])[rows]
        known = [has_image | has_scan, has_image, has_scan]
        actions = torch.from_numpy(data.take("action", rows).astype(np.float32))
        episode = np.asarray(data.columns["episode"])[rows]
        for view, begins in zip(PREDICTED, list(known), strict=False):
            predicted, whole = _predict(predictor, encoded[view], actions, rows, episode)
            for ahead in AHEAD:
                kinds.append(predicted[ahead])
                known.append(whole[ahead] & np.roll(begins, ahead))
    return Moments(
        torch.stack([kind.half() for kind in kinds]),
        np.stack(known),
        goals.half(),
        has_image,
        data.take("pose", rows).astype(np.float32),
        episode,
        data.world[rows],
        rows,
    )


def _predict(
    predictor: PredictorNetwork, encoded: Tensor, actions: Tensor, rows: np.ndarray, episode: np.ndarray
) -> tuple[dict[int, Tensor], dict[int, np.ndarray]]:
    """steps ahead -> (what was predicted so long before for each row [N, D], whether it could be [N])."""
    count, most = len(rows), max(AHEAD)
    found = {ahead: torch.zeros_like(encoded) for ahead in AHEAD}
    whole = {ahead: np.zeros(count, bool) for ahead in AHEAD}
    for begin in range(0, count - most, CHUNK):
        start = torch.arange(begin, min(begin + CHUNK, count - most))
        steps = actions[start[:, None] + torch.arange(most)]
        states = predictor.imagine(encoded[start], steps, 1)[0]
        for ahead in AHEAD:
            found[ahead][start + ahead] = states[ahead]
    for ahead in AHEAD:
        end = np.arange(ahead, count)
        whole[ahead][end] = (episode[end] == episode[end - ahead]) & (rows[end] - rows[end - ahead] == ahead)
        whole[ahead][count - most + ahead :] = False
    return found, whole


def pick(moments: Moments, kinds: Sequence[int] | np.ndarray, rows: np.ndarray) -> Tensor:
    """Representations [n, D] float32 of `rows`, the i-th as its `kinds[i]`."""
    return moments.kinds[torch.as_tensor(np.asarray(kinds)), torch.as_tensor(rows)].float()
