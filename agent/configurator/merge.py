"""Configurator "merge": a task and every module's parameters -> one numbered immutable snapshot.

The architecture's configurator sets all other modules up for the task at hand.  Here it overlays the task's weights on the
cost module's, picks the tolerances and who acts (Mode-1 or Mode-2), watches whether the goal is reached, and gives the result a
number.  Nothing it can be told loosens a guardrail: `speed_scale`, `extra_margin`, `guardrail_quantile` of a task only tighten,
and no guardrail has a weight.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydantic import Field

from objective_agent import plugins, weights
from objective_agent.config import (
    ActorParameters,
    Configuration,
    ConfiguratorParameters,
    CostParameters,
    Positive,
    RobotParameters,
    Strict,
    Task,
    WorldModelParameters,
    validate,
)
from objective_agent.configurator.image_goal import ImageGoal
from objective_agent.types import ConfigurationError, InputError, wrap_angle

SETTINGS = {
    "cost": CostParameters,
    "actor": ActorParameters,
    "world_model": WorldModelParameters,
    "configurator": ConfiguratorParameters,
}
FRAME = "odom"


class Merge:
    """`configure` returns the same object as before until something changes; then a new one with the next number."""

    class Config(Strict):
        leave_factor: Positive = Field(2.0, ge=1, description="a reached goal counts as left beyond this many tolerances")

    def __init__(self, config: Config, robot: RobotParameters):
        self.config = config
        self.robot = robot
        self.current: Configuration | None = None
        self._settings: dict[str, Any] = {name: model() for name, model in SETTINGS.items()}
        self._image = ImageGoal()
        self._possible: object = None

    def set_parameters(self, **modules: Any) -> None:
        """Takes the parameters (model or mapping) of any of the modules `cost`, `actor`, `world_model`, `configurator`.

        Raises ConfigurationError, and keeps all the old ones, when one is not valid.
        """
        checked = {}
        for name, parameters in modules.items():
            if name not in SETTINGS:
                raise ConfigurationError(f"parameters of {name!r}: unknown module; known here: {', '.join(SETTINGS)}")
            model = SETTINGS[name]
            checked[name] = parameters if isinstance(parameters, model) else validate(model, parameters, name)
        self._settings.update(checked)

    def configure(self, task: Task, status: dict) -> Configuration:
        """The snapshot for `task`.

        `status`: "stamp" (s), "pose" (odometry [3], or absent before there is any) and, for goal images, "goal_image" (stamp
        and distance of the newest comparison of the present with the goal).  Raises InputError, and keeps the last snapshot,
        for a task that can't be done: unknown weights, a goal that is not finite or not in odom, a goal image of another model.
        """
        check_task(task, self._settings["cost"])
        self._check_image(task)
        settings: ConfiguratorParameters = self._settings["configurator"]
        tolerance = task.tolerance or settings.goal_tolerance
        pose = status.get("pose")
        pose = None if pose is None or not np.isfinite(pose).all() else np.reshape(pose, -1)[:3].astype(float)
        if task.kind == "goal_image":
            identity, leave = (task.id, task.representation), self.config.leave_factor
            measured = status.get("goal_image")
            reached = self._image.update(identity, measured, settings.image_tolerance, settings.image_decisions, leave)
        else:
            reached = self._reached(task, pose, tolerance, settings.heading_tolerance)
        wanted = {
            "task": task,
            "cost": _weighted(self._settings["cost"], task.weights),
            "actor": _acting(self._settings["actor"], task),
            "world_model": self._settings["world_model"],
            "goal_tolerance": tolerance,
            "heading_tolerance": settings.heading_tolerance,
            "use_route": settings.use_route,
            "lookahead": settings.lookahead,
            "reached": reached,
            "reason": _reason(task, pose, reached),
        }
        last = self.current
        if last is None or any(getattr(last, name) != value for name, value in wanted.items()):
            number = 0 if last is None else last.number + 1
            self.current = Configuration(number=number, stamp=float(status.get("stamp", 0.0)), **wanted)
        return self.current

    def _check_image(self, task: Task) -> None:
        """InputError for a new goal image that nothing here can use.

        Looked at once: settings that change later must go on to the actor, which holds when goal and model no longer fit.
        """
        key = (task.id, task.representation)
        if task.kind != "goal_image" or key == self._possible:
            return
        check_image(task, self._settings["cost"], self._settings["world_model"])
        self._possible = key

    def _reached(self, task: Task, pose: Any, tolerance: float, heading_tolerance: float) -> bool:
        """Within the tolerances; once reached, it stays so until the robot is clearly away or the goal is another."""
        if task.kind != "goal_pose" or pose is None:
            return False
        if self.current is not None and self.current.reached and _goal(self.current.task) == _goal(task):
            tolerance, heading_tolerance = tolerance * self.config.leave_factor, heading_tolerance * self.config.leave_factor
        x, y, yaw = pose
        there = math.dist((x, y), task.position) <= tolerance
        return there and (task.heading is None or abs(wrap_angle(yaw - task.heading)) <= heading_tolerance)


def check_task(task: Task, cost: CostParameters) -> None:
    """InputError, one line with the mend, for a task that can't be configured."""
    unknown = sorted(set(task.weights) - set(cost.objectives))
    if unknown:
        rails = sorted(set(unknown) & set(cost.guardrails))
        note = f" ({', '.join(rails)}: a guardrail, which has no weight)" if rails else ""
        raise InputError(f"task weights {', '.join(unknown)}: no such objective{note}; known: {', '.join(cost.objectives)}")
    if any(not math.isfinite(weight) or weight < 0 for weight in task.weights.values()):
        raise InputError(f"task weights {task.weights}: must be finite and >= 0")
    if task.kind != "goal_pose":
        return
    if task.position is None or not all(map(math.isfinite, task.position)):
        raise InputError(f"goal position {task.position}: must be two finite numbers [x, y]")
    if task.heading is not None and not math.isfinite(task.heading):
        raise InputError(f"goal heading {task.heading}: must be finite, or left out for any heading")
    if task.frame.strip("/") != FRAME:
        raise InputError(f"goal in frame {task.frame!r}: only {FRAME!r} is known here; transform the goal to {FRAME} first")


def check_image(task: Task, cost: CostParameters, world_model: WorldModelParameters) -> None:
    """InputError, one line with the mend, for a goal image that no objective looks at or that another model encoded."""
    terms = [cost.terms[name] for name in cost.objectives]
    if not any(getattr(plugins.resolve("objective", term.plugin), "needs", None) == "representation" for term in terms):
        raise InputError(
            f"goal image: none of the objectives {', '.join(cost.objectives)} looks at representations; "
            "add goal_representation or reachability (config/goal_image.yaml)"
        )
    folder = world_model.world_model.settings.get("model")
    if folder is None or not task.model:
        return
    try:
        encoder = str(weights.read_card(weights.find_model(folder))["sha256"].get("encoder"))
    except ConfigurationError:
        return  # the model's own module says what is wrong with it
    if not encoder.startswith(task.model[:12]):
        raise InputError(f"goal image: encoded by model {task.model[:12]}, the robot drives with {encoder[:12]}; send it again")


def _goal(task: Task) -> tuple:
    return task.id, task.position, task.heading, task.tolerance


def _weighted(cost: CostParameters, weights: dict[str, float]) -> CostParameters:
    if not weights:
        return cost
    terms = {name: term.model_copy(update={"weight": weights.get(name, term.weight)}) for name, term in cost.terms.items()}
    return cost.model_copy(update={"terms": terms})


def _acting(actor: ActorParameters, task: Task) -> ActorParameters:
    """Who acts: as the task or the actor's parameters say, but habits are for what they were learned from.

    Other weights, speeds or margins than usual make other plans good: then Mode-2 searches, from the policy's proposals.  Of a
    goal that is a picture a robot's policy knows nothing.
    """
    mode = task.mode or actor.mode
    if mode in ("adaptive", "policy") and (task.weights or task.speed_scale < 1 or task.extra_margin > 0):
        mode = "propose"
    if task.kind == "goal_image":
        mode = "plan"
    return actor if mode == actor.mode else actor.model_copy(update={"mode": mode})


def _reason(task: Task, pose: Any, reached: bool) -> str:
    if task.kind == "idle":
        return "no task"
    if pose is None and task.kind == "goal_pose":
        return "no odometry yet: can't tell where the goal is"
    return "goal reached" if reached else ""
