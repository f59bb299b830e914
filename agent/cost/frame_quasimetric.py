"""A goal-conditioned quasimetric on representations of single images, in the light of a map where there is one.

    d(a, b | m) = 10 * mean over groups of  max over the group of  relu( f(a; m)_i - f(b; m)_i )         steps, >= 0

d(a, a) = 0, d(a, c) <= d(a, b) + d(b, c), and coming back need not cost what going cost: all by construction, whatever the
weights (quasimetric reinforcement learning, Wang et al. 2023, arXiv 2304.01203).  The embedding f reads the `dynamic` tokens
of a moment.  Where the other tokens are a map of the scene (a square of P places, row by row), f reads it twice:

    place    3 x 3 glimpses round where the agent is, a linear function of its token: what stands here
    whole    the map pooled to one vector that scales and shifts f's hidden layers (FiLM, Perez et al. 2018, arXiv
             1709.07871): how the rooms hang together

Without the map a distance learned on many layouts is that of none of them.  Weights (arrays by name): see
`FrameQuasimetricShape.shapes`.  The same functions serve training, the planner on any device and processes without torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from objective_agent.config import Strict
from objective_agent.types import Array, InputError, array_namespace

SCALE = 10.0
"""Brings embeddings of about unit size to distances of some ten steps."""

POOLED = 256


class FrameQuasimetricShape(Strict):
    """What the weights' shapes depend on; stored with them."""

    kind: Literal["embedding", "graph"] = Field("embedding", description="graph: frame_graph.py, for maps alone")
    features: int = Field(128, ge=1, le=4096, description="of a token")
    dynamic: int = Field(1, ge=1, le=4096, description="tokens that change as the agent moves")
    places: int = Field(0, ge=0, le=4096, description="tokens of the map, a square number; 0: no map")
    hidden: int = Field(256, ge=8, le=4096)
    groups: int = Field(8, ge=1, le=64)
    size: int = Field(32, ge=1, le=256, description="components per group")
    token_size: int = Field(16, ge=1, le=256, description="components read of each token, where several are dynamic")
    channels: int = Field(48, ge=4, le=512, description="of the map's convolutions")
    rounds: int = Field(6, ge=0, le=64, description="times that places hear from their neighbours: how far routes are seen")
    glimpse: int = Field(24, ge=1, le=256, description="components read of each place near the agent")

    @model_validator(mode="after")
    def _square(self):
        if self.side**2 != self.places:
            raise ValueError(f"places = {self.places}: the tokens of a map must be a square number")
        if self.places and (self.dynamic != 1 or self.side < 2):
            raise ValueError("a map goes with one dynamic token, the agent's, and has at least 2 x 2 places")
        if self.kind == "graph" and not (self.places and self.groups == 1 and self.size == self.places):
            raise ValueError("kind graph needs a map, whose places are its 1 group of components: an encoder of kind cnn_map")
        return self

    @property
    def side(self) -> int:
        return math.isqrt(self.places)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each array -> its shape."""
        d, h, c, e = self.features, self.hidden, self.channels, self.groups * self.size
        if self.kind == "graph":
            convolutions = {"conv1.weight": (9 * d, c), "conv1.bias": (c,), "conv2.weight": (9 * c, c), "conv2.bias": (c,)}
            known = {"map.mean": (d,), "map.scale": (d,), "where.weight": (d, 2), "where.bias": (2,)}
            return known | convolutions | {"edges.weight": (c, 9), "edges.bias": (9,)}
        wide = d if self.dynamic == 1 else self.dynamic * self.token_size
        found: dict[str, tuple[int, ...]] = {"mean": (d,), "scale": (d,)}
        if self.dynamic > 1:
            found |= {"token.weight": (d, self.token_size), "token.bias": (self.token_size,)}
        for name, inputs in (("first", wide), ("second", h)):
            found |= {f"{name}.weight": (inputs, h), f"{name}.bias": (h,), f"{name}.gain": (h,), f"{name}.shift": (h,)}
        found |= {"out.weight": (h, e), "out.bias": (e,)}
        if self.places:
            half = (self.side + 1) // 2
            found |= {"map.mean": (d,), "map.scale": (d,), "where.weight": (d, 2), "where.bias": (2,)}
            for name, inputs in (("conv1", d), ("conv2", c), ("round", c), ("conv3", c)):
                found |= {f"{name}.weight": (9 * inputs, c), f"{name}.bias": (c,)}
            found |= {"round.gain": (c,), "round.shift": (c,)}
            found |= {"pool.weight": (half * half * c, POOLED), "pool.bias": (POOLED,)}
            found |= {"pool.mean": (POOLED,), "pool.scale": (POOLED,)}
            found |= {"film1.weight": (POOLED, 2 * h), "film1.bias": (2 * h,)}
            found |= {"film2.weight": (POOLED, 2 * h), "film2.bias": (2 * h,)}
            found |= {"read.weight": (c, self.glimpse), "read.bias": (self.glimpse,)}
            found |= {"offsets": (2, 3), "width": (1,), "place.weight": (9 * self.glimpse, h)}
        return found


class FrameQuasimetric:
    """Pure functions of `weights`; `weights` and what they are applied to are of one kind (NumPy, or torch on one device)."""

    def __init__(self, shape: FrameQuasimetricShape, weights: Mapping[str, Array]):
        wrong = [name for name, size in shape.shapes().items() if name not in weights or tuple(weights[name].shape) != size]
        if wrong:
            raise InputError(f"reachability: weights {', '.join(wrong)} are missing or of another size than their description")
        self.shape, self.weights = shape, weights

    def context(self, places: Array | None) -> tuple[Array, ...] | None:
        """What maps [B, P, D] contribute to every embedding: computed once per map.  None without a map."""
        return self.modulation(*self.look(places)) if self.shape.places else None

    def look(self, places: Array | None) -> tuple[Array, Array]:
        """(features [B, side, side, channels] of all places, the map as one vector [B, POOLED] before its normalisation)."""
        shape, w, x = self.shape, self.weights, self.features(places)
        for _ in range(shape.rounds):
            x = self._norm("round", x + _relu(convolution(x, w["round.weight"], w["round.bias"])))
        pooled = _relu(convolution(x, w["conv3.weight"], w["conv3.bias"], stride=2)).reshape(len(x), -1)
        return x, pooled @ w["pool.weight"] + w["pool.bias"]

    def features(self, places: Array | None) -> Array:
        """[B, side, side, channels]: what is told of each place of maps [B, P, D] by those around it."""
        x = self._map(places)
        for name in ("conv1", "conv2"):
            x = _relu(convolution(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"]))
        return x

    def _map(self, places: Array | None) -> Array:
        """Maps [B, P, D], normalised, as [B, side, side, D]."""
        shape, w = self.shape, self.weights
        if places is None or tuple(places.shape[1:]) != (shape.places, shape.features):
            found = None if places is None else tuple(places.shape)
            raise InputError(f"reachability: map {found}; need [B, {shape.places}, {shape.features}], as the encoder gives it")
        return ((places - w["map.mean"]) / w["map.scale"]).reshape(-1, shape.side, shape.side, shape.features)

    def modulation(self, x: Array, pooled: Array) -> tuple[Array, ...]:
        """The context of what `look` gave: gains and shifts of both layers, and what a glimpse can read of each place.

        Most of a map is the same in every layout; the mean over layouts is taken off, or it would drown what differs.
        """
        shape, w = self.shape, self.weights
        pooled = _silu((pooled - w["pool.mean"]) / w["pool.scale"])
        films = [(pooled @ w[f"{name}.weight"] + w[f"{name}.bias"])[:, None] for name in ("film1", "film2")]
        glimpsed = (x @ w["read.weight"] + w["read.bias"]).reshape(len(x), shape.places, shape.glimpse)
        return (*films, glimpsed)

    def embed(self, moments: Array, context: tuple[Array, ...] | None) -> Array:
        """f [B, M, groups * size] of the dynamic tokens of moments [B, M, dynamic, D], M under each context."""
        shape, w = self.shape, self.weights
        batch, many = moments.shape[:2]
        if shape.dynamic == 1:
            moments = moments.reshape(batch, many, shape.features)
            x = (moments - w["mean"]) / w["scale"]
        else:
            x = ((moments - w["mean"]) / w["scale"]) @ w["token.weight"] + w["token.bias"]
            x = x.reshape(batch, many, -1)
        hidden = x @ w["first.weight"] + w["first.bias"]
        if context is not None:
            hidden = hidden + self.glimpse(moments, context[2]) @ w["place.weight"]
        hidden = self._layer("first", hidden, None if context is None else context[0])
        hidden = hidden @ w["second.weight"] + w["second.bias"]
        hidden = self._layer("second", hidden, None if context is None else context[1])
        return hidden @ w["out.weight"] + w["out.bias"]

    def where(self, tokens: Array) -> Array:
        """Where on the map [..., 2] (x along a row, y down the rows, 0 to 1) the agent is, from its token [..., D]."""
        return tokens @ self.weights["where.weight"] + self.weights["where.bias"]

    def glimpse(self, tokens: Array, places: Array) -> Array:
        """What 3 x 3 soft glimpses round the agent read of `places` [B, P, glimpse]: [B, M, 9 * glimpse]."""
        w, side = self.weights, self.shape.side
        xp = array_namespace(tokens)
        centres = (xp.arange(side) + 0.5) / side
        centres = centres.to(tokens) if hasattr(tokens, "device") and xp is not np else centres.astype(tokens.dtype)
        looks = self.where(tokens)[..., None] + w["offsets"]  # [B, M, 2, 3]
        score = -((looks[..., None] - centres) ** 2) * xp.exp(-2 * w["width"]) / 2
        share = _softmax(score)  # [B, M, 2, 3, side]
        across, down = share[:, :, 0], share[:, :, 1]
        both = down[:, :, :, None, :, None] * across[:, :, None, :, None, :]
        read = both.reshape(len(tokens), -1, side * side) @ places
        return read.reshape(*tokens.shape[:2], -1)

    def distance(self, start: Array, end: Array) -> Array:
        """Steps [...] from embedding `start` to embedding `end`, both [..., groups * size]."""
        ahead = _relu(start - end)
        ahead = ahead.reshape(*ahead.shape[:-1], self.shape.groups, self.shape.size)
        return SCALE * (ahead.amax(-1) if hasattr(ahead, "amax") else ahead.max(-1)).mean(-1)

    def steps(self, moments: Array, goals: Array, places: Array | None = None) -> Array:
        """Steps [B, M] from moments [B, M, dynamic, D] to goals [B, G, dynamic, D], G = 1 or M, on maps [B, P, D]."""
        context = self.context(places)
        return self.distance(self.embed(moments, context), self.embed(goals, context))

    def _layer(self, name: str, hidden: Array, film: Array | None) -> Array:
        hidden = self._norm(name, hidden)
        if film is not None:
            middle = film.shape[-1] // 2
            hidden = hidden * (1 + film[..., :middle]) + film[..., middle:]
        return _silu(hidden)

    def _norm(self, name: str, values: Array) -> Array:
        gain, shift = self.weights[f"{name}.gain"], self.weights[f"{name}.shift"]
        xp = array_namespace(values)
        if xp is not np:
            return xp.nn.functional.layer_norm(values, values.shape[-1:], gain, shift)
        centred = values - values.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain + shift


def convolution(x: Array, weight: Array, bias: Array, stride: int = 1) -> Array:
    """3 x 3 convolution of x [B, h, w, C] with weight [9 C, out] (row, column, channel), zeros beyond the edge."""
    xp = array_namespace(x)
    channels = x.shape[-1]
    if xp is not np:
        kernel = weight.reshape(3, 3, channels, -1).permute(3, 2, 0, 1)
        return xp.nn.functional.conv2d(x.permute(0, 3, 1, 2), kernel, bias, stride, 1).permute(0, 2, 3, 1)
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    places = [(row, column) for row in range(3) for column in range(3)]
    around = [padded[:, row : row + height : stride, column : column + width : stride] for row, column in places]
    return np.concatenate(around, -1) @ weight + bias


def _relu(values: Array) -> Array:
    return array_namespace(values).clip(values, 0, None)


def _silu(values: Array) -> Array:
    xp = array_namespace(values)
    return xp.nn.functional.silu(values) if xp is not np else values / (1 + np.exp(-np.clip(values, -60, None)))


def _softmax(values: Array) -> Array:
    xp = array_namespace(values)
    if xp is not np:
        return xp.softmax(values, -1)
    risen = np.exp(values - values.max(-1, keepdims=True))
    return risen / risen.sum(-1, keepdims=True)
