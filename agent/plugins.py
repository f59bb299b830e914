"""Every implementation of a module is a plugin: chosen by name in the parameters, replaced without touching the others.

A plugin is a class with a `Config` (a `Strict` model; its defaults are the documentation) and a constructor
`__init__(self, config, robot)`.  It is named by one of

- a built-in name (the table below),
- the name of an entry point in the group `objective_agent.<kind>`, for third parties,
- `package.module:Class`.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from objective_agent.config import PluginSpec, RobotParameters, Strict, validate
from objective_agent.types import ConfigurationError

BUILTIN: dict[str, dict[str, str]] = {
    "encoder": {
        "scan": "objective_agent.perception.scan:ScanEncoder",
        "jepa": "objective_agent.perception.jepa:JepaEncoder",
        "frame_jepa": "objective_agent.perception.frame_jepa:FrameJepaEncoder",
        "frame_onnx": "objective_agent.perception.frame_onnx:FrameOnnxEncoder",
    },
    "world_model": {
        "unicycle": "objective_agent.world_model.unicycle:Unicycle",
        "jepa": "objective_agent.world_model.jepa:Jepa",
        "frame_jepa": "objective_agent.world_model.frame_jepa:FrameJepa",
        "frame_onnx": "objective_agent.world_model.frame_onnx:FrameOnnx",
    },
    "objective": {
        "goal_pose": "objective_agent.cost.goal_pose:GoalPose",
        "goal_representation": "objective_agent.cost.goal_representation:GoalRepresentation",
        "reachability": "objective_agent.cost.reachability:Reachability",
        "frame_reachability": "objective_agent.cost.frame_reachability:FrameReachability",
        "smooth": "objective_agent.cost.smooth:Smooth",
        "effort": "objective_agent.cost.effort:Effort",
        "bump": "objective_agent.cost.bump:Bump",
        "courtesy": "objective_agent.cost.courtesy:Courtesy",
    },
    "guardrail": {
        "clearance": "objective_agent.cost.clearance:Clearance",
        "learned_clearance": "objective_agent.cost.learned_clearance:LearnedClearance",
        "people": "objective_agent.cost.people:People",
    },
    "optimizer": {
        "mppi": "objective_agent.actor.mppi:MPPI",
        "cem": "objective_agent.actor.cem:CEM",
        "icem": "objective_agent.actor.icem:ICEM",
        "random_shooting": "objective_agent.actor.random_shooting:RandomShooting",
        "predictive_sampling": "objective_agent.actor.predictive_sampling:PredictiveSampling",
        "gradient": "objective_agent.actor.gradient:Gradient",
        "hybrid": "objective_agent.actor.hybrid:Hybrid",
        "augmented_lagrangian": "objective_agent.actor.augmented_lagrangian:AugmentedLagrangian",
    },
    "policy": {"distilled": "objective_agent.actor.policy:DistilledPolicy"},
    "short_term_memory": {
        "latest": "objective_agent.memory.short_term:LatestState",
        "estimator": "objective_agent.memory.estimator:StateEstimator",
    },
    "route_memory": {"grid": "objective_agent.memory.route:GridRoute"},
    "regularizer": {
        "vicreg": "objective_agent.learning.frames.regularizers:Vicreg",
        "sigreg": "objective_agent.learning.frames.regularizers:Sigreg",
        "ema": "objective_agent.learning.frames.distillation:Distillation",
        "none": "objective_agent.learning.frames.regularizers:Nothing",
    },
    "configurator": {"merge": "objective_agent.configurator.merge:Merge"},
}


class NoSettings(Strict):
    """The `Config` of a plugin that has no settings."""


def names(kind: str) -> list[str]:
    """Names that `resolve` knows for a kind of plugin, built in or installed."""
    return sorted({*BUILTIN.get(kind, {}), *(point.name for point in entry_points(group=f"objective_agent.{kind}"))})


def resolve(kind: str, name: str) -> type:
    """The plugin class called `name`; ConfigurationError when there is none or it can't be imported."""
    target = BUILTIN.get(kind, {}).get(name)
    if target is None:
        for point in entry_points(group=f"objective_agent.{kind}"):
            if point.name == name:
                target = point.value
    if target is None and ":" in name:
        target = name
    if target is None:
        raise ConfigurationError(
            f"{kind} plugin {name!r} is unknown; known: {', '.join(names(kind)) or 'none'}; or give package.module:Class"
        )
    module_name, _, class_name = target.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{kind} plugin {name!r} ({target}) can't be imported: {error}") from None
    if not isinstance(found, type) or not issubclass(getattr(found, "Config", object), Strict):
        raise ConfigurationError(f"{kind} plugin {name!r} ({target}) is not a class with a Config (a Strict model)")
    return found


def check(kind: str, spec: PluginSpec, where: str = "") -> Strict:
    """The plugin's validated `Config`, without making the plugin."""
    return validate(resolve(kind, spec.plugin).Config, spec.settings, where or f"{kind} {spec.plugin}")


def create(kind: str, spec: PluginSpec, robot: RobotParameters, where: str = "") -> Any:
    """The plugin that `spec` names, with its settings validated."""
    return resolve(kind, spec.plugin)(check(kind, spec, where), robot)
