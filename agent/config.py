"""Parameters as pydantic models, and the numbered snapshot that the configurator makes of them.

One model per module of the architecture; the node of that module declares them as ROS parameters, `evaluate` reads the same
models from the same YAML file.  A plugin brings its own `Config` (a `Strict` model); here it appears as a `PluginSpec`, whose
further keys are checked against that `Config` when the plugin is made (`plugins.create`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from objective_agent.types import ConfigurationError

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Mode = Literal["plan", "propose", "adaptive", "policy"]
"""Who acts: Mode-2 alone (plan), it with the policy's proposals, Mode-1 where its confidence allows, Mode-1 alone."""
READ_ONLY = {"read_only": True}
"""`Field(json_schema_extra=READ_ONLY)`: a ROS parameter that can't be changed after configure."""


class Strict(BaseModel):
    """Base of every parameter model: immutable, unknown keys and non-finite numbers are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PluginSpec(BaseModel):
    """`plugin: name-or-package.module:Class` and the plugin's own settings beside it."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    plugin: str = Field(min_length=1, description="plugin name, or package.module:Class")

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class TermSpec(PluginSpec):
    """An objective (with its weight) or a guardrail (without)."""

    weight: NonNegative = Field(1.0, description="weight of this energy in the sum, >= 0")


class RobotParameters(Strict):
    """The body: shared by all modules, in the `/**` section of a parameter file."""

    radius: Positive = Field(0.18, description="radius of the footprint, m", json_schema_extra=READ_ONLY)
    max_speed: Positive = Field(0.6, description="forward speed limit, m/s", json_schema_extra=READ_ONLY)
    max_reverse_speed: NonNegative = Field(0.15, description="backward speed limit, m/s", json_schema_extra=READ_ONLY)
    max_turn_rate: Positive = Field(1.8, description="turn rate limit, rad/s", json_schema_extra=READ_ONLY)
    max_acceleration: Positive = Field(1.0, description="speed change limit, m/s^2", json_schema_extra=READ_ONLY)
    max_turn_acceleration: Positive = Field(3.0, description="turn rate change limit, rad/s^2", json_schema_extra=READ_ONLY)
    actuator_delay: NonNegative = Field(0.1, description="command to motion, s", json_schema_extra=READ_ONLY)


class PerceptionParameters(Strict):
    encoder: PluginSpec = Field(default_factory=lambda: PluginSpec(plugin="scan"), description="observation -> representation")
    trigger: Literal["camera", "scan"] = Field("camera", description="the sensor whose messages start a decision")
    max_scan_age: Positive = Field(0.25, description="an older scan is left out of an observation, s")
    max_odom_age: Positive = Field(0.2, description="without odometry this fresh there is no observation, s")


class WorldModelParameters(Strict):
    world_model: PluginSpec = Field(default_factory=lambda: PluginSpec(plugin="unicycle"), description="the predictor")
    surprise_after: Positive = Field(0.5, le=5, description="a prediction is compared with what came after this time, s")
    surprise_position: Positive = Field(0.08, description="position error after that time that is the alarm level, m")
    surprise_heading: Positive = Field(0.3, description="heading error after that time that is the alarm level, rad")
    surprise_representation: NonNegative = Field(
        0.0, description="root mean square error of the representation that is the alarm level; 0: not compared"
    )
    swap_timeout: Positive = Field(20.0, le=600, description="all modules must load a new model within this time, s")


class MemoryParameters(Strict):
    short_term: PluginSpec = Field(default_factory=lambda: PluginSpec(plugin="latest"), description="the state estimator")
    route: PluginSpec = Field(default_factory=lambda: PluginSpec(plugin="grid"), description="where one can go")
    route_period: Positive = Field(0.8, description="time between route searches, s")
    actuator_delay: Literal["given", "measured"] = Field(
        "given", description="plans count on robot.actuator_delay (given), or on what was measured once it is known (measured)"
    )
    plans: str = Field(
        "", description="file of the log of plans, which Mode-1 learns from; empty: none", json_schema_extra=READ_ONLY
    )


class CostParameters(Strict):
    """Nav2's style: `objectives: [goal_pose, smooth]`, then a section per name."""

    objectives: tuple[str, ...] = Field(("goal_pose", "smooth", "effort", "bump"), description="names of the energy terms")
    guardrails: tuple[str, ...] = Field(
        ("clearance",), description="names of the hard constraints", json_schema_extra=READ_ONLY
    )
    terms: dict[str, TermSpec] = Field(default_factory=dict, description="one section per name")

    @model_validator(mode="before")
    @classmethod
    def _gather_sections(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        data = dict(data)
        terms = dict(data.get("terms") or {})
        names = [
            *data.get("objectives", cls.model_fields["objectives"].default),
            *data.get("guardrails", cls.model_fields["guardrails"].default),
        ]
        for name in names:
            section = data.pop(name, None)
            if section is not None:
                terms[name] = {"plugin": name, **section} if isinstance(section, Mapping) else section
            terms.setdefault(name, {"plugin": name})
        data["terms"] = terms
        return data

    @model_validator(mode="after")
    def _names_are_unique(self):
        names = [*self.objectives, *self.guardrails]
        if len(set(names)) != len(names):
            raise ValueError(f"objectives and guardrails must have different names, got {names}")
        if not self.guardrails:
            raise ValueError("guardrails must not be empty: a robot without a guardrail does not plan")
        return self


HABITS = ("mode", "policy", "confidence", "gain", "proposals", "follow", "agreement")
"""The actor's parameters that say nothing where `mode` is "plan"."""


class ActorParameters(Strict):
    optimizer: PluginSpec = Field(default_factory=lambda: PluginSpec(plugin="mppi"), description="the search")
    horizon: int = Field(15, ge=1, le=200, description="steps imagined")
    dt: Positive = Field(0.2, description="seconds per imagined step")
    futures: int = Field(1, ge=1, le=64, description="futures imagined per candidate")
    risk: Literal["mean", "cvar"] = Field("mean", description="objectives count all futures (mean), or the costly ones (cvar)")
    cvar: float = Field(0.25, gt=0, le=1, description="cvar: the share of the futures that counts, those that cost most")
    guardrail_quantile: float = Field(
        1.0, ge=0.5, le=1, description="share of the futures in which guardrails must hold; 1: all", json_schema_extra=READ_ONLY
    )
    period: Positive = Field(0.05, description="time between decisions, s")
    deadline: Positive = Field(0.035, description="time the optimizer has for one decision, s; less than period")
    reaction: Positive = Field(
        1.0, le=10, description="time from an observation until its command has left the gate, s: its rest bounds the search"
    )
    threads: int = Field(1, ge=1, le=64, description="torch threads", json_schema_extra=READ_ONLY)
    device: str = Field("cpu", description="torch device", json_schema_extra=READ_ONLY)
    mode: Mode = Field("plan", description="who acts: plan, propose, adaptive or policy (docs/mode1.md)")
    policy: PluginSpec = Field(
        default_factory=lambda: PluginSpec(plugin="distilled"), description="Mode-1: what acts without search"
    )
    confidence: float = Field(0.6, ge=0, le=1, description="adaptive: the policy acts alone from this confidence on")
    gain: float = Field(
        0.15, ge=0, lt=1, description="... where its plan saves more than this share of what standing still costs"
    )
    proposals: int = Field(4, ge=1, le=256, description="plans of the policy that a search begins with")
    follow: NonNegative = Field(
        1.0,
        le=2,
        description="adaptive, policy: a checked plan is followed for so long before it is imagined anew, s, less where it "
        "saves less than twice `gain` of what standing still costs; 0: never",
    )
    agreement: NonNegative = Field(
        0.5, le=1, description="... while what it predicted is off by no more than this share of surprise's alarm levels"
    )

    @model_validator(mode="after")
    def _deadline_fits(self):
        if self.deadline >= self.period:
            raise ValueError(f"deadline ({self.deadline} s) must be shorter than period ({self.period} s)")
        return self


class ConfiguratorParameters(Strict):
    configurator: PluginSpec = Field(default_factory=lambda: PluginSpec(plugin="merge"), description="task -> snapshot")
    goal_tolerance: Positive = Field(0.25, description="distance at which a goal counts as reached, m")
    heading_tolerance: Positive = Field(0.3, description="heading error at which a goal with heading counts as reached, rad")
    use_route: bool = Field(True, description="take subgoals from the route memory")
    lookahead: Positive = Field(1.0, description="distance of the subgoal along the route, m")
    image_tolerance: Positive = Field(
        1.0, le=100, description="distance at which a goal image counts as reached; 1: what the model was calibrated to"
    )
    image_decisions: int = Field(5, ge=1, le=1000, description="so many decisions in a row must be that near")


class Task(Strict):
    """What the robot is asked to do (topic `task`, JSON).  A goal image travels as its representation."""

    kind: Literal["idle", "goal_pose", "goal_image"] = "idle"
    id: str = Field("", max_length=64)
    position: tuple[float, float] | None = Field(None, description="goal [x, y] in `frame`, m")
    heading: float | None = Field(None, description="goal heading, rad; None: any")
    frame: str = Field("odom", max_length=64)
    tolerance: Positive | None = None
    representation: tuple[tuple[float, ...], ...] | None = Field(
        None, min_length=1, max_length=4096, description="goal image as encoded by `model`, tokens x features"
    )
    model: str = Field("", max_length=256, description="sha256 (or its first 12 digits) of what encoded `representation`")
    weights: dict[str, NonNegative] = Field(default_factory=dict, max_length=64, description="objective weights for this task")
    speed_scale: Annotated[float, Field(gt=0, le=1)] = Field(1.0, description="share of the speed limits to use: tightens only")
    extra_margin: Annotated[float, Field(ge=0, le=2)] = Field(0.0, description="metres added to every guardrail: tightens only")
    guardrail_quantile: Annotated[float, Field(ge=0, le=1)] = Field(
        0.0, description="share of the futures in which guardrails must hold, where the actor's is less: tightens only"
    )
    mode: Mode | None = Field(None, description="who acts, for this task; None: as the actor's parameters say")

    @model_validator(mode="after")
    def _goal_has_a_position(self):
        if self.kind == "goal_pose" and self.position is None:
            raise ValueError("a goal_pose task needs a position [x, y]")
        if self.kind == "goal_image" and self.representation is None:
            raise ValueError("a goal_image task needs a representation; send the picture on the topic goal_image")
        if self.representation is not None and (not self.representation[0] or len({len(t) for t in self.representation}) > 1):
            raise ValueError("the tokens of representation must all have the same number of features, 1 or more")
        return self


class Configuration(Strict):
    """One decision's settings: numbered, immutable, the only thing the actor reads (topic `configuration`, JSON)."""

    number: int = Field(ge=0)
    stamp: float
    task: Task
    cost: CostParameters
    actor: ActorParameters
    world_model: WorldModelParameters
    goal_tolerance: Positive
    heading_tolerance: Positive
    use_route: bool
    lookahead: Positive
    reached: bool = False
    reason: str = Field("", description="why the robot is not moving, when it is not")


class AgentParameters(Strict):
    """All modules' parameters: what one parameter file holds, less the gate and the simulator (they own theirs)."""

    robot: RobotParameters = Field(default_factory=RobotParameters)
    perception: PerceptionParameters = Field(default_factory=PerceptionParameters)
    world_model: WorldModelParameters = Field(default_factory=WorldModelParameters)
    memory: MemoryParameters = Field(default_factory=MemoryParameters)
    cost: CostParameters = Field(default_factory=CostParameters)
    actor: ActorParameters = Field(default_factory=ActorParameters)
    configurator: ConfiguratorParameters = Field(default_factory=ConfiguratorParameters)

    @field_validator("*", mode="before")
    @classmethod
    def _none_is_empty(cls, value: Any) -> Any:
        return {} if value is None else value


def validate(model: type[BaseModel], data: Any, where: str) -> Any:
    """`model` made of `data`, or a ConfigurationError with one line per bad parameter: name, value and allowed range."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(describe(error, where)) from None


def describe(error: ValidationError, where: str) -> str:
    """A pydantic error as one line: `where: name = value: what is allowed`, problems separated by semicolons."""
    problems = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "(all)"
        message = re.sub(r"^(Input|Value error,?) ?", "", item["msg"])
        if item["type"] == "extra_forbidden":
            message = "unknown parameter; remove it or check its spelling"
            problems.append(f"{name}: {message}")
        elif item["type"] == "missing":
            problems.append(f"{name}: is missing")
        else:
            problems.append(f"{name} = {_short(item['input'])}: {message}")
    return f"{where}: " + "; ".join(problems)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def load_node_parameters(path: str | Path) -> dict[str, dict]:
    """A ROS parameter file as node name -> nested parameters, the `/**` section merged into every node's.

    Raises ConfigurationError when the file can't be read or is not a ROS parameter file.
    """
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}; give an existing file with --params") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not all(isinstance(v, dict) and "ros__parameters" in v for v in data.values()):
        raise ConfigurationError(f"{path}: is not a ROS parameter file; each top-level node needs a `ros__parameters:` section")
    sections = {name.strip("/"): nest(section["ros__parameters"] or {}) for name, section in data.items()}
    common = sections.pop("**", {})
    return {"": common} | {name: common | section for name, section in sections.items()}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """{"a.b": 1} -> {"a": {"b": 1}}; nested input stays."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        node = nested
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        value = nest(value) if isinstance(value, Mapping) else value
        if isinstance(value, dict) and isinstance(node.get(leaf), dict):
            node[leaf] |= value
        else:
            node[leaf] = value
    return nested


def load_parameters(path: str | Path) -> AgentParameters:
    """The modules' parameters of a ROS parameter file: what the nodes would declare, for use without ROS."""
    nodes = load_node_parameters(path)
    common = nodes[""]
    data: dict[str, Any] = {"robot": common.get("robot", {})}
    for module in AgentParameters.model_fields:
        if module in nodes:
            data[module] = {key: value for key, value in nodes[module].items() if key not in common}
    return validate(AgentParameters, data, str(path))
