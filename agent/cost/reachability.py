"""Task objective: how many steps it still takes to what the goal shows.  Learned offline, by hindsight, on representations.

    energy[h] = scale * d(z[h], g | g)            steps -> metres; the caller averages over the whole trajectory

Euclidean distance in representation space says how alike two views are; what planning needs is how far apart they are for a
robot that has to go round things and can't turn its head: a goal-conditioned quasimetric (`quasimetric.py`).  As the sum over
the trajectory it is the cost-to-go that the last step alone would let a robot put off (eb_jepa's ablation).

The weights stand in the model's folder (`trained_head.py`); `objective-agent train --head reachability` makes them.  No torch
here: states may be NumPy arrays (the cost node) or tensors on any device (the planner).
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from objective_agent import weights
from objective_agent.config import RobotParameters, Strict
from objective_agent.cost.quasimetric import Quasimetric, QuasimetricShape
from objective_agent.cost.trained_head import PART, TrainedHead
from objective_agent.types import Array, Goal, InputError, Trajectory


class Head(TrainedHead[QuasimetricShape, Quasimetric]):
    """The trained head of the model in `folder`: `metric` with its `lift`, and `distance`, on any kind of array."""

    def __init__(self, folder: Path):
        super().__init__(folder, QuasimetricShape, Quasimetric)
        self.reached = float(self.about.get("reached", 5.0))
        """Distance at which a goal counts as reached, steps; calibrated on held-out worlds."""

    def check(self, moments: Array, goal: Array, who: str) -> None:
        """InputError when representations or goal are missing or of another model's size."""
        if moments is None or goal is None:
            missing = "the world model gives no representations" if moments is None else "the goal has no representation"
            raise InputError(f"objective {who}: {missing}; use it for goal images, with a learned world model")
        for name, value in (("representations", moments), ("goal representation", goal)):
            if value.shape[-1] != self.shape.features:
                raise InputError(
                    f"objective {who}: {name} have {value.shape[-1]} features, the model's {self.shape.features}; "
                    "the goal image must be encoded by the model that drives"
                )

    def distance(self, moments: Array, goal: Array) -> Array:
        """Steps [B, ...] from moments [B, ..., D] to goals [B, D]; each goal's share of the work is done once."""
        metric = self.metric(moments)
        context = metric.context(goal)
        many = moments.reshape(len(goal), -1, moments.shape[-1])
        end = metric.embed(goal[:, None], tuple(part[:, None] for part in context))
        return metric.distance(metric.embed_many(many, context), end).reshape(moments.shape[:-1])


class Reachability:
    """`energy(trajectory, goal)` [B, N, K, H], metres; `steps(state, goal)` [B]."""

    needs = "representation"
    """What a goal must have for this objective to say anything."""

    class Config(Strict):
        model: str = Field("models/apartment", min_length=1, description="folder of the trained model")
        scale: float = Field(0.1, gt=0, le=10, description="energy of one step of distance, about the metres driven in it")

    def __init__(self, config: Config, robot: RobotParameters):
        self._config = config
        self.head = Head(weights.find_model(config.model))
        self.reached = self.head.reached
        """Steps at which a goal counts as reached."""

    def steps(self, state: Array, goal: Array) -> Array:
        """How many steps of 0.2 s from each state [B, T, D] to each goal [B, T, D]: [B], >= 0."""
        self.head.check(state, goal, PART)
        return self.head.distance(state[:, 0], goal[:, 0])

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        self.head.check(trajectory.representations, goal.representation, PART)
        moments = trajectory.representations[..., 0, :]
        return self._config.scale * self.head.distance(moments, goal.representation[:, 0])
