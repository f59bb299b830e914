"""Parameters: pydantic models on one side, ROS parameters with descriptors on the other.

A model is flattened to dotted ROS names (`optimizer.plugin`, `optimizer.samples`, `clearance.margin`) with the plugins' own
settings among them, so that `ros2 param` shows everything that can be set; a change goes the other way: all values are nested
again and checked as a whole, so rules between parameters hold at run time too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

from objective_agent import plugins
from objective_agent.config import CostParameters, PluginSpec, RobotParameters, Strict, TermSpec, nest, validate

KINDS = {
    "encoder": "encoder",
    "world_model": "world_model",
    "short_term": "short_term_memory",
    "route": "route_memory",
    "optimizer": "optimizer",
    "policy": "policy",
    "configurator": "configurator",
}
"""Field that names a plugin -> kind of plugin."""
_GREATEST = 1.7976931348623157e308


class CommonParameters(Strict):
    """What every node needs: the `/**` section of a parameter file."""

    robot: RobotParameters = Field(default_factory=RobotParameters)
    enable_stamped_cmd_vel: bool = Field(
        True, description="velocity commands are TwistStamped (false: Twist)", json_schema_extra={"read_only": True}
    )
    lidar_pose: tuple[float, float, float] = Field(
        (0.0, 0.0, 0.0), description="pose [x, y, yaw] of the lidar in base_link, m, rad", json_schema_extra={"read_only": True}
    )


@dataclass(frozen=True)
class Entry:
    """One ROS parameter: `name`, `value` and how it is described."""

    name: str
    value: Any
    field: FieldInfo
    read_only: bool


def flatten(model: Strict, prefix: str = "", read_only: bool = False) -> Iterator[Entry]:
    """Every parameter of `model`, plugin settings included.  Raises ConfigurationError for a bad plugin or plugin setting."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        fixed = read_only or bool((field.json_schema_extra or {}).get("read_only"))
        if isinstance(model, CostParameters):
            if name == "terms":
                for term in (*model.objectives, *model.guardrails):
                    yield from _term(model, term, prefix + term)
                continue
            fixed = True  # the names of the terms decide which other parameters there are
        if isinstance(value, PluginSpec):
            yield from _plugin(value, KINDS[name], prefix + name, fixed)
        elif isinstance(value, Strict):
            yield from flatten(value, f"{prefix}{name}.", fixed)
        else:
            yield Entry(prefix + name, list(value) if isinstance(value, tuple) else value, field, fixed)


def _term(model: CostParameters, term: str, name: str) -> Iterator[Entry]:
    guardrail = term in model.guardrails
    spec = model.terms[term]
    if not guardrail:
        yield Entry(f"{name}.weight", spec.weight, TermSpec.model_fields["weight"], False)
    yield from _plugin(spec, "guardrail" if guardrail else "objective", name, guardrail)


def _plugin(spec: PluginSpec, kind: str, name: str, read_only: bool) -> Iterator[Entry]:
    yield Entry(f"{name}.plugin", spec.plugin, PluginSpec.model_fields["plugin"], True)
    yield from flatten(plugins.check(kind, spec, name), f"{name}.", read_only)


def with_model(model: Strict, folder: str) -> Any:
    """`model` with the setting `model` of every plugin that has one, the folder of the trained model, set to `folder`."""

    def moved(spec: PluginSpec, kind: str) -> PluginSpec:
        if "model" not in plugins.resolve(kind, spec.plugin).Config.model_fields:
            return spec
        return type(spec)(**{**spec.model_dump(), "model": folder})

    changes: dict[str, Any] = {}
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(model, CostParameters) and name == "terms":
            kinds = {term: "guardrail" if term in model.guardrails else "objective" for term in value}
            changes[name] = {term: moved(spec, kinds[term]) for term, spec in value.items()}
        elif isinstance(value, PluginSpec):
            changes[name] = moved(value, KINDS[name])
    return model.model_copy(update=changes)


def descriptor(entry: Entry) -> ParameterDescriptor:
    """Text, range and read_only of a parameter.  Dynamic typing lets a float accept an integer; pydantic checks."""
    low = high = None
    for rule in entry.field.metadata:
        low = next((v for v in (getattr(rule, "gt", None), getattr(rule, "ge", None)) if v is not None), low)
        high = next((v for v in (getattr(rule, "lt", None), getattr(rule, "le", None)) if v is not None), high)
    description = ParameterDescriptor(
        name=entry.name, description=entry.field.description or "", read_only=entry.read_only, dynamic_typing=True
    )
    if low is None and high is None:
        return description
    if isinstance(entry.value, bool) or not isinstance(entry.value, int | float):
        return description
    if isinstance(entry.value, int):
        bounds = IntegerRange(from_value=int(low if low is not None else -(2**63)), to_value=int(high or 2**63 - 1))
        description.integer_range = [bounds]
    else:
        bounds = FloatingPointRange(
            from_value=float(low if low is not None else -_GREATEST), to_value=float(high if high is not None else _GREATEST)
        )
        description.floating_point_range = [bounds]
    return description


def build(model: type[Strict], values: Mapping[str, Any], where: str) -> tuple[CommonParameters, Any]:
    """(common, module) parameters made of flat or nested `values`; plugin settings are checked too.

    Raises ConfigurationError: one line with name, value and allowed range of everything that is wrong.
    """
    nested = nest(values)
    shared = {name: nested[name] for name in CommonParameters.model_fields if name in nested}
    common = validate(CommonParameters, shared, where)
    for name in shared.keys() - model.model_fields.keys():  # a model may ask for a shared section itself, and check it harder
        del nested[name]
    module = validate(model, nested, where)
    for _ in flatten(module):  # makes the plugins check their settings
        pass
    return common, module
