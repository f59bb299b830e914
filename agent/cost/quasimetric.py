"""A goal-conditioned quasimetric on representations: how many steps from one moment to another, on NumPy arrays and tensors.

    d(a, b | g) = mean over groups of  max over the group of  relu( f(a; g)_i - f(b; g)_i )         steps, >= 0

A quasimetric is what a cost-to-go is: d(a, a) = 0, d(a, c) <= d(a, b) + d(b, c), and going there need not cost what coming back
costs (quasimetric reinforcement learning, Wang et al. 2023, arXiv 2304.01203).  All three hold by construction, whatever the
weights.  In a home that was never seen only the goal itself says where things are, so the embedding f reads a moment `a` in
the light of the goal g: a bilinear layer sees what both have in common.  With the goal fixed, as it is while one plans, d is
a quasimetric on moments.

The goal is a representation made with the camera alone, standing; `lift` is what the other senses would have said there, as far
as a linear map can tell.

Weights (arrays by name): see `QuasimetricShape.shapes`.  The same function serves training, the planner on any device and the
cost node without torch.
"""

from __future__ import annotations

from collections.abc import Mapping

from objective_agent.config import Strict
from objective_agent.types import Array, InputError, array_namespace


class QuasimetricShape(Strict):
    """What the weights' shapes depend on; stored with them."""

    features: int = 128
    hidden: int = 128
    groups: int = 8
    size: int = 8
    """Components per group."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each array -> its shape."""
        d, h, e = self.features, self.hidden, self.groups * self.size
        return {
            "mean": (d,),
            "scale": (d,),
            "moment.weight": (d, h),
            "goal.weight": (d, h),
            "common.weight": (d, h),
            "first.bias": (h,),
            "second.weight": (h, h),
            "second.gain": (h, h),
            "second.shift": (h, h),
            "second.bias": (h,),
            "out.weight": (h, e),
            "out.bias": (e,),
            "lift.weight": (d, d),
            "lift.bias": (d,),
        }


class Quasimetric:
    """Pure functions of `weights`; `weights` and what they are applied to are of one kind (NumPy, or torch on one device)."""

    def __init__(self, shape: QuasimetricShape, weights: Mapping[str, Array]):
        wrong = [name for name, size in shape.shapes().items() if name not in weights or tuple(weights[name].shape) != size]
        if wrong:
            raise InputError(f"reachability: weights {', '.join(wrong)} are missing or of another size than their description")
        self.shape, self.weights = shape, weights

    def context(self, goal: Array) -> tuple[Array, Array, Array]:
        """What the goal [..., D] contributes to every embedding: computed once per goal."""
        w = self.weights
        goal = (goal - w["mean"]) / w["scale"]
        hidden = _relu(goal @ w["goal.weight"] + w["first.bias"])
        return goal, hidden, goal @ w["common.weight"]

    def embed(self, moment: Array, context: tuple[Array, Array, Array]) -> Array:
        """f [..., groups * size] of moments [..., D] under contexts of matching leading axes."""
        hidden = self.hidden(moment, context)
        return hidden @ self.weights["out.weight"] + self.weights["out.bias"]

    def embed_many(self, moments: Array, context: tuple[Array, Array, Array]) -> Array:
        """`embed` of many moments [B, M, D] under one context each [B, ...]: the goal's part folded into the weights."""
        w = self.weights
        _, goal_hidden, common = context
        first = (w["moment.weight"] + w["common.weight"] * common[:, None]) / w["scale"][:, None]
        bias = (goal_hidden - w["mean"] @ first)[:, None]
        second = w["second.weight"] * (1 + goal_hidden @ w["second.gain"])[:, None]
        shift = (goal_hidden @ w["second.shift"] + w["second.bias"])[:, None]
        hidden = _relu(_relu(moments @ first + bias) @ second + shift)
        return hidden @ w["out.weight"] + w["out.bias"]

    def hidden(self, moment: Array, context: tuple[Array, Array, Array]) -> Array:
        """The layer below the embedding, [..., hidden]."""
        w = self.weights
        _, goal_hidden, common = context
        moment = (moment - w["mean"]) / w["scale"]
        both = _relu(moment @ w["moment.weight"] + goal_hidden + common * (moment @ w["common.weight"]))
        gain, shift = goal_hidden @ w["second.gain"], goal_hidden @ w["second.shift"]
        return _relu((both @ w["second.weight"]) * (1 + gain) + shift + w["second.bias"])

    def distance(self, start: Array, end: Array) -> Array:
        """Steps [...] from embedding `start` to embedding `end`, both [..., groups * size]."""
        ahead = _relu(start - end)
        ahead = ahead.reshape(*ahead.shape[:-1], self.shape.groups, self.shape.size)
        xp = array_namespace(ahead)
        return (ahead.amax(-1) if hasattr(ahead, "amax") else xp.max(ahead, -1)).mean(-1)

    def steps(self, moment: Array, goal: Array) -> Array:
        """Steps [...] from moments [..., D] to goals [..., D], each in the light of its own goal."""
        context = self.context(goal)
        return self.distance(self.embed(moment, context), self.embed(goal, context))

    def lift(self, goal: Array) -> Array:
        """[..., D]: the goal as all senses would have shown it."""
        return goal @ self.weights["lift.weight"] + self.weights["lift.bias"]


def _relu(values: Array) -> Array:
    return array_namespace(values).clip(values, 0, None)
