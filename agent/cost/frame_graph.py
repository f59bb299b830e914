"""A goal-conditioned quasimetric that counts ways on the map: its places are the nodes of a graph, what a hop costs is learned.

    c[p, k] = exp( convolutions of the map )[p, k]                  steps per hop from place p to its neighbour k of 3 x 3
    D[p, q] = the cheapest way from p to q                          Floyd-Warshall: value iteration for all goals
    f(a)[q] = min over the neighbours n of a's place of  |a - n| c[p(a), n] + D[n, q]
    d(a, b) = max over q of  relu( f(a)[q] - f(b)[q] )              steps, >= 0

f(a)[q] is what it costs from a to landmark q, so by the triangle inequality d is the best bound that landmarks give (ALT,
Goldberg and Harrelson 2005), exact where b lies on the way to one.  d is a quasimetric whatever the weights.  A network that
has to tell in a few layers how far two places of an unseen maze are apart learns straight lines; here it learns only what
stands between neighbours; the ways follow by computing, as in value iteration networks (Tamar et al. 2016, arXiv 1602.02867).

The price: ways are sought among the places of the map, so what is thinner than a place is seen only where it lies between two.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from objective_agent.cost.frame_quasimetric import SCALE, FrameQuasimetric, FrameQuasimetricShape, _silu, convolution
from objective_agent.types import Array, array_namespace

FAR = 1e3
"""Steps of a hop that leaves the map."""

MOST = 4.0
"""Largest logarithm of a hop's cost: 55 steps."""

AROUND = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]


def quasimetric(shape: FrameQuasimetricShape, weights: Mapping[str, Array]) -> FrameQuasimetric:
    """The quasimetric of `shape.kind`."""
    return (GraphQuasimetric if shape.kind == "graph" else FrameQuasimetric)(shape, weights)


class GraphQuasimetric(FrameQuasimetric):
    """Kind `graph` of a `FrameQuasimetric`; its context is (costs [B, P, 9], cheapest ways [B, P, P])."""

    def __init__(self, shape: FrameQuasimetricShape, weights: Mapping[str, Array]):
        super().__init__(shape, weights)
        like = weights["edges.weight"]
        near, inside, pick = neighbours(shape.side)
        centres = (
            np.stack([np.arange(shape.places) % shape.side, np.arange(shape.places) // shape.side], -1) + 0.5
        ) / shape.side
        self._near, self._pick = _as(near, like), _as(pick, like)
        self._beyond = _as(np.where(inside, 0, FAR).astype(np.float32), like)
        self._centres = _as(centres.astype(np.float32), like)
        self._lengths = _as(np.hypot(*np.array(AROUND).T).astype(np.float32), like)

    def context(self, places: Array | None) -> tuple[Array, ...]:
        """What a step costs round each place of maps [B, P, D], and the cheapest ways between all places."""
        x, w = self.features(places), self.weights
        x = x.reshape(len(x), self.shape.places, -1)
        xp = array_namespace(x)
        cost = xp.exp(MOST * xp.tanh((x @ w["edges.weight"] + w["edges.bias"]) / MOST))
        return cost, self.ways(cost)

    def features(self, places: Array | None) -> Array:
        """As the base's, but smooth: rectifiers were seen to die of the costs' steep gradients, and the map with them."""
        x = self._map(places)
        for name in ("conv1", "conv2"):
            x = _silu(convolution(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]))
        return x

    def ways(self, cost: Array) -> Array:
        """D [B, P, P]: the cheapest ways from each place to each, from costs per hop [B, P, 9]."""
        xp = array_namespace(cost)
        hops = cost * self._lengths
        rest = xp.stack([0 * hops[..., 0] + FAR, 0 * hops[..., 0]], -1)  # no neighbour; the place itself
        found = _take(xp.concatenate([hops, rest], -1), self._pick[None], -1)
        for via in range(self.shape.places):
            found = xp.minimum(found, found[:, :, via : via + 1] + found[:, via : via + 1])
        return found

    def embed(self, moments: Array, context: tuple[Array, ...] | None) -> Array:
        """f [B, M, P] of agent tokens [B, M, 1, D], M under each context, in parts of SCALE."""
        cost, ways = context
        batch, many = moments.shape[:2]
        side, places = self.shape.side, self.shape.places
        at = self.where(moments.reshape(batch, many, self.shape.features))
        xp = array_namespace(at)
        cell = xp.clip(xp.floor(at * side), 0, side - 1)
        cell = cell.astype(np.int64) if xp is np else cell.long()
        here = cell[..., 1] * side + cell[..., 0]
        near = self._near[here]  # [B, M, 9]
        length = side * xp.sqrt(((at[:, :, None] - self._centres[near]) ** 2).sum(-1) + 1e-9)
        first = length * _take(cost, here[..., None], 1) + self._beyond[here]
        onward = _take(ways, near.reshape(batch, -1, 1), 1).reshape(batch, many, 9, places)
        total = first[..., None] + onward
        return (total.min(2) if xp is np else total.amin(2)) / SCALE


@lru_cache(maxsize=4)
def neighbours(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a side x side grid, row by row: each place's 3 x 3 neighbours [P, 9] (itself for those outside), whether they are
    inside [P, 9], and which of its neighbours a place is to another [P, P] (9: none, 10: the place itself)."""
    row, column = np.divmod(np.arange(side**2), side)
    rows = row[:, None] + np.array(AROUND)[:, 0]
    columns = column[:, None] + np.array(AROUND)[:, 1]
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    near = np.where(inside, rows * side + columns, np.arange(side**2)[:, None])
    pick = np.full((side**2, side**2), 9)
    place, which = np.nonzero(inside)
    pick[place, near[place, which]] = which
    np.fill_diagonal(pick, 10)
    return near, inside, pick


def _as(values: np.ndarray, like: Array) -> Array:
    """`values` as the kind of array that `like` is, where it is."""
    xp = array_namespace(like)
    return values if xp is np else xp.as_tensor(values, device=like.device)


def _take(values: Array, index: Array, axis: int) -> Array:
    xp = array_namespace(values)
    return np.take_along_axis(values, index, axis) if xp is np else xp.take_along_dim(values, index, axis)
