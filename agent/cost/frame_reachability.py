"""Task objective: how many steps it still takes to where the goal's image was seen, round walls.  Learned offline, on images.

    energy[h] = scale * d(z[h], g | map)            steps; the caller averages over the whole trajectory

z are the dynamic tokens that the world model imagines, g those of the goal image, the map the tokens of the present observation
that stay as they are.  Map and goal are read once per state, whatever the number of candidates and iterations.  As the mean
over the trajectory it is the cost-to-go that the last step alone would let a robot put off (eb_jepa's ablation).

The weights stand in the model's folder (`trained_head.py`).  No torch here: states may be NumPy arrays or tensors.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from objective_agent import weights
from objective_agent.config import RobotParameters, Strict
from objective_agent.cost.frame_graph import quasimetric
from objective_agent.cost.frame_quasimetric import FrameQuasimetric, FrameQuasimetricShape
from objective_agent.cost.trained_head import TrainedHead
from objective_agent.types import Array, Goal, InputError, Trajectory


class FrameHead(TrainedHead[FrameQuasimetricShape, FrameQuasimetric]):
    """The trained head of the frame model in `folder`; `spread`: root mean square deviation of a representation's feature."""

    def __init__(self, folder: Path):
        super().__init__(folder, FrameQuasimetricShape, quasimetric, kind=weights.FRAMES)
        self.spread = float(self.about.get("spread") or 1.0)


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
