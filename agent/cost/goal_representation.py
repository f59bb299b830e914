"""Task objective: see what the goal shows.  Distance in representation space.

    energy = scale * | z - lift(g) | / sqrt(D)          root mean square over the features; the caller averages over all steps

The goal comes as a picture alone; `lift` is what the other senses would have said there, as far as a linear map learned from
the same recordings can tell (where the model has a reachability head; otherwise the goal stays as it is).  Alone it is the
simplest energy that a goal image has, blind for what stands between (DINO-WM, eb_jepa); with `reachability` it draws the last
decimetres.
"""

from __future__ import annotations

from pydantic import Field

from objective_agent import weights
from objective_agent.config import RobotParameters, Strict
from objective_agent.cost.reachability import Head
from objective_agent.cost.trained_head import PART
from objective_agent.types import Array, Goal, InputError, Trajectory, array_namespace


class GoalRepresentation:
    """`energy(trajectory, goal)` [B, N, K, H]; InputError when goal or trajectory have no representation, or unlike ones."""

    needs = "representation"

    class Config(Strict):
        model: str = Field("models/apartment", description="folder of the trained model; empty: goals as they are")
        scale: float = Field(1.0, gt=0, le=100, description="energy of a root mean square difference of 1")

    def __init__(self, config: Config, robot: RobotParameters):
        self._config = config
        folder = weights.find_model(config.model) if config.model else None
        self._head = Head(folder) if folder is not None and PART in weights.read_card(folder)["sha256"] else None

    def energy(self, trajectory: Trajectory, goal: Goal) -> Array:
        moments, wanted = trajectory.representations, goal.representation
        if moments is None or wanted is None or moments.shape[-2:] != wanted.shape[-2:]:
            shapes = [None if value is None else tuple(value.shape[-2:]) for value in (moments, wanted)]
            raise InputError(
                f"objective goal_representation: representations {shapes[0]}, goal {shapes[1]} [T, D]; it is for goal images, "
                "encoded by the model that drives"
            )
        if self._head is not None:
            wanted = self._head.metric(wanted).lift(wanted)
        xp = array_namespace(moments)
        difference = moments - wanted[:, None, None, None]
        return self._config.scale * xp.sqrt((difference**2).mean((-2, -1)))
