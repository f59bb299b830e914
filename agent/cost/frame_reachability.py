"""Task objective: how many steps it still takes to where the goal's image was seen, round walls.  Learned offline, on images.

    energy[h] = scale * d(z[h], g | map)            steps; the caller averages over the whole trajectory

z are the dynamic tokens that the world model imagines, g those of the goal image, the map the tokens of the present observation
that stay as they are.  Map and goal are read once per state, whatever the number of candidates and iterations.  As the mean
over the trajectory it is the cost-to-go that the last step alone would let a robot put off (eb_jepa's ablation).

The weights, `reachability.safetensors`, stand in the folder of the model whose representations they were trained on and are
good for no other.  No torch here: states may be NumPy arrays or tensors on any device.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from objective_agent import weights
from objective_agent.config import RobotParameters, Strict, validate
from objective_agent.cost.frame_quasimetric import FrameQuasimetric, FrameQuasimetricShape
from objective_agent.types import Array, ConfigurationError, Goal, InputError, Trajectory, array_namespace

PART = "reachability"
REMEDY = "train the model again, with reachability: objective-agent train"


class FrameHead:
    """The trained head of the frame model in `folder`, on any kind of array; `spread`: root mean square deviation of a feature.

    ConfigurationError when there is none, it is damaged, or it was trained for another encoder.
    """

    def __init__(self, folder: Path):
        card = weights.read_card(folder, kind=weights.FRAMES)
        about = card.get(PART)
        if PART not in card["sha256"] or not isinstance(about, dict):
            raise ConfigurationError(f"{folder}: the model has no {PART} head for images; {REMEDY}")
        if about.get("encoder", card["sha256"].get("encoder")) != card["sha256"].get("encoder"):
            raise ConfigurationError(
                f"{folder}: its {PART} head was trained for encoder {str(about.get('encoder'))[:12]}, the model has "
                f"{str(card['sha256'].get('encoder'))[:12]}; {REMEDY}"
            )
        arrays, settings, self.model = weights.read_weights(folder, PART, card)
        self.shape = validate(FrameQuasimetricShape, settings, f"{folder}: {PART}")
        self.spread = float(about.get("spread") or 1.0)
        self._arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
        self._made: dict[object, FrameQuasimetric] = {}
        self.metric(np.zeros(1, np.float32))  # checks the shapes

    def metric(self, like: Array) -> FrameQuasimetric:
        """The weights as the kind of array that `like` is, where it is."""
        xp = array_namespace(like)
        key = None if xp is np else like.device
        if key not in self._made:
            arrays = self._arrays
            if xp is not np:
                arrays = {name: xp.as_tensor(array, device=like.device) for name, array in arrays.items()}
            self._made[key] = FrameQuasimetric(self.shape, arrays)
        return self._made[key]


class FrameReachability:
    """`energy(trajectory, goal)` [B, N, K, H], steps; `steps(state, goal)` [B]."""

    needs = "representation"

    class Config(Strict):
        model: str = Field(min_length=1, description="folder of the trained model")
        scale: float = Field(1.0, gt=0, le=1000, description="energy of one step of distance")

    def __init__(self, config: Config, robot: RobotParameters):
        self._config = config
        self.head = FrameHead(weights.find_model(config.model))
        self._read: tuple | None = None

    def steps(self, state: Array, goal: Array) -> Array:
        """How many steps from each state [B, T, D] (newest frame last) to each goal [B, dynamic or T, D]: [B], >= 0."""
        context, end = self._begin(state, goal)
        metric, shape = self.head.metric(state), self.head.shape
        newest = state[:, -(shape.dynamic + shape.places) :][:, None, : shape.dynamic]
        return metric.distance(metric.embed(newest, context), end)[:, 0]

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        moments, shape = trajectory.representations, self.head.shape
        if moments is None or goal.representation is None:
            missing = "the world model gives no representations" if moments is None else "the goal has no representation"
            raise InputError(f"objective frame_reachability: {missing}; it is for goal images, with a learned world model")
        if tuple(moments.shape[-2:]) != (shape.dynamic, shape.features):
            raise InputError(
                f"objective frame_reachability: imagined are {tuple(moments.shape[-2:])} [T, D], the head reads "
                f"{(shape.dynamic, shape.features)}; take the world model of the same folder"
            )
        metric = self.head.metric(moments)
        context, end = self._begin(trajectory.state.representation, goal.representation)
        many = moments.reshape(len(moments), -1, shape.dynamic, shape.features)
        return self._config.scale * metric.distance(metric.embed(many, context), end).reshape(moments.shape[:-2])

    def _begin(self, state: Array, goal: Array) -> tuple:
        """(context of the map, embedding of the goal [B, 1, E]).  Kept for the next call: a search asks with the same.

        `state` [B, W * T, D]: the newest frame last, its map behind its dynamic tokens.
        """
        if self._read is None or self._read[0] is not state or self._read[1] is not goal:
            shape = self.head.shape
            if state.shape[1] < shape.dynamic + shape.places or goal.shape[1] < shape.dynamic:
                raise InputError(
                    f"objective frame_reachability: state {tuple(state.shape)}, goal {tuple(goal.shape)} have too few tokens: "
                    f"the head reads {shape.dynamic} and a map of {shape.places}; encode both with the model that drives"
                )
            metric = self.head.metric(goal)
            context = metric.context(state[:, -shape.places :] if shape.places else None)
            self._read = (state, goal, (context, metric.embed(goal[:, None, : shape.dynamic], context)))
        return self._read[2]
