"""The gate's limits.  None has a default and none can be zero or NaN: a gate that guesses its limits is no gate.

All are read_only: a running gate can be tightened (`GateInputs.max_speed`), never loosened, and nothing here switches it off.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from objective_agent.config import READ_ONLY, NonNegative, Positive, RobotParameters, Strict


def _required(description: str, **constraints: Any) -> Any:
    return Field(description=description, json_schema_extra=READ_ONLY, **constraints)


class GateRobot(RobotParameters):
    """The shared `robot` section, with every value required."""

    radius: Positive = _required("radius of the footprint, m")
    max_speed: Positive = _required("forward speed limit, m/s")
    max_reverse_speed: NonNegative = _required("backward speed limit, m/s; 0: never backwards")
    max_turn_rate: Positive = _required("turn rate limit, rad/s")
    max_acceleration: Positive = _required("speed change limit, m/s^2")
    max_turn_acceleration: Positive = _required("turn rate change limit, rad/s^2")
    actuator_delay: NonNegative = _required("command to motion, s")


class GateParameters(Strict):
    """Everything the gate needs to know; see docs/safety.md for how to measure each on a robot."""

    robot: GateRobot = _required("the body")
    sources: tuple[Literal["scan"], ...] = _required("sensors that see obstacles; at least one", min_length=1)
    period: Positive = _required("gate period, s", le=0.1)
    margin: Positive = _required("distance kept around the footprint: covers sensor noise, odometry and control errors, m")
    max_deceleration: Positive = _required("braking that the robot achieves on any floor it drives on, m/s^2")
    comfortable_deceleration: Positive = _required("braking of a comfortable stop, m/s^2; at most max_deceleration")
    escape_speed: Positive = _required("speed limit while something is inside the margin, m/s")
    escape_turn_rate: Positive = _required("turn rate limit while only turning is allowed, rad/s")
    max_scan_age: Positive = _required("oldest usable scan, by stamp and by arrival, s")
    max_odom_age: Positive = _required("oldest usable odometry, by stamp and by arrival, s")
    max_command_age: Positive = _required("oldest usable command, by the stamp of the observation it was made from, s")
    command_late: Positive = _required("time without a new command after which a comfortable stop begins, s")
    command_timeout: Positive = _required("time without a new command after which zero is sent, s; above command_late")
    max_future: Positive = _required("stamps further in the future are rejected, s", le=0.5)
    resume_messages: int = _required("fresh messages of a source before the robot moves again", ge=1, le=100)
    memory: Positive = _required("time for which scan points are remembered (in odom), s", le=5)
    zero_range: Literal["unknown", "free", "close"] = _required("what the lidar's driver means by a range of exactly 0.0")
    max_closing_speed: Positive = _required("fastest plausible speed of things that move, m/s")
    occlusion_speed: Positive = _required("assumed speed of a person who steps out of an occlusion, m/s")
    occlusion_min_speed: Positive = _required("an occlusion never slows the robot below this, m/s")

    @field_validator("robot", mode="before")
    @classmethod
    def _shared_section(cls, value: Any) -> Any:
        return value.model_dump() if isinstance(value, BaseModel) and not isinstance(value, GateRobot) else value

    @model_validator(mode="after")
    def _consistent(self):
        if self.comfortable_deceleration > self.max_deceleration:
            raise ValueError("comfortable_deceleration must not exceed max_deceleration")
        if self.command_late >= self.command_timeout:
            raise ValueError("command_late must be shorter than command_timeout")
        if self.memory < self.max_scan_age:
            raise ValueError("memory must be at least max_scan_age")
        return self


def default_parameters(robot: RobotParameters, **changes: Any) -> GateParameters:
    """Starting values for a small indoor robot with a 10 Hz lidar, for evaluation and tests; a node never uses them."""
    values: dict[str, Any] = {
        "robot": robot,
        "sources": ("scan",),
        "period": 0.05,
        "margin": 0.05,
        "max_deceleration": 0.9 * robot.max_acceleration,
        "comfortable_deceleration": 0.7 * robot.max_acceleration,
        "escape_speed": 0.1,
        "escape_turn_rate": 0.8,
        "max_scan_age": 0.25,
        "max_odom_age": 0.2,
        "max_command_age": 0.4,
        "command_late": 0.13,
        "command_timeout": 0.2,
        "max_future": 0.05,
        "resume_messages": 3,
        "memory": 0.5,
        "zero_range": "unknown",
        "max_closing_speed": 2.0,
        "occlusion_speed": 0.5,
        "occlusion_min_speed": 0.3,
    }
    return GateParameters(**(values | changes))
